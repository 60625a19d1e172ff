"""Open a model folder with its own transformers classes, graft a head on it, and write it back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError, ResourceError
from regraft.fingerprint import draw
from regraft.pretrained.adapters import Adapter, base_sha256, published_config, reopen_adapter, save_adapter
from regraft.pretrained.anatomy import Anatomy, anatomy_of, idle
from regraft.pretrained.check import check_folder
from regraft.pretrained.choice import WRITERS, Choice, choose, reads_images, reads_sounds, same_choice
from regraft.pretrained.folder import first_line, model_folder, quiet
from regraft.pretrained.heads import GraftedBoxes, GraftedDense, GraftedFrames, MeanPooled, find_levels
from regraft.pretrained.heads.dense import Grafted
from regraft.pretrained.heads.pyramid import look, trial_image
from regraft.pretrained.hearing import has_tokenizer, listener_of, settle_hearing
from regraft.pretrained.labels import first_names, keep_rows, label_sized
from regraft.pretrained.opening import (
    annotate,
    channels_last,
    class_of,
    library,
    open_folder,
    require_weights,
    settings_of,
)
from regraft.pretrained.processor import image_processor_of, tokenizer_of
from regraft.pretrained.sizes import allow_any_size
from regraft.pretrained.speaking import VOICES, beside_of, open_voice, require_voice, speaker_of
from regraft.pretrained.writing import as_published, settle_writing
from regraft.recipe import ModelOptions

_HEAD_FILE = "head.safetensors"
_POSITIONS = re.compile(r"(^|\.)(wpe|position_embeddings|embed_positions)\b")
# What a new head on images learns at, within few epochs. A head that reads the maps of a pyramid has layers between.
_HEAD_RATES = {"own": 1e-3, "pooled": 1e-3, "dense": 5e-3, "boxes": 5e-3, "frames": 1e-3, "heard": 1e-3}
_DROPOUT = {"mean": 0.0, "pooled": 0.0, "dense": 0.1, "boxes": 0.0, "frames": 0.0, "heard": 0.0}  # where nobody says
# What a head is called in its own file, and that layer's rows are the answers.
_OUTPUT = {
    **dict.fromkeys(("mean", "pooled", "frames", "heard"), "bias"),
    "dense": "classifier.bias",
    "boxes": "heatmap.bias",
}


@dataclass(frozen=True)
class Asked:
    """What a pretrained model was asked for with; asked again, it is the same."""

    options: ModelOptions
    auto_class: str


@dataclass(frozen=True)
class Pretrained:
    """A model that is ready to be tuned.

    ``head`` is "own", or the kind that was grafted: "mean" and "pooled" (one answer an input), "dense", "boxes".
    ``kept`` are the labels whose rows in the classifier are the checkpoint's. ``head_rate`` is the learning rate that
    a new head needs; None where it learns well at the one of what is below it. ``notes`` say what was made up.
    ``asked`` is what it was opened with, if it comes from a checkpoint; ``adapter`` what was grafted into its layers.
    """

    model: nn.Module
    processor: Any
    anatomy: Anatomy
    folder: Path
    head: str
    kept: tuple[str, ...] = ()
    head_rate: float | None = None
    notes: tuple[str, ...] = ()
    asked: Asked | None = None
    adapter: Adapter | None = None

    @property
    def config(self) -> Any:
        return self.model.config


def load(options: ModelOptions, auto_class: str, config: Mapping[str, Any], *, seed: int) -> Pretrained:
    """Load a pretrained model with a head for the task.

    The head is the model's own where transformers has one for the task and nothing else is asked for; else one is
    grafted. Of a detector, a segmenter or an image classifier the rows for labels of the same name are kept.

    Args:
        auto_class: the transformers class that brings the model's own head: "AutoModelForSequenceClassification",
            "AutoModelForImageClassification", "AutoModelForObjectDetection" or "AutoModelForSemanticSegmentation"
            (which means Mask2Former and its kin too).
        config: what the task sets in the model's config; ``num_labels`` is the width of the output, and ``id2label``
            where the outputs are labels.
        seed: a new head starts from numbers drawn from it.

    Raises:
        RecipeError: the folder is no such model, or a weight of the backbone is missing or has another shape.
        RefusedError: see ``model_folder``.
        ResourceError: the model is not here and cannot be fetched.
    """
    path = os.path.expanduser(options.name)
    name = os.path.abspath(path) if os.path.exists(path) else options.name
    if options.head == "auto":
        options = options.model_copy(update={"head": "own"})
    asked = Asked(options.model_copy(update={"name": name}), auto_class)
    return replace(_load(options, auto_class, config, seed=seed), asked=asked)


def _load(options: ModelOptions, auto_class: str, config: Mapping[str, Any], *, seed: int) -> Pretrained:
    folder = model_folder(options)
    require_weights(folder)
    settings = settings_of(folder, auto_class)
    if options.bits is not None and (auto_class in VOICES or reads_sounds(auto_class) or reads_images(auto_class)):
        raise RecipeError(f"model.bits = {options.bits} is for models of texts", fix="leave model.bits out")
    if auto_class in VOICES:
        return _load_speaking(folder, settings, auto_class, config, options, seed=seed)
    choice = choose(options.head, auto_class, settings, folder)
    if reads_sounds(auto_class):
        return _load_hearing(folder, choice, auto_class, config, options, seed=seed)
    images = reads_images(auto_class)
    kept: tuple[str, ...] = ()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw("head", seed))
        if choice.head == "own":
            model, new = open_folder(folder, choice.opened_as, config, options.dropout, bits=options.bits)
            if images:
                new, kept = _settled(model, new, config, folder, choice)
        else:
            backbone, missing = open_folder(folder, choice.opened_as, {}, options.dropout, bits=options.bits)
            if images:
                _require_base(missing, folder)
                allow_any_size(backbone)
            else:
                _require_states(backbone, folder)
            model = _grafted(choice.head, backbone, int(config["num_labels"]), _head_dropout(backbone, options, choice))
            new = {f"backbone.{name}" for name in missing} | _head_names(model)
            annotate(backbone.config, config)
    notes = (*choice.notes, *_told_of_a_head_left(folder))
    if auto_class in WRITERS:
        _refuse_holes(sorted(new), folder, of="")
        processor = tokenizer_of(folder)
        settle_writing(model.eval(), processor, folder)
        return Pretrained(model, processor, anatomy_of(model), folder, choice.head, notes=notes)
    if not images:
        anatomy = anatomy_of(model, new)
        _require_whole(anatomy, folder)
        processor = tokenizer_of(folder)
        _settle_padding(model, processor)
        return Pretrained(model.eval(), processor, anatomy, folder, choice.head, notes=notes)
    channels_last(model)
    anatomy = anatomy_of(model.eval(), first_names(model, new))
    if choice.head == "own":
        allow_any_size(model)
    else:
        anatomy = replace(anatomy, unused=_unused(model))
    processor, made_up = image_processor_of(folder, settings)
    rate = _head_rate(choice.head, auto_class, anatomy)
    return Pretrained(model, processor, anatomy, folder, choice.head, kept, rate, (*notes, *made_up))


def _load_hearing(
    folder: Path, choice: Choice, auto_class: str, config: Mapping[str, Any], options: ModelOptions, *, seed: int
) -> Pretrained:
    """A model that hears. One that spells does so in its own characters, or in those of the training texts."""
    config = dict(config)
    characters = config.pop("characters", ())
    if choice.head == "own" and has_tokenizer(folder):
        characters = ()
    listener = listener_of(folder, texts=auto_class != "AutoModelForAudioClassification", characters=characters)
    if auto_class == "AutoModelForCTC":
        letters = {"vocab_size": len(listener.tokenizer), "pad_token_id": listener.tokenizer.pad_token_id}
        config = letters if choice.head == "own" else {"ctc_blank": 0}
    outputs = len(characters) if characters else int(config.get("num_labels", 0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw("head", seed))
        own = choice.head == "own"
        model, new = open_folder(folder, choice.opened_as, config if own else {}, options.dropout, settle_hearing)
        if not own:
            _require_base(new, folder)
            model = _grafted(choice.head, model, outputs, _head_dropout(model, options, choice))
            new = _head_names(model)
            annotate(model.config, config)
    if auto_class in WRITERS:
        _refuse_holes(sorted(new), folder, of="")
        settle_writing(model.eval(), listener.tokenizer, folder)
    anatomy = anatomy_of(model.eval(), new)
    _require_whole(anatomy, folder)
    rate = None if not anatomy.new else _HEAD_RATES[choice.head]
    notes = (*choice.notes, *_told_of_a_head_left(folder))
    return Pretrained(model, listener, anatomy, folder, choice.head, head_rate=rate, notes=notes)


def _load_speaking(
    folder: Path, settings: Any, auto_class: str, config: Mapping[str, Any], options: ModelOptions, *, seed: int
) -> Pretrained:
    """A voice, with what it learns with beside it."""
    require_voice(auto_class, settings, folder, asked=options.head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw("head", seed))
        model, missing, new = open_voice(folder, auto_class, config, options.dropout)
    _refuse_holes(sorted(missing), folder, of="")
    anatomy = anatomy_of(model.eval(), new)
    notes = _told_of_a_head_left(folder) if new else ()
    rate = _HEAD_RATES["heard"] if new else None
    return Pretrained(model, speaker_of(folder, settings), anatomy, folder, "own", head_rate=rate, notes=notes)


def _told_of_a_head_left(folder: Path) -> tuple[str, ...]:
    known = (folder / _HEAD_FILE).is_file()
    return (f"the head in {folder / _HEAD_FILE} is not taken over: a new one is put in its place",) if known else ()


def _head_rate(head: str, auto_class: str, anatomy: Anatomy) -> float | None:
    """Detectors and segmenters keep most of their own heads, which a high rate would undo."""
    kept = head == "own" and auto_class != "AutoModelForImageClassification"
    return None if kept or not anatomy.new else _HEAD_RATES[head]


def save(folder: Path, pretrained: Pretrained) -> None:
    """Write what ``save_pretrained`` writes; a grafted head goes beside it into ``head.safetensors``.

    Of a model with an adapter only that is written, as peft does, and what else of the model has trained.
    """
    from safetensors.torch import save_file

    model: Any = pretrained.model
    head = _head_of(model)
    beside = beside_of(model) if head is None else head.state_dict()
    written = model if beside is None else model.backbone
    with quiet(), as_published(written):
        if pretrained.adapter is None:
            written.save_pretrained(folder)
        else:
            published_config(pretrained, written.config).save_pretrained(folder)
            save_adapter(folder, pretrained, _published(head))
        pretrained.processor.save_pretrained(folder)
    if beside:
        tensors = {name: value.detach().cpu().contiguous() for name, value in beside.items()}
        save_file(tensors, folder / _HEAD_FILE)


def reopen(
    folder: Path,
    auto_class: str,
    *,
    head: str,
    config: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
) -> Pretrained:
    """Open a folder that ``save`` wrote. Nothing in it may be missing.

    Args:
        head: what ``Pretrained.head`` was.
        config: of voices, and of what has an adapter, what the task sets, as for ``load``.
        base: what ``base_of`` said of a model with an adapter.

    Raises:
        RecipeError: a weight is missing or has another shape, or the model under an adapter is another one now.
        RefusedError: see ``check_folder``.
    """
    check_folder(folder, adapter=base is not None)
    require_weights(folder)
    if base is not None:
        return _with_saved_adapter(folder, auto_class, config or {}, base)
    settings = settings_of(folder, auto_class)
    if auto_class in VOICES:
        voice, missing, new = open_voice(folder, auto_class, config or {}, None)
        _refuse_holes(sorted(missing | new), folder, of="")
        return Pretrained(voice.eval(), speaker_of(folder, settings), anatomy_of(voice), folder, head)
    settle = settle_hearing if reads_sounds(auto_class) else None
    opened, new = open_folder(folder, same_choice(head, auto_class, settings, folder), {}, None, settle)
    if reads_images(auto_class):
        allow_any_size(opened)
        new = {name for name in new if not name.endswith("num_batches_tracked")}
    model: nn.Module = opened if head == "own" else _with_saved_head(head, opened, folder)
    if new:
        raise RecipeError(
            f"model {folder}: weights are missing: {', '.join(sorted(new)[:5])}",
            fix="tune it again, or copy the folder again",
        )
    if reads_images(auto_class):
        channels_last(model)
        processor, made_up = image_processor_of(folder, settings)
        if made_up:
            raise RecipeError(
                f"model {folder}: preprocessor_config.json is missing, and images would be prepared otherwise",
                fix="tune it again, or copy the folder again",
            )
    elif reads_sounds(auto_class):
        processor = listener_of(folder, texts=auto_class != "AutoModelForAudioClassification")
    else:
        processor = tokenizer_of(folder)
    if auto_class in WRITERS:
        settle_writing(model.eval(), getattr(processor, "tokenizer", processor), folder)
    return Pretrained(model.eval(), processor, anatomy_of(model), folder, head)


def remembering(pretrained: Pretrained, rows: int) -> Pretrained:
    """The model with a last layer of nearest neighbours that has room for so many training rows.

    The module itself is changed.

    Raises:
        RecipeError: its head is not one linear layer on pooled states.
    """
    module = pretrained.model
    if not isinstance(module, MeanPooled):
        raise RecipeError(
            f"model.head = {pretrained.head!r} has no last layer of ours that neighbours could be put in place of",
            fix="take model.head=mean, or leave model.head out",
        )
    before = pretrained.anatomy
    module.remember(rows, module.classifier.weight.shape[0])
    anatomy = anatomy_of(module, before.new - {*before.head})
    return replace(pretrained, anatomy=replace(anatomy, unused=before.unused))


def base_of(pretrained: Pretrained) -> dict[str, Any] | None:
    """What has to be known to open again the model under an adapter, in JSON's terms; None where there is none."""
    if pretrained.adapter is None:
        return None
    assert pretrained.asked is not None
    return {"options": pretrained.asked.options.model_dump(mode="json"), "sha256": base_sha256(pretrained)}


