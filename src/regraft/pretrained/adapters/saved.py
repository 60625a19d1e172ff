"""The folder of an adapter: ``adapter_config.json`` and ``adapter_model.safetensors``, in the form that peft has."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError
from regraft.fingerprint import tensors_sha256
from regraft.pretrained.adapters.grafting import graft, kept_beside
from regraft.pretrained.adapters.kinds import KINDS
from regraft.pretrained.adapters.places import with_positions

if TYPE_CHECKING:
    from regraft.pretrained.load import Pretrained

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"

_AGAIN = "tune it again, or copy the folder again"
_TASK_TYPES = {
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
}


def save_adapter(folder: Path, model: Pretrained, published: str) -> None:
    """Write the adapter, and beside it what else of the model has trained.

    Args:
        published: what the names of the model begin with that the file is to leave out: where its backbone is, when its
            head is kept elsewhere.
    """
    from safetensors.torch import save_file

    adapter, module, asked = model.adapter, model.model, model.asked
    assert adapter is not None
    assert asked is not None
    kind = adapter.kind
    parameters = dict(module.named_parameters())
    beside = {name: parameters[name] for name in adapter.beside if name.startswith(published)}
    tensors = {kind.in_file(name, published): value for name, value in kind.own(module, adapter.parameters).items()}
    tensors |= {kind.wrapped + name.removeprefix(published): value for name, value in beside.items()}
    values = kind.config(module, adapter.settings) | {
        "base_model_name_or_path": str(model.folder),
        "inference_mode": True,
        "revision": asked.options.revision,
        "task_type": "FEATURE_EXTRACTION" if published else _TASK_TYPES.get(asked.auto_class),
    }
    if adapter.layers:
        values["target_modules"] = adapter.layers
        values["modules_to_save"] = sorted({path.removeprefix(published) for path in _whole(module, beside)}) or None
    paths = {name: sorted(path.removeprefix(published) for path in values[name]) for name in kind.paths}
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(written, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    text = json.dumps(values | paths, indent=2, sort_keys=True, default=str)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def published_config(model: Pretrained, config: Any) -> Any:
    """A model's config as it is without its adapter, which may have taken positions of it."""
    assert model.adapter is not None
    count = model.adapter.kind.takes(model.adapter.settings)
    return config if not count else with_positions(copy.deepcopy(config), count)


def reopen_adapter(folder: Path, model: Pretrained, published: str) -> Pretrained:
    """The model under an adapter with the adapter of a folder, and what else of it has trained.

    Raises:
        RecipeError: the folder is damaged, or its adapter belongs to another model.
    """
    settings, tensors, layers = _read(folder, published)
    opened = graft(model, settings, layers, seed=0)
    adapter = opened.adapter
    assert adapter is not None
    kind, own = adapter.kind, adapter.kind.own(opened.model, adapter.parameters)
    places = {n: value for n, value in opened.model.named_parameters() if n.startswith(published)}
    own_names = {kind.in_file(name, published): name for name in own}
    names = {kind.wrapped + name.removeprefix(published): name for name in places if name not in adapter.parameters}
    state = {own_names[name]: value for name, value in tensors.items() if name in own_names}
    beside = {names[name]: value for name, value in tensors.items() if name in names and name not in own_names}
    odd = sorted({*tensors} - {*own_names} - {*names})
    odd = odd or sorted({*adapter.beside} & {*places} - {*beside}) or sorted({*own} - {*state})
    odd = odd or [name for name in state if state[name].shape != own[name].shape]
    odd = odd or [name for name in beside if beside[name].shape != places[name].shape]
    if odd:
        raise RecipeError(f"{folder / WEIGHTS_FILE}: {odd[0]} is missing, or does not fit this model", fix=_AGAIN)
    kind.fill(opened.model, state)
    with torch.no_grad():
        for name, value in beside.items():
            places[name].copy_(value)
    return kept_beside(opened, beside)


def base_sha256(model: Pretrained) -> str:
    """The hash of all weights under an adapter that it leaves as they are, as the model had them without it."""
    adapter = model.adapter
    assert adapter is not None
    own = {*adapter.parameters, *adapter.beside}
    return tensors_sha256(
        {name.replace(".base_layer.", "."): value for name, value in model.model.named_parameters() if name not in own}
    )


def _read(folder: Path, published: str) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    """The settings of a folder's adapter, its tensors, and the layers that it is in."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        values = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS_FILE)
        if values["peft_type"] not in KINDS:
            raise ValueError(f"an adapter of the kind {values['peft_type']!r}")
        kind = KINDS[values["peft_type"]]
        paths = {name: [f"{published}{path}" for path in values[name] or ()] for name in kind.paths}
        fields = {name: values[name] for name in ("peft_type", *kind.fields) if name in values}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RecipeError(f"{folder}: the adapter cannot be read: {error}", fix=_AGAIN) from None
    return fields | {name: paths[name] for name in fields if name in paths}, tensors, paths.get("target_modules", [])


def _whole(module: nn.Module, names: Collection[str] | Mapping[str, Any]) -> Iterator[str]:
    """The largest modules that hold nothing but these parameters."""
    found: list[str] = []
    for path, part in module.named_modules():
        inside = [f"{path}.{name}" for name, _ in part.named_parameters()]
        outermost = path and not any(path.startswith(f"{other}.") for other in found)
        if outermost and inside and all(name in names for name in inside):
            found.append(path)
    yield from found
