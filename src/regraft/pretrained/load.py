"""Open a model folder with its own transformers classes, graft a head on it, and write it back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from regraft.errors import RecipeError, RefusedError, ResourceError
from regraft.fingerprint import draw
from regraft.pretrained.anatomy import Anatomy, anatomy_of
from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import first_line, model_folder, quiet, stay_offline
from regraft.pretrained.heads import MeanPooled
from regraft.recipe import ModelOptions

_HEAD_FILE = "head.safetensors"
_POSITIONS = re.compile(r"(^|\.)(wpe|position_embeddings|embed_positions)\b")


@dataclass(frozen=True)
class Pretrained:
    """A model that is ready to be tuned."""

    model: nn.Module
    processor: Any
    anatomy: Anatomy
    folder: Path
    head: str

    @property
    def config(self) -> Any:
        return self.model.config


def load(options: ModelOptions, auto_class: str, config: Mapping[str, Any], *, seed: int) -> Pretrained:
    """Load a pretrained model with a head for the task.

    Args:
        auto_class: the transformers class that brings the model's own head, for example
            "AutoModelForSequenceClassification".
        config: what the task sets in the model's config; ``num_labels`` is the width of the output.
        seed: a new head starts from numbers drawn from it.

    Raises:
        RecipeError: the folder is no such model, or a weight of the backbone is missing or has another shape.
        RefusedError: see ``model_folder``.
        ResourceError: the model is not here and cannot be fetched.
    """
    folder = model_folder(options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw("head", seed))
        if options.head == "mean":
            backbone, missing = _open(folder, "AutoModel", {}, options.dropout)
            model: Any = MeanPooled(backbone, int(config["num_labels"]), dropout=_head_dropout(backbone, options))
            new = {f"backbone.{name}" for name in missing} | {"classifier.weight", "classifier.bias"}
            _annotate(backbone.config, config)
        else:
            model, new = _open(folder, auto_class, config, options.dropout)
    anatomy = anatomy_of(model, new)
    _require_whole(anatomy, folder)
    processor = _processor(folder)
    _settle_padding(model, processor)
    return Pretrained(model.eval(), processor, anatomy, folder, options.head)


def save(folder: Path, pretrained: Pretrained) -> None:
    """Write what ``save_pretrained`` writes; a pooled head goes beside it into ``head.safetensors``."""
    from safetensors.torch import save_file

    model = pretrained.model
    with quiet():
        backbone = model.backbone if isinstance(model, MeanPooled) else model
        backbone.save_pretrained(folder)  # type: ignore[operator]
        pretrained.processor.save_pretrained(folder)
    if isinstance(model, MeanPooled):
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in model.classifier.state_dict().items()},
            folder / _HEAD_FILE,
        )


def reopen(folder: Path, auto_class: str, *, head: str) -> Pretrained:
    """Open a folder that ``save`` wrote. Nothing in it may be missing.

    Raises:
        RecipeError: a weight is missing or has another shape.
        RefusedError: see ``check_folder``.
    """
    check_folder(folder)
    if head == "mean":
        backbone, new = _open(folder, "AutoModel", {}, None)
        model: Any = _with_saved_head(backbone, folder)
    else:
        model, new = _open(folder, auto_class, {}, None)
    if new:
        raise RecipeError(
            f"model {folder}: weights are missing: {', '.join(sorted(new)[:5])}",
            fix="tune it again, or copy the folder again",
        )
    return Pretrained(model.eval(), _processor(folder), anatomy_of(model), folder, head)


def _open(folder: Path, auto_class: str, config: Mapping[str, Any], dropout: float | None) -> tuple[Any, set[str]]:
    """The model in fp32 and the names of its parameters that the folder does not hold."""
    _require_weights(folder)
    stay_offline()
    import transformers

    try:
        with quiet():
            settings = transformers.AutoConfig.from_pretrained(
                folder, trust_remote_code=False, **_label_settings(config)
            )
            _set_dropout(settings, dropout)
            model, report = getattr(transformers, auto_class).from_pretrained(
                folder,
                config=settings,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # a damaged file makes transformers and safetensors raise many kinds
        raise RecipeError(
            f"model {folder} cannot be opened as {auto_class}: {first_line(error)}",
            fix="check that the folder is whole and of the right kind",
        ) from error
    _own_memory(model)
    mismatched = {entry[0] if isinstance(entry, tuple) else entry for entry in report["mismatched_keys"]}
    return model, {str(name) for name in {*report["missing_keys"], *mismatched}}


def _own_memory(model: nn.Module) -> None:
    """Move the weights from where the file is mapped to aligned memory of their own.

    Matrix products differ in their last bits with the alignment of what they read, and a mapped file may change.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def _label_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "num_labels" or "id2label" not in config}


def _annotate(settings: Any, config: Mapping[str, Any]) -> None:
    for key, value in _label_settings(config).items():
        setattr(settings, key, value)


def _set_dropout(settings: Any, dropout: float | None) -> None:
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


def _head_dropout(backbone: nn.Module, options: ModelOptions) -> float:
    if options.dropout is not None:
        return options.dropout
    return float(getattr(backbone.config, "hidden_dropout_prob", None) or 0.0)


def _require_weights(folder: Path) -> None:
    if not any(folder.glob("*.safetensors")):
        raise RefusedError(
            f"model {folder} has no safetensors weights; regraft opens no other kind",
            fix="convert it once with save_pretrained on a machine you trust it on",
        )


def _require_whole(anatomy: Anatomy, folder: Path) -> None:
    """Only a head, or a pooler, may be new: a hole in the backbone would be filled with noise."""
    inside = [
        name
        for name in (*anatomy.stem, *(n for block in anatomy.blocks for n in block), *anatomy.tail)
        if name in anatomy.new
    ]
    holes = [name for name in inside if "pooler" not in name]
    if holes:
        raise RecipeError(
            f"model {folder}: {len(holes)} backbone weights are missing or have another shape, for example {holes[0]}",
            fix="the folder is incomplete, or its config.json belongs to another model",
        )


def _processor(folder: Path) -> Any:
    stay_offline()
    import transformers

    try:
        with quiet():
            processor = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            processor("")
    except Exception as error:  # as above
        raise RecipeError(
            f"model {folder}: its tokenizer cannot be opened: {first_line(error)}",
            fix="the folder needs tokenizer.json or its family's vocabulary files",
        ) from error
    files = set(processor.vocab_files_names.values())
    if files and not any((folder / name).is_file() for name in files):  # made up from the family, without a vocabulary
        raise RecipeError(
            f"model {folder}: its tokenizer has no vocabulary, so every word would be unknown",
            fix=f"put one of these beside config.json: {', '.join(sorted(files))}",
        )
    return processor


def _settle_padding(model: Any, processor: Any) -> None:
    """See to it that padding changes nothing, also where the folder was made for other uses.

    Decoders often come without a padding token; what pads a batch is masked, so the end token serves. Where positions
    are learned and counted from the left, padding there would move a text to other positions.
    """
    if processor.pad_token is None and processor.eos_token is not None:
        processor.pad_token = processor.eos_token
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = processor.pad_token_id
    if any(_POSITIONS.search(name) for name, _ in model.named_parameters()):
        processor.padding_side = "right"


def _with_saved_head(backbone: nn.Module, folder: Path) -> MeanPooled:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(folder / _HEAD_FILE)
        model = MeanPooled(backbone, len(weights["bias"]), dropout=0.0)
        model.classifier.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ResourceError(
            f"{folder / _HEAD_FILE} cannot be read: {first_line(error)}", fix="tune it again, or copy the folder again"
        ) from None
    return model