def _with_saved_adapter(
    folder: Path, auto_class: str, config: Mapping[str, Any], base: Mapping[str, Any]
) -> Pretrained:
    """The model under an adapter, opened where it lies, with what the folder holds."""
    try:
        options, sha256 = ModelOptions.model_validate(base["options"]), str(base["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"{folder}: what is said of the model under the adapter is damaged: {first_line(error)}",
            fix="tune it again, or copy the folder again",
        ) from None
    under = load(options, auto_class, config, seed=0)
    head = _head_of(under.model)
    opened = reopen_adapter(folder, under, _published(head))
    if head is not None:
        with _reading(folder / _HEAD_FILE) as weights:
            head.load_state_dict(weights)
    if base_sha256(opened) != sha256:
        raise RecipeError(
            f"{folder} is an adapter for {options.name}, whose weights are not those that it was tuned on",
            fix="put the model back as it was, or tune again",
        )
    return replace(opened, model=opened.model.eval())


def _published(head: nn.Module | None) -> str:
    """What the names of weights begin with that their file leaves out."""
    return "" if head is None else "backbone."


def _settled(
    model: Any, new: set[str], config: Mapping[str, Any], folder: Path, choice: Choice
) -> tuple[set[str], tuple[str, ...]]:
    """The weights of an own head that are new, once the rows of known labels are kept; and these labels."""
    sized = label_sized(choice.opened_as, model.config)
    _require_base(_of_the_base(model, new - set(sized)), folder)
    if "id2label" not in config:
        return new, ()
    kept, new = keep_rows(model, new, sized, folder, choice.opened_as)
    return new, kept


def _of_the_base(model: Any, names: set[str]) -> set[str]:
    """The weights that belong to what the family has without a head. A head may sit deep inside of it."""
    prefix = model.base_model_prefix
    if not names or class_of(model.config, "AutoModel") is None or not prefix or not hasattr(model, prefix):
        return names
    with quiet(), torch.device("meta"):
        base = library().AutoModel.from_config(model.config).state_dict()
    return names & {f"{prefix}.{name}" for name in base}


def _require_base(missing: set[str], folder: Path) -> None:
    """Nothing of the backbone may be new but a pooler: a hole in it would be filled with noise."""
    _refuse_holes(sorted(n for n in missing if "pooler" not in n and not n.endswith("num_batches_tracked")), folder)


@torch.no_grad()
def _require_states(backbone: Any, folder: Path) -> None:
    """See that a backbone says something of a text alone: some encoder-decoders want what they have written besides.

    Raises:
        RecipeError: it does not.
    """
    if not getattr(backbone.config, "is_encoder_decoder", False):
        return
    token = torch.ones(1, 1, dtype=torch.int64, device=next(backbone.parameters()).device)
    try:
        backbone.eval()(input_ids=token, attention_mask=token)
    except ValueError:
        raise RecipeError(
            f"model.head = 'mean' with {folder} ({backbone.config.model_type}): it has states of a text only beside "
            "what it writes, so there is no mean to take",
            fix="take model.head=own with a strategy such as full, lora or adapter, or name an encoder such as minilm",
        ) from None


def _require_whole(anatomy: Anatomy, folder: Path) -> None:
    """Only a head, or a pooler, may be new: a hole in the backbone would be filled with noise."""
    inside = [
        name
        for name in (*anatomy.stem, *(n for block in anatomy.blocks for n in block), *anatomy.tail)
        if name in anatomy.new
    ]
    _refuse_holes([name for name in inside if "pooler" not in name], folder)


def _refuse_holes(holes: list[str], folder: Path, *, of: str = "backbone ") -> None:
    if holes:
        raise RecipeError(
            f"model {folder}: {len(holes)} {of}weights are missing or have another shape, for example {holes[0]}",
            fix="the folder is incomplete, or its config.json belongs to another model",
        )


def _grafted(head: str, backbone: nn.Module, outputs: int, dropout: float) -> Any:
    if head == "mean":
        return MeanPooled(backbone, outputs, dropout=dropout)
    if head in {"frames", "heard"}:
        return GraftedFrames(backbone, outputs, dropout=dropout, pooled=head == "heard")
    if head == "pooled":
        return MeanPooled(backbone, outputs, dropout=dropout, width=_pooled_width(backbone))
    kind = GraftedDense if head == "dense" else GraftedBoxes
    return kind(backbone, find_levels(backbone), outputs, dropout=dropout)


def _pooled_width(backbone: nn.Module) -> int:
    """The channels of a backbone's last states, tokens or a grid."""
    last = getattr(look(backbone, trial_image(backbone)), "last_hidden_state", None)
    if last is None or last.dim() not in (3, 4):
        raise RecipeError(
            f"{type(backbone).__name__} gives no states whose mean could be taken", fix="leave model.head out"
        )
    return int(last.shape[2] if last.dim() == 3 else last.shape[1])


def _head_of(model: nn.Module) -> nn.Module | None:
    """What was grafted on a backbone; None where nothing was."""
    if isinstance(model, MeanPooled):
        return model.classifier
    return model.head if isinstance(model, Grafted) else None


def _head_names(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}


def _head_dropout(backbone: nn.Module, options: ModelOptions, choice: Choice) -> float:
    if options.dropout is not None:
        return options.dropout
    return float(getattr(backbone.config, "hidden_dropout_prob", None) or _DROPOUT[choice.head])


def _unused(model: Any) -> frozenset[str]:
    """The parameters that an image's answer does not depend on: norms and poolers that the head does not look at."""
    image = trial_image(model.base_model)

    def said() -> Tensor:
        parts = [part.float().sum() for part in model(pixel_values=image).values() if part.requires_grad]
        return torch.stack(parts).sum()

    return idle(model, said)


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


def _with_saved_head(head: str, backbone: nn.Module, folder: Path) -> Any:
    with _reading(folder / _HEAD_FILE) as weights:
        kept = weights.get("answers")  # of training rows, where the last layer is one of nearest neighbours
        outputs = len(weights[_OUTPUT[head]]) if kept is None else kept.shape[1]
        model: Any = _grafted(head, backbone, outputs, 0.0)
        if kept is not None:
            model.remember(len(kept), outputs)
        part = _head_of(model)
        assert part is not None
        part.load_state_dict(weights)
    return model


@contextmanager
def _reading(file: Path) -> Iterator[dict[str, Tensor]]:
    """The weights of a file.

    Raises:
        ResourceError: it cannot be read, or what is done with them meanwhile does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        yield load_file(file)
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ResourceError(
            f"{file} cannot be read: {first_line(error)}", fix="tune it again, or copy the folder again"
        ) from None
