"""A model folder opened with a transformers class: in fp32, without code of its own, without a connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from regraft.errors import RecipeError, RefusedError
from regraft.pretrained.few_bits import Bits, asked_of_transformers, require_few_bits
from regraft.pretrained.folder import first_line, quiet, stay_offline
from regraft.pretrained.libraries import fault_of, require_timm


def library() -> Any:
    """The transformers library, offline, knowing the families that regraft adds."""
    stay_offline()
    import transformers

    from regraft.pretrained import centernet, piper, speaker, ssru

    centernet.register()
    piper.register()
    speaker.register()
    ssru.register()
    return transformers


def settings_of(folder: Path, auto_class: str, config: Mapping[str, Any] | None = None) -> Any:
    """The config of a folder, with the labels of ``config`` if given.

    Raises:
        RecipeError: there is no such family, it is no config, or it is made for a library that is not here.
    """
    require_timm(_values(folder), folder)
    try:
        with quiet():
            settings = library().AutoConfig.from_pretrained(
                folder, trust_remote_code=False, **label_settings(config or {})
            )
    except Exception as error:  # transformers raises many kinds
        raise _not_opened(folder, auto_class, error) from error
    require_timm(settings.to_dict(), folder)
    return settings


def _values(folder: Path) -> Any:
    """What ``config.json`` says; nothing if it cannot be read."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def open_folder(
    folder: Path,
    auto_class: str,
    config: Mapping[str, Any],
    dropout: float | None,
    settle: Callable[[Any], None] | None = None,
    bits: Bits | None = None,
) -> tuple[Any, set[str]]:
    """The model in fp32, and the names of its weights and buffers that the folder does not hold in this shape.

    Args:
        settle: changes the settings that it is opened with.
        bits: of a weight in linear layers, on a GPU; None for fp32.

    Raises:
        ResourceError: so few bits cannot be had here.
        RecipeError: the folder is damaged or of another kind.
        RefusedError: it has no safetensors.
    """
    require_weights(folder)
    settings = settings_of(folder, auto_class, config)
    require_few_bits(bits)
    try:
        with quiet():
            set_dropout(settings, dropout)
            _ask_for_all_maps(settings, auto_class)
            if settle is not None:
                settle(settings)
            more = {} if bits is None else asked_of_transformers(bits, _skeleton(auto_class, settings))
            model, report = getattr(library(), auto_class).from_pretrained(
                folder,
                config=settings,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **more,
            )
    except Exception as error:  # a damaged file makes transformers and safetensors raise many kinds
        raise _not_opened(folder, auto_class, error) from error
    if bits is None:
        _own_memory(model)
    mismatched = {entry[0] if isinstance(entry, tuple) else entry for entry in report["mismatched_keys"]}
    return model, {str(name) for name in {*report["missing_keys"], *mismatched}}


def _skeleton(auto_class: str, settings: Any) -> Any:
    """The model without its weights."""
    with torch.device("meta"):
        return getattr(library(), auto_class).from_config(settings)


def label_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a task's settings a config takes: the names of the labels tell how many there are."""
    return {key: value for key, value in config.items() if key != "num_labels" or "id2label" not in config}


def annotate(settings: Any, config: Mapping[str, Any]) -> None:
    """Write a task's settings into a config."""
    for key, value in label_settings(config).items():
        setattr(settings, key, value)


def set_dropout(settings: Any, dropout: float | None) -> None:
    """Set every dropout probability of a config. Families spell them differently; all say dropout, drop or pdrop."""
    if dropout is None:
        return
    for key, value in settings.to_dict().items():
        if (
            ("dropout" in key or key.endswith("pdrop"))
            and isinstance(value, float | int)
            and not isinstance(value, bool)
        ):
            setattr(settings, key, dropout)


def require_weights(folder: Path) -> None:
    """See that there are weights of the only kind that is opened."""
    if not any(folder.glob("*.safetensors")):
        raise RefusedError(
            f"model {folder} has no safetensors weights; regraft opens no other kind",
            fix="convert it once with save_pretrained on a machine you trust it on",
        )


def _ask_for_all_maps(settings: Any, auto_class: str) -> None:
    """Families that transformers has as a backbone alone give the last map unless asked."""
    backbone = auto_class in {"AutoModel", "AutoBackbone"} and is_backbone(settings, auto_class)
    if backbone and hasattr(settings, "stage_names"):
        settings.out_features = list(settings.stage_names[1:])


def is_backbone(settings: Any, auto_class: str) -> bool:
    """Whether the class that would be opened gives feature maps, and nothing else."""
    kind = class_of(settings, auto_class)
    return kind is not None and kind.__name__.endswith("Backbone")


def class_of(settings: Any, auto_class: str) -> Any:
    """The class that an auto class has for a config's family, or None."""
    mapping = getattr(library(), auto_class)._model_mapping
    if type(settings) not in mapping:
        return None
    found = mapping[type(settings)]
    return found[0] if isinstance(found, tuple) else found


def _own_memory(model: nn.Module) -> None:
    """Move the weights from where the file is mapped to aligned memory of their own.

    Matrix products differ in their last bits with the alignment of what they read, and a mapped file may change.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def channels_last(model: nn.Module) -> None:
    """Lay the weights of 2D convolutions out as CPUs and CUDA compute them fastest; their values stay.

    Not on a Mac's GPU, whose batch norms have refused what such convolutions give (PyTorch, pull request 188371).
    """
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and accelerator.type != "cuda":
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def _not_opened(folder: Path, auto_class: str, error: Exception) -> RecipeError:
    fault = fault_of("torchvision")
    if fault is not None:
        return RecipeError(f"model {folder} cannot be opened: {fault[0]}", fix=fault[1])
    return RecipeError(
        f"model {folder} cannot be opened as {auto_class}: {first_line(error)}",
        fix="check that the folder is whole and of the right kind",
    )
