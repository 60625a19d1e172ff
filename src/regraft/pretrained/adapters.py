"""Adapters in peft's forms: grafted into the layers of a model, saved as peft saves them, merged into the weights.

Only this file imports peft. A strategy says which kind, with which options, and which modules; a module is chosen by
what it is and where it lies (a linear layer, within attention), never by a name that a family happens to use.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError, ResourceError
from regraft.fingerprint import draw, tensors_sha256
from regraft.pretrained.anatomy import Anatomy
from regraft.pretrained.speaking import VOICES

if TYPE_CHECKING:
    from regraft.pretrained.load import Pretrained

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
Where = Literal["linear", "attention", "mlp"]

_KINDS = ("LORA", "IA3")
_INSIDE = "feedforward_modules"  # which (IA)3 scales before the layer, not after it
_AGAIN = "tune it again, or copy the folder again"
_NAME = "default"  # peft's for the one adapter of a model
_WRAPPED = "base_model.model."  # what peft puts before names of the base in its files
_TASK_TYPES = {
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
}


@dataclass(frozen=True)
class Adapter:
    """What was grafted into a model's layers.

    ``parameters`` are its own; ``beside`` those of the model that train with it and are saved beside it.
    """

    parameters: tuple[str, ...]
    beside: tuple[str, ...] = ()


def layers_for(model: nn.Module, anatomy: Anatomy, *, where: Where, top: int | None) -> tuple[str, ...]:
    """The paths of the layers in the blocks that adapters can be put into.

    Args:
        where: "attention" for linear layers inside of a module of attention, "mlp" for all others, "linear" for both.
            Convolutions without groups count as linear layers.
        top: in so many of the top blocks; None for all.

    Raises:
        RecipeError: there is no such layer, or there are not so many blocks.
    """
    paths = anatomy.modules if top is None else anatomy.modules[anatomy.below_top(top) :]
    found = [path for block in paths for path in _linear(model.get_submodule(block), block)]
    inside = {path for path in found if _in_attention(model, path)}
    chosen = tuple(path for path in found if where == "linear" or (path in inside) == (where == "attention"))
    if not chosen:
        kinds = [] if not found else ["linear", "attention"] if len(inside) == len(found) else ["linear", "mlp"]
        raise RecipeError(
            f"no layer of this model is of the kind {where!r}",
            fix=f"take strategy.where={' or '.join(kinds)}" if kinds else "take another strategy: adapters do not fit",
        )
    return chosen


def graft(model: Pretrained, settings: Mapping[str, Any], layers: Sequence[str], *, seed: int) -> Pretrained:
    """The model with adapters in these layers, which are new. The module itself is changed.

    Args:
        settings: peft's of this kind, ``peft_type`` among them.
        seed: what the adapters start from is drawn from it.

    Raises:
        RecipeError: the model is a voice.
        ResourceError: peft is not installed.
    """
    if model.asked is not None and model.asked.auto_class in VOICES:
        raise RecipeError("adapters are not put into voices", fix="take strategy=full, top-layers or probe-then-tune")
    peft = _library()
    turned = any(_is_turned(model.model.get_submodule(path)) for path in layers)
    config = peft.get_peft_config({**settings, "target_modules": list(layers), "fan_in_fan_out": turned})
    names = {id(value): name for name, value in model.model.named_parameters()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw("adapter", seed))
        peft.inject_adapter_in_model(config, model.model, adapter_name=_NAME)
    renamed = {names[id(value)]: name for name, value in model.model.named_parameters() if id(value) in names}
    added = tuple(name for name, value in model.model.named_parameters() if id(value) not in names)
    anatomy = model.anatomy.grown(dict(model.model.named_parameters()), renamed, added)
    beside = tuple(name for name in anatomy.parameters if name in anatomy.head or name in anatomy.new)
    adapter = Adapter(added, tuple(name for name in beside if name not in added))
    return replace(model, anatomy=anatomy, adapter=adapter)


def kept_beside(model: Pretrained, trained: Collection[str]) -> Pretrained:
    """A model whose adapter is saved with all else that is trained."""
    adapter = model.adapter
    if adapter is None:
        return model
    known = {*adapter.parameters, *adapter.beside}
    more = tuple(name for name in model.anatomy.parameters if name in trained and name not in known)
    return replace(model, adapter=replace(adapter, beside=(*adapter.beside, *more)))


def save_adapter(folder: Path, model: Pretrained, published: str) -> None:
    """Write peft's folder: the adapter, and beside it what else of the model has trained.

    Args:
        published: what the names of the model begin with that peft's file is to leave out: where its backbone is,
            when its head is kept elsewhere.
    """
    from safetensors.torch import save_file

    adapter, module, asked = model.adapter, model.model, model.asked
    assert adapter is not None
    assert asked is not None
    own = _library().get_peft_model_state_dict(module, adapter_name=_NAME)
    parameters = dict(module.named_parameters())
    beside = {name: parameters[name] for name in adapter.beside if name.startswith(published)}
    tensors = {
        _WRAPPED + name.removeprefix(published): value.detach().cpu().contiguous()
        for name, value in {**own, **beside}.items()
    }
    config = _config_of(module)
    values = config.to_dict() | {
        "base_model_name_or_path": str(model.folder),
        "inference_mode": True,
        "modules_to_save": sorted({path.removeprefix(published) for path in _whole(module, beside)}) or None,
        "revision": asked.options.revision,
        "target_modules": sorted(path.removeprefix(published) for path, _ in _adapted(module)),
        "task_type": "FEATURE_EXTRACTION" if published else _TASK_TYPES.get(asked.auto_class),
    }
    if values.get(_INSIDE):
        values[_INSIDE] = sorted(path.removeprefix(published) for path in values[_INSIDE])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    text = json.dumps(values, indent=2, sort_keys=True, default=str)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def reopen_adapter(folder: Path, model: Pretrained, published: str) -> Pretrained:
    """The model under an adapter with the adapter of a folder, and what else of it has trained.

    Raises:
        RecipeError: the folder is damaged, or its adapter belongs to another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS_FILE)
        kind, layers = settings["peft_type"], [f"{published}{path}" for path in settings["target_modules"]]
        if kind not in _KINDS:
            raise ValueError(f"an adapter of the kind {kind!r}")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RecipeError(f"{folder}: the adapter cannot be read: {error}", fix=_AGAIN) from None
    fields = {name: settings[name] for name in _FIELDS[kind] if name in settings}
    if fields.get(_INSIDE):
        fields[_INSIDE] = [f"{published}{path}" for path in fields[_INSIDE]]
    opened = graft(model, {"peft_type": kind, **fields}, layers, seed=0)
    state = {published + name.removeprefix(_WRAPPED): value for name, value in tensors.items()}
    names = [name for name, _ in opened.model.named_parameters()]
    beside = {name: state.pop(name) for name in names if name in state}
    whole = tuple(f"{published}{module}." for module in settings.get("modules_to_save") or [])
    assert opened.adapter is not None
    fresh = [name for name in opened.adapter.beside if name.startswith(published)]
    _fill(opened, state, beside, {*fresh, *(name for name in names if name.startswith(whole))}, folder)
    return kept_beside(opened, beside)


