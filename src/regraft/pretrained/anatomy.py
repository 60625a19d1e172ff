"""The anatomy of a pretrained model: stem, ordered blocks, what follows them, and the head; found from the module tree.

Every parameter gets a name that says where it is, whatever the family calls it:

    embeddings.word_embeddings.weight        the stem: everything before the blocks
    blocks[3] = blocks.3.attention.…         the fourth block
    pooler.dense.weight                      what follows the blocks inside the backbone (norms, a pooler)
    head.classifier.weight                   the task layer
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError
from regraft.pretrained.few_bits import numbers_in
from regraft.pretrained.heads import GraftedFrames, MeanPooled, NearestNeighbours

# What a family lists after its blocks though it goes into them; its name does not tell.
_BETWEEN = {
    "deberta": ("encoder.LayerNorm.",),
    "deberta-v2": ("encoder.LayerNorm.", "encoder.conv."),
}

# Numbers that a family keeps among its parameters though nobody is to train them.
_CONSTANTS = {"d_fine": (".decoder.reg_scale", ".decoder.up")}
# What says the classes, boxes and masks of a detector or segmenter, wherever in it that is: part of the head. Names of
# classes that a decoder learns with (denoising) go with them.
_PREDICTORS = re.compile(
    r"(^|\.)((denoising_)?class_embed|bbox_embed|enc_score_head|enc_bbox_head|pre_bbox_head|mask_predictor)\."
)
# Where a class keeps its backbone, if not where its family does.
_BACKBONES = {"WhisperForAudioClassification": "encoder"}
# The head of a model that has no module for its backbone.
_HEADS = ("classifier", "fc", "head", "decode_head", "auxiliary_head")


@dataclass(frozen=True)
class Anatomy:
    """Where the parameters of a model are. All values are real parameter names, in the model's own order.

    ``new`` names those that no checkpoint held and that start from random numbers; ``unused`` those that the head does
    not look at, and that therefore cannot learn, and constants. ``modules`` are the paths of the blocks in the module
    tree. ``decoder`` is, of an encoder-decoder, what belongs to the decoder alone. ``readout`` are weight and bias of
    the linear layer that the head ends with, or what a layer of nearest neighbours keeps; nothing where it ends
    otherwise. ``norms`` are the weights and biases of what normalizes, known by its class.
    """

    stem: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    tail: tuple[str, ...]
    head: tuple[str, ...]
    places: dict[str, str]
    sizes: dict[str, int]
    new: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    modules: tuple[str, ...] = ()
    decoder: tuple[str, ...] = ()
    readout: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """All parameter names."""
        return tuple(self.places)

    @property
    def biases(self) -> tuple[str, ...]:
        """What is added: torch calls such a parameter ``bias``, or by a name that ends so (``in_proj_bias``)."""
        return tuple(name for name in self.places if re.search(r"(^|\.)(\w+_)?bias$", name))

    @cached_property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The parts from bottom to top: embeddings, blocks[0] …, what follows, head."""
        parts = {"embeddings": self.stem}
        parts |= {f"blocks[{index}]": names for index, names in enumerate(self.blocks)}
        for name in self.tail:
            part = self.places[name].split(".", 1)[0]
            parts[part] = (*parts.get(part, ()), name)
        return {part: names for part, names in {**parts, "head": self.head}.items() if names}

    def below_top(self, n: int) -> int:
        """How many blocks lie below the top ``n``.

        Raises:
            RecipeError: there are not so many.
        """
        depth = len(self.blocks)
        if not 1 <= n <= depth:
            raise RecipeError(f"strategy.n = {n}", fix=f"this model has {depth} blocks; choose 1 to {depth}")
        return depth - n

    def grown(self, parameters: Mapping[str, Tensor], renamed: Mapping[str, str], added: Iterable[str]) -> Anatomy:
        """The anatomy of the same model after something was put into it, or taken out of it again.

        Args:
            parameters: all that it has now, in its own order.
            renamed: what those are called now that it had before and still has.
            added: those that are new; what lies in no block is of the stem.
        """
        added = frozenset(added)

        def kept(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(renamed[name] for name in names if name in renamed)

        blocks, places = [], {renamed[name]: place for name, place in self.places.items() if name in renamed}
        for index, (path, names) in enumerate(zip(self.modules, self.blocks, strict=True)):
            inside = {*kept(names), *(name for name in added if name.startswith(f"{path}."))}
            blocks.append(tuple(name for name in parameters if name in inside))
            places |= {name: f"blocks.{index}.{name.removeprefix(f'{path}.')}" for name in blocks[-1]}
        below = [name for name in added if not name.startswith(tuple(f"{path}." for path in self.modules))]
        places |= {name: f"embeddings.{_apart(name, renamed.values())}" for name in below}
        stem = {*kept(self.stem), *below}
        decoder = {*kept(self.decoder), *(n for block in blocks if set(kept(self.decoder)) & {*block} for n in block)}
        return replace(
            self,
            stem=tuple(name for name in parameters if name in stem),
            blocks=tuple(blocks),
            tail=kept(self.tail),
            head=kept(self.head),
            places={name: places[name] for name in parameters},
            sizes={name: numbers_in(value) for name, value in parameters.items()},
            new=frozenset(kept(self.new)) | added,
            unused=frozenset(kept(self.unused)),
            decoder=tuple(name for name in parameters if name in decoder),
            readout=kept(self.readout),
            norms=kept(self.norms),
        )

    def select(self, pattern: str) -> tuple[str, ...]:
        """The parameters that a pattern names.

        A pattern is a part (``embeddings``, ``blocks[:4]``, ``blocks[-1]``, ``pooler``, ``head``; of an
        encoder-decoder ``encoder``, with the embeddings that it reads, and ``decoder``, without them), a path with
        ``*`` (``blocks.*.attention``, ``blocks[2:].**.LayerNorm``, ``*.bias``), or a real parameter name, whole or
        with ``*``. A path names everything below it.

        Raises:
            RecipeError: it matches nothing; the message lists what exists.
        """
        if self.decoder and pattern in ("encoder", "decoder"):
            above = {*self.decoder, *self.head}
            return self.decoder if pattern == "decoder" else tuple(n for n in self.parameters if n not in above)
        places = _Places(pattern, len(self.blocks))
        chosen = tuple(name for name, place in self.places.items() if places.hold(place) or _covers(pattern, name))
        if not chosen:
            raise RecipeError(f"the pattern {pattern!r} matches no parameter", fix=f"there are: {self._listing()}")
        return chosen

    def _listing(self) -> str:
        count = len(self.blocks)
        parts = [part for part in self.parts if not part.startswith("blocks[")]
        parts += ["encoder", "decoder"] if self.decoder else []
        blocks = [f"blocks[0] … blocks[{count - 1}]"] if count else []
        inside = sorted(
            {
                re.sub(r"\.(weight|bias)$", "", place.split(".", 2)[2])
                for place in self.places.values()
                if place.startswith("blocks.")
            }
        )
        within = f"; within a block: {', '.join(inside[:24])}" if inside else ""
        return ", ".join(parts[:1] + blocks + parts[1:]) + within


def anatomy_of(model: nn.Module, new: Iterable[str] = ()) -> Anatomy:
    """Find the anatomy of a transformers model, or of a backbone with a pooled head.

    The blocks are the module lists that hold most of the backbone's parameters: the layers of an encoder or decoder,
    the stages of a pyramid, the encoder's and then the decoder's layers of an encoder-decoder. What predicts classes,
    boxes and masks is the head, also where a detector keeps it in its decoder.
    """
    path = backbone_path(model)
    prefix = f"{path}." if path else ""
    names = [name for name, _ in model.named_parameters()]
    inside = [name for name in names if name.startswith(prefix) and not _predicts(name, prefix)]
    silent = f"{prefix}decoder." if isinstance(model, GraftedFrames) else "\0"  # a decoder that is not run
    lists = [
        path
        for path in _block_lists(model, prefix)
        if not path.startswith(silent) and any(name.startswith(f"{path}.") for name in inside)
    ]
    blocks = [tuple(name for name in inside if name.startswith(f"{path}.")) for path in lists]
    in_blocks = {name for block in blocks for name in block}
    decoder = tuple(name for name in inside if _has_both(model) and name.startswith(f"{prefix}decoder."))
    first = min((inside.index(name) for name in in_blocks), default=len(inside))
    family = getattr(model.config, "model_type", "")
    between = tuple(f"{prefix}{name}" for name in _BETWEEN.get(family, ()))
    constants = _CONSTANTS.get(family, ())
    stem = tuple(
        name
        for place, name in enumerate(inside)
        if name not in {*in_blocks, *decoder} and (place < first or _feeds_blocks(name) or name.startswith(between))
    )
    tail = tuple(n for n in inside if n not in in_blocks and n not in set(stem))
    head = tuple(n for n in names if n not in set(inside))
    return Anatomy(
        stem=stem,
        blocks=tuple(blocks),
        tail=tail,
        head=head,
        places=dict(_places(names, lists, prefix, set(stem), set(head))),
        sizes={name: numbers_in(parameter) for name, parameter in model.named_parameters()},
        new=frozenset(new),
        unused=frozenset(
            name
            for name in tail
            if name.endswith(constants)
            or name.startswith(silent)
            or (isinstance(model, MeanPooled) and ".pooler." in name)
        ),
        modules=tuple(lists),
        decoder=decoder,
        readout=_readout(model, set(head)),
        norms=tuple(_norms(model)),
    )


def _apart(name: str, others: Iterable[str]) -> str:
    """What of a path is shared with no other one."""
    steps, inside = name.split("."), {other[: place.start()] for other in others for place in re.finditer(r"\.", other)}
    shared = sum(".".join(steps[:count]) in inside for count in range(1, len(steps)))
    return ".".join(steps[shared:])


def _norms(model: nn.Module) -> Iterator[str]:
    """The own parameters of modules whose class is called a norm: LayerNorm, LlamaRMSNorm, BatchNorm2d."""
    for path, module in model.named_modules():
        if "norm" in type(module).__name__.lower():
            yield from (f"{path}.{name}" for name, _ in module.named_parameters(recurse=False))


def idle(model: nn.Module, value: Callable[[], Tensor]) -> frozenset[str]:
    """The parameters that a number does not depend on: what a head does not look at, and what is run without gradient.

    Args:
        value: computes the number.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    with torch.enable_grad():
        slopes = torch.autograd.grad(value(), [parameter for _, parameter in named], allow_unused=True)
    return frozenset(name for (name, _), slope in zip(named, slopes, strict=True) if slope is None)


def backbone_path(model: nn.Module) -> str:
    """Where in a model its backbone is; empty where it has no module of its own."""
    prefix = _BACKBONES.get(type(model).__name__, str(getattr(model, "base_model_prefix", "")))
    return next((path for path in (prefix, "backbone") if path and hasattr(model, path)), "")


def _readout(model: nn.Module, head: Container[str]) -> tuple[str, ...]:
    """The last layer of the head that is linear, or of nearest neighbours."""
    linear = {
        path: module for path, module in model.named_modules() if isinstance(module, nn.Linear | NearestNeighbours)
    }
    names = [tuple(f"{path}.{name}" for name, _ in module.named_parameters()) for path, module in linear.items()]
    return next((each for each in reversed(names) if all(name in head for name in each)), ())


def _predicts(name: str, prefix: str) -> bool:
    """Whether a parameter is of the head though it does not lie beside a backbone."""
    return bool(_PREDICTORS.search(name)) or (not prefix and name.split(".", 1)[0] in _HEADS)


def _has_both(model: nn.Module) -> bool:
    return bool(getattr(model.config, "is_encoder_decoder", False))


def _feeds_blocks(name: str) -> bool:
    """Whether something outside the blocks goes into every one of them, wherever the family lists it."""
    return any(word in name.lower() for word in ("embed", "relative_attention", "rotary"))


def _block_lists(model: nn.Module, prefix: str) -> list[str]:
    """The paths of the blocks, in order: members of the outermost module lists that hold many of the parameters.

    Convolutions that make states out of samples are of the stem.
    """
    total = sum(parameter.numel() for name, parameter in model.named_parameters() if name.startswith(prefix)) or 1
    found: list[str] = []
    for path, module in model.named_modules():
        if not path.startswith(prefix) or not isinstance(module, nn.ModuleList) or _predicts(f"{path}.", prefix):
            continue
        if "feature_extractor" in path or any(path.startswith(f"{block}.") for block in found):
            continue
        if sum(parameter.numel() for parameter in module.parameters()) >= 0.05 * total:
            found.extend(f"{path}.{index}" for index in range(len(module)))
    return found


def _places(
    names: list[str], blocks: list[str], prefix: str, stem: set[str], head: set[str]
) -> Iterator[tuple[str, str]]:
    for name in names:
        block = next((index for index, path in enumerate(blocks) if name.startswith(f"{path}.")), None)
        if block is not None:
            yield name, f"blocks.{block}.{name.removeprefix(blocks[block] + '.')}"
        elif name in head:
            yield name, f"head.{name}"
        elif name in stem:
            yield name, f"embeddings.{name.removeprefix(prefix).removeprefix('embeddings.')}"
        else:
            yield name, name.removeprefix(prefix).removeprefix("encoder.")


class _Places:
    """A pattern over places, with ``[…]`` after ``blocks`` resolved to the block numbers it stands for."""

    def __init__(self, pattern: str, count: int) -> None:
        match = re.fullmatch(r"blocks\[([^\]]*)\](.*)", pattern)
        self._rest = pattern
        self._numbers: set[str] | None = None
        if match:
            self._numbers = {str(number) for number in _indexed(match[1], count, pattern)}
            self._rest = f"blocks.*{match[2]}"

    def hold(self, place: str) -> bool:
        if self._numbers is not None and (not place.startswith("blocks.") or place.split(".")[1] not in self._numbers):
            return False
        return _covers(self._rest, place)


def _indexed(text: str, count: int, pattern: str) -> list[int]:
    everything = list(range(count))
    parts = text.split(":")
    if (
        len(parts) > 3
        or not all(re.fullmatch(r"\s*-?\d*\s*", part) for part in parts)
        or (len(parts) == 1 and not text.strip())
    ):
        raise RecipeError(f"the pattern {pattern!r} is not understood", fix="write blocks[3], blocks[:4], blocks[-2:]")
    numbers = [int(part) if part.strip() else None for part in parts]
    if len(numbers) == 1:
        single = numbers[0]
        assert single is not None
        return everything[single : single + 1 or None] if -count <= single < count else []
    if numbers[2:] == [0]:
        raise RecipeError(f"the pattern {pattern!r} has a step of 0", fix="write blocks[::2] for every second block")
    return everything[slice(*numbers)]


def _covers(pattern: str, name: str) -> bool:
    """Whether a glob names ``name`` or what it is in; ``*`` stays within a step, ``**`` and a leading ``*`` do not."""
    steps, path = pattern.split("."), name.split(".")
    if "**" in pattern or pattern.startswith("*"):
        whole = pattern.replace("**", "*")
        return fnmatch.fnmatchcase(name, whole) or fnmatch.fnmatchcase(name, f"{whole}.*")
    return len(steps) <= len(path) and all(fnmatch.fnmatchcase(p, s) for s, p in zip(steps, path, strict=False))
