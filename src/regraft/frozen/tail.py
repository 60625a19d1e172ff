"""What lies above the frontier, run from rows: the model's own forward, with the frozen modules standing aside.

The frozen blocks give back the rows whatever they are called with, so the model still builds its masks, positions and
norms as it always does. Short cuts lie beside that, each taken only where it was proved on a few examples:

    bypass_stem      the modules before the first block (embeddings, convolutions) give zeros of the right shape
    one_row          where one row of an example is all that is read, its inputs are cut to that position too
    read_rows        what comes after attention in the last block is computed only for the rows that the head reads
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regraft.frozen.fields import Fields, standing_aside
from regraft.frozen.patch import Forward, Stopped, forwards
from regraft.frozen.prefix import Tap
from regraft.frozen.reading import reading_rows
from regraft.frozen.trace import Reading, Trace, edges, parts_of, with_hidden
from regraft.pretrained import Anatomy


@dataclass(frozen=True)
class Shortcuts:
    """Which of the short cuts are taken."""

    bypass_stem: bool = False
    one_row: bool = False
    read_rows: bool = False


class Tail:
    """A model whose blocks below ``tap.height`` are given by rows. With height 0 there are none, and it runs whole.

    Args:
        blocks: all blocks of the chain, in order.
        stem: modules that may be bypassed.
        fields: of the backbone's output, where the tap is these: the backbone as a whole stands aside.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[nn.Module],
        trace: Trace | None,
        tap: Tap,
        *,
        stem: Sequence[nn.Module] = (),
        shortcuts: Shortcuts,
        fields: Fields | None = None,
    ) -> None:
        self._model, self._trace, self._tap, self._fields = model, trace, tap, fields
        self._frozen = tuple(blocks[: tap.height])
        self._one_row = shortcuts.one_row
        self._stem = tuple(stem)
        self._last = blocks[-1] if shortcuts.read_rows else None
        self._forms: dict[nn.Module, Callable[..., Tensor]] = {}
        self._extras: dict[int, tuple[Any, ...]] = {}

    def learn_stem(self, examples: Sequence[Mapping[str, Tensor]]) -> None:
        """See from two batches of different shape what the modules of the stem give; those that fit no rule stay."""
        seen: dict[nn.Module, list[tuple[int, int, Any]]] = {module: [] for module in self._stem}
        for inputs in examples:
            self._watch_stem(inputs, seen)
        forms = {module: _form(found, len(examples)) for module, found in seen.items()}
        self._forms = {module: form for module, form in forms.items() if form is not None}

    def __call__(self, inputs: Mapping[str, Tensor], rows: Sequence[Tensor] | None) -> Any:
        """What the model says of a batch.

        Args:
            inputs: as the model takes them.
            rows: of each example, [rows, …]; None where nothing is frozen from the bottom.
        """
        if self._one_row and self._fields is None:
            inputs = _cut(inputs, last=self._tap.reading == "last")
        with self.standing(inputs, rows):
            return self._model(**inputs)

    @contextmanager
    def standing(self, inputs: Mapping[str, Tensor], rows: Sequence[Tensor] | None) -> Iterator[None]:
        """While this lasts, rows stand for the frozen part of the model. Arguments are those of a call."""
        if self._fields is not None:
            assert rows is not None
            with forwards(standing_aside(self._model, self._fields.output(rows))):
                yield
            return
        aside: dict[nn.Module, Forward] = {}
        if rows is not None:
            hidden = self._laid_out(rows, inputs)
            aside |= {block: self._giving(place, hidden) for place, block in enumerate(self._frozen)}
            shape = (hidden.shape[0], hidden.shape[1])
            aside |= {module: _giving_zeros(form(*shape), hidden) for module, form in self._forms.items()}
        if self._last is not None:
            aside[self._last] = self._reading_rows(self._last, inputs)
        with forwards(aside):
            yield

    def _laid_out(self, rows: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        """Rows as the model's blocks give them; the mean of a grid is a grid of one cell."""
        reading = self._tap.reading
        if reading == "mean" and self._seen.grid:
            return torch.cat(list(rows))[:, :, None, None]
        return _laid_out(rows, _places_of(self._model, inputs, rows, reading), reading)

    @property
    def _seen(self) -> Trace:
        assert self._trace is not None
        return self._trace

    def _giving(self, place: int, hidden: Tensor) -> Forward:
        own = self._frozen[place].forward
        plain = hidden if self._seen.parts is None else (hidden, *self._seen.beside[place])

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not self._seen.extras:
                return plain
            length = hidden.shape[1]
            if length not in self._extras:
                with torch.no_grad():
                    self._extras[length] = (None, *own(*args, **kwargs)[1:])
            return with_hidden(self._extras[length], hidden)

        return forward

    def _reading_rows(self, block: nn.Module, inputs: Mapping[str, Tensor]) -> Forward:
        """A block that gives its output at the rows that are read, and zeros elsewhere.

        Raises:
            ValueError: the block has no attention of that form.
        """
        reading = reading_rows(block, block.forward, self._model, inputs, last=self._seen.reads == "last")

        def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
            places, output, _ = reading(hidden, *args, **kwargs)
            few, examples = parts_of(output)[0], torch.arange(len(places), device=places.device)
            return with_hidden(output, few.new_zeros(hidden.shape).index_put((examples, places), few.squeeze(1)))

        return forward

    def _watch_stem(self, inputs: Mapping[str, Tensor], seen: dict[nn.Module, list[tuple[int, int, Any]]]) -> None:
        given: list[tuple[nn.Module, Any]] = []

        def watched(module: nn.Module) -> Forward:
            own = module.forward

            def forward(*args: Any, **kwargs: Any) -> Any:
                output = own(*args, **kwargs)
                given.append((module, output))
                return output

            return forward

        shape: list[tuple[int, int]] = []

        def first(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            shape.append((hidden.shape[0], hidden.shape[1]))
            raise Stopped(args, kwargs)

        with torch.no_grad(), suppress(Stopped), forwards({**{m: watched(m) for m in seen}, self._frozen[0]: first}):
            self._model(**inputs)
        for module, output in given:
            seen[module].append((*shape[0], output))


def stem_modules(model: nn.Module, anatomy: Anatomy) -> list[nn.Module]:
    """The largest modules that hold nothing but parameters of the stem."""
    stem = set(anatomy.stem)
    found: list[str] = []
    for path, module in model.named_modules():
        names = [f"{path}.{name}" if path else name for name, _ in module.named_parameters()]
        inside = any(path.startswith(f"{other}.") for other in found)
        if names and not inside and all(name in stem for name in names) and not isinstance(module, nn.ModuleList):
            found.append(path)
    return [model.get_submodule(path) for path in found]


def _places_of(model: Any, inputs: Mapping[str, Tensor], rows: Sequence[Tensor], reading: Reading) -> Tensor:
    """Where rows go, bool [batch, longest]: as the attention mask says, or else from the left.

    Of a model that hears, padding has states too: as many as its convolutions leave of it.
    """
    mask = inputs.get("attention_mask")
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    if mask is not None and (reading != "all" or torch.equal(mask.sum(1), lengths)):
        return mask.bool()
    longest, left_of = int(lengths.max()), getattr(model.base_model, "_get_feat_extract_output_lengths", None)
    if mask is not None and left_of is not None:
        longest = max(longest, int(left_of(torch.tensor(mask.shape[1]))))
    return torch.arange(longest, device=lengths.device) < lengths.unsqueeze(1)


def _cut(inputs: Mapping[str, Tensor], *, last: bool) -> dict[str, Tensor]:
    """Inputs [batch, positions] at the one position that is read, [batch, 1]; others as they are."""
    mask = inputs.get("attention_mask")
    if mask is None:
        return dict(inputs)
    places, examples = edges(mask.bool(), last=last), torch.arange(len(mask), device=mask.device)
    return {
        name: value[examples, places].unsqueeze(1) if value.shape == mask.shape else value
        for name, value in inputs.items()
    }


def _laid_out(rows: Sequence[Tensor], mask: Tensor, reading: Reading) -> Tensor:
    """Rows where the model expects them: [batch, longest, …], zeros where nothing is read."""
    if reading == "all":
        if bool(mask.all()):
            return torch.stack(list(rows))
        hidden = rows[0].new_zeros((*mask.shape, *rows[0].shape[1:]))
        hidden[mask] = torch.cat(list(rows))
        return hidden
    values = torch.cat(list(rows))
    if reading == "mean":
        return values.unsqueeze(1) * mask.unsqueeze(-1).to(values.dtype)
    hidden = values.new_zeros((*mask.shape, *values.shape[1:]))
    hidden[torch.arange(len(mask), device=mask.device), edges(mask, last=reading == "last")] = values
    return hidden


# The stem


def _form(found: list[tuple[int, int, Any]], batches: int) -> Callable[..., Tensor] | None:
    """Zeros as a module gives them: a dimension is the batch, the rows, or a constant."""
    if len(found) != batches or not all(isinstance(output, Tensor) for *_, output in found):
        return None
    rules: list[int | None] = []  # 0 stands for the batch, 1 for the rows
    constants: list[int] = []
    for index in range(found[0][2].ndim):
        sizes = [output.shape[index] for *_, output in found]
        rule = next((which for which in (0, 1) if all(s == f[which] for s, f in zip(sizes, found, strict=True))), None)
        if rule is None and len(set(sizes)) > 1:
            return None
        rules.append(rule)
        constants.append(sizes[0])
    like = found[0][2]

    def zeros(*shape: int) -> Tensor:
        sizes = [constant if rule is None else shape[rule] for rule, constant in zip(rules, constants, strict=True)]
        given: Tensor = like.new_zeros(()).expand(sizes)
        return given

    return zeros


def _giving_zeros(zeros: Tensor, hidden: Tensor) -> Forward:
    return lambda *_, **__: zeros.to(hidden.device)