def merged(model: Pretrained) -> Pretrained:
    """The model with its adapter in its own weights: it computes the same, and has the layers that it had before.

    The module itself is changed.
    """
    assert model.adapter is not None
    names = {id(value): name for name, value in model.model.named_parameters()}
    for path, layer in list(_adapted(model.model)):
        layer.merge(safe_merge=True)
        parent, _, name = path.rpartition(".")
        setattr(model.model.get_submodule(parent), name, layer.get_base_layer())
    del model.model.peft_config
    renamed = {names[id(value)]: name for name, value in model.model.named_parameters()}
    return replace(model, anatomy=model.anatomy.grown(dict(model.model.named_parameters()), renamed, ()), adapter=None)


def base_sha256(model: Pretrained) -> str:
    """The hash of all weights under an adapter that it leaves as they are, as the model had them without it."""
    adapter = model.adapter
    assert adapter is not None
    own = {*adapter.parameters, *adapter.beside}
    return tensors_sha256(
        {name.replace(".base_layer.", "."): value for name, value in model.model.named_parameters() if name not in own}
    )


# What of peft's settings decides what is computed; all others keep their defaults.
_FIELDS: dict[str, tuple[str, ...]] = {
    "LORA": ("r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora"),
    "IA3": ("feedforward_modules",),
}


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


def _config_of(module: nn.Module) -> Any:
    return module.peft_config[_NAME]  # type: ignore[index]


def _linear(block: nn.Module, path: str) -> Iterator[str]:
    for name, module in block.named_modules():
        plain = isinstance(module, nn.Conv2d) and module.groups == 1
        if plain or isinstance(module, nn.Linear) or _is_turned(module):
            yield f"{path}.{name}" if name else path


def _is_turned(module: nn.Module) -> bool:
    """Whether a module is a linear layer whose weight is kept turned round, as GPT-2 has it."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _in_attention(model: nn.Module, path: str) -> bool:
    """Whether a module lies inside of one that attends, as the names of classes say it."""
    while "." in path:
        path = path.rpartition(".")[0]
        if "attention" in type(model.get_submodule(path)).__name__.lower():
            return True
    return False


def _whole(module: nn.Module, names: Mapping[str, Any]) -> Iterator[str]:
    """The largest modules that hold nothing but these parameters."""
    found: list[str] = []
    for path, part in module.named_modules():
        inside = [f"{path}.{name}" for name, _ in part.named_parameters()]
        outermost = path and not any(path.startswith(f"{other}.") for other in found)
        if outermost and inside and all(name in names for name in inside):
            found.append(path)
    yield from found


def _fill(
    opened: Pretrained,
    state: Mapping[str, Tensor],
    beside: Mapping[str, Tensor],
    expected: Collection[str],
    folder: Path,
) -> None:
    """Put what was saved where it belongs.

    Args:
        state: of the adapter, by peft's names; ``beside``: of the model, by its own.
        expected: what has to be in ``beside``, at least.

    Raises:
        RecipeError: something is missing, left over, or of another shape.
    """
    from peft.utils import set_peft_model_state_dict

    own, places = (
        _library().get_peft_model_state_dict(opened.model, adapter_name=_NAME),
        dict(opened.model.named_parameters()),
    )
    odd = sorted({*expected} - {*beside}) or sorted({*state} ^ {*own})
    odd = odd or [name for name in state if state[name].shape != own[name].shape]
    odd = odd or [name for name in beside if beside[name].shape != places[name].shape]
    if odd:
        raise RecipeError(f"{folder / WEIGHTS_FILE}: {odd[0]} is missing, or does not fit this model", fix=_AGAIN)
    set_peft_model_state_dict(opened.model, dict(state), adapter_name=_NAME)
    with torch.no_grad():
        for name, value in beside.items():
            places[name].copy_(value)
