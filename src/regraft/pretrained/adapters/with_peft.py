"""LoRA and (IA)3, through peft. Only this file imports it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from regraft.errors import ResourceError
from regraft.pretrained.adapters._contract import Kind
from regraft.pretrained.adapters.layers import is_turned

if TYPE_CHECKING:
    from regraft.pretrained.load import Pretrained

_NAME = "default"  # peft's for the one adapter of a model


class Lora(Kind):
    """Low-rank adaptation (Hu et al., 2021), DoRA and rsLoRA among its settings."""

    fields: ClassVar[tuple[str, ...]] = ("r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora")
    linear: ClassVar[bool] = True

    def put(self, model: Pretrained, settings: Mapping[str, Any], layers: Sequence[str]) -> None:
        peft = _library()
        turned = any(is_turned(model.model.get_submodule(path)) for path in layers)
        config = peft.get_peft_config({**settings, "target_modules": list(layers), "fan_in_fan_out": turned})
        peft.inject_adapter_in_model(config, model.model, adapter_name=_NAME)

    def own(self, model: nn.Module, parameters: Collection[str]) -> dict[str, Tensor]:  # noqa: ARG002
        found: dict[str, Tensor] = _library().get_peft_model_state_dict(model, adapter_name=_NAME)
        return found

    def fill(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        from peft.utils import set_peft_model_state_dict

        set_peft_model_state_dict(model, dict(state), adapter_name=_NAME)

    def config(self, model: nn.Module, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        known: dict[str, Any] = model.peft_config[_NAME].to_dict()  # type: ignore[index, union-attr]
        return known

    def merge(self, model: nn.Module) -> None:
        for path, layer in list(_adapted(model)):
            layer.merge(safe_merge=True)
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, layer.get_base_layer())
        del model.peft_config


class Ia3(Lora):
    """Infused adapters (Liu et al., 2022)."""

    fields: ClassVar[tuple[str, ...]] = ("feedforward_modules",)
    paths: ClassVar[tuple[str, ...]] = (
        "target_modules",
        "feedforward_modules",
    )  # the second are scaled before the layer


def _library() -> Any:
    try:
        import peft
    except ImportError:
        raise ResourceError(
            "adapters are put in by peft, which is not installed", fix='pip install "regraft[peft]"'
        ) from None
    return peft


def _adapted(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers that hold an adapter, by their paths."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    yield from ((path, layer) for path, layer in module.named_modules() if isinstance(layer, BaseTunerLayer))
