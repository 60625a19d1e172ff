"""Texts in augmented views: reworded, then varied as text, then as tokens. What is to be written is never varied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

from regraft.data.augment.options import TextAugmentation
from regraft.data.augment.text import augment, chance, drop_tokens
from regraft.data.example import Column, Example
from regraft.device import choose_device
from regraft.errors import RecipeError
from regraft.fingerprint import draw
from regraft.pretrained.masked import MaskedHead, masked_head
from regraft.tasks._back_translation import back_translated, require_translators, spelled_out
from regraft.tasks._contract import Encoded, Plain, Task
from regraft.tasks._text import TextInputs, parse_text
from regraft.tasks._views import View, Views

_WORDINGS = "augmentation.paraphrases"  # what their column is called
_TAKEN_AWAY = ("word_dropout", "token_dropout", "masked_words")
_LOOKED_AT = 16  # texts that show whether a model tells capitals from small letters
_KEPT = 2  # views that are kept in memory, of which an epoch reads one

Key = tuple[int | str, ...]


class TextTask(Task):
    """What the tasks on texts share: varied views, and other wordings of a text."""

    augmentation: ClassVar[type[Any] | None] = TextAugmentation

    @property
    def inputs(self) -> TextInputs:
        raise NotImplementedError

    def beside(self, options: Any) -> tuple[Column, ...]:
        if options.paraphrases is None:
            return ()
        return (Column(_WORDINGS, "aside", parse_wordings, (options.paraphrases,), required=False),)

    def augmentation_of(self, options: Any) -> Any:
        """The options with the places of models spelled out, so that they are found from every folder."""
        models = options.back_translation
        return options if models is None else replace(options, back_translation=tuple(map(spelled_out, models)))

    def views(self, plain: Plain, options: Any, *, seed: int, number: int) -> Sequence[Encoded]:
        views = TextViews(plain.encoded, options.settled, seed, number, self, plain)
        views.require()
        return views

    def unseen(self, views: Sequence[Encoded]) -> list[str]:
        if not isinstance(views, TextViews) or not views.options.casing or views.sees_capitals():
            return []
        return ["augmentation.casing changes nothing: in capitals this model reads these texts as in small letters"]

    def texts(self, encoded: Sequence[Encoded], processor: Any) -> list[str] | None:
        return [_in_words(row["input_ids"], processor) for row in encoded]


@dataclass(frozen=True)
class TextViews(Views):
    """Views of texts. Each is made when it is asked for, and those of the last numbers are kept."""

    task: TextTask = field(repr=False)
    plain: Plain = field(repr=False)
    _made: dict[int, dict[int, Encoded]] = field(default_factory=dict, repr=False)
    _replaced: dict[tuple[int, int], dict[int, int]] = field(default_factory=dict, repr=False)

    def require(self) -> None:
        """See that the models that the options ask for are here, and are what they are to be.

        Raises:
            RecipeError, ResourceError: one is not.
        """
        if self.options.masked_words:
            self._head()
        if self.options.back_translation is not None:
            require_translators(self.options.back_translation)

    def sees_capitals(self) -> bool:
        """Whether some of the first texts in capitals are other tokens than in small letters."""
        few, plain = self.plain.examples[:_LOOKED_AT], self.plain

        def read(change: Callable[[str], str]) -> Sequence[Encoded]:
            changed = [
                replace(each, inputs=self.task.inputs.varied(each.inputs, lambda _, text: change(text))) for each in few
            ]
            return self.task.rows(changed, plain.answers, plain.model.processor, plain.model.config)[0]

        return read(str.upper) != read(str.lower)

    def seen(self, place: int, view: View) -> Encoded:
        made = self._made.setdefault(view.number, {})
        while len(self._made) > _KEPT:
            del self._made[next(iter(self._made))]
        if place not in made:
            made[place] = self._varied(place, view)
        return made[place]

    def _varied(self, place: int, view: View) -> Encoded:
        example, plain = self.plain.examples[place], self.plain
        key = view.key(example.id)

        def change(name: str, text: str) -> str:
            text = self._reworded(example, text, key) if name == self._first else text
            return augment(text, self.options, key=(*key, name))

        varied = replace(example, inputs=self.task.inputs.varied(example.inputs, change))
        ((row,), _) = self.task.rows([varied], plain.answers, plain.model.processor, plain.model.config)
        if self.options.masked_words:
            row = self._with_other_words(row, (view.number, place), key)
        return self._hidden(row, key) if self.options.token_dropout else row

    @cached_property
    def _first(self) -> str:
        """The text that has other wordings, where there are two."""
        return self.task.inputs.columns()[0].name

    def _reworded(self, example: Example, text: str, key: Key) -> str:
        """The text itself or one of its other wordings, each as likely."""
        wordings = [text, *example.aside.get(_WORDINGS, ())]
        if self.options.back_translation is not None and (back := self._returned.get(text)):
            wordings.append(back)
        wording: str = wordings[draw(*key, "wording") % len(wordings)]
        return wording

    @cached_property
    def _returned(self) -> dict[str, str]:
        """What came back of the texts that were translated there and back."""
        texts = [example.inputs[self._first] for example in self.plain.examples]
        return back_translated(texts, self.options.back_translation)

    def _with_other_words(self, row: Encoded, which: tuple[int, int], key: Key) -> Encoded:
        if which not in self._replaced:
            self._replaced[which] = self._proposed(row, key)
        tokens = list(row["input_ids"])
        for place, token in self._replaced[which].items():
            tokens[place] = token
        return {**row, "input_ids": tokens}

    def _proposed(self, row: Encoded, key: Key) -> dict[int, int]:
        """Other tokens for some places, drawn by how likely the untuned model finds them there."""
        head, random = self._head(), chance(key, "masked_words")
        places = [place for place in head.places(row["input_ids"]) if random() < self.options.masked_words]
        if not places:
            return {}
        found = head.proposed(row, places, candidates=self.options.candidates)
        return {place: _drawn(of_place, random()) for place, of_place in zip(places, found, strict=True) if of_place}

    def _head(self) -> MaskedHead:
        return masked_head(self.plain.model.folder, self.plain.model.processor, choose_device("fp32").device)

    def _hidden(self, row: Encoded, key: Key) -> Encoded:
        """The row with some tokens hidden: behind the mask that the model learned to read around, or else taken out.

        The token for what is unknown would not do: models that read any bytes have none, and others seldom met theirs.
        """
        processor = self.plain.model.processor
        tokens, special = row["input_ids"], frozenset(processor.all_special_ids)
        dropped = set(drop_tokens(tokens, special, self.options.token_dropout, chance(key, "token_dropout")))
        mask = processor.mask_token_id
        if mask is not None:
            return {**row, "input_ids": [mask if place in dropped else token for place, token in enumerate(tokens)]}
        kept = [place for place in range(len(tokens)) if place not in dropped]
        return {name: [values[place] for place in kept] for name, values in row.items()}


def parse_wordings(cell: Any) -> tuple[str, ...]:
    """A cell with other wordings of a text: a list of texts, or a text with one in each line."""
    given = cell.splitlines() if isinstance(cell, str) else cell if isinstance(cell, list) else [cell]
    return tuple(parse_text(each) for each in given if each is not None and each != "")


def meaning_kept(options: TextAugmentation) -> TextAugmentation:
    """The options without what an answer that is written could not know of: words that are gone.

    Raises:
        RecipeError: one of these was asked for by name.
    """
    asked = [name for name in _TAKEN_AWAY if getattr(options, name)]
    if asked:
        raise RecipeError(
            f"augmentation.{asked[0]} takes words away that the answer is written from",
            fix="leave it out; swaps, casing, typos and other wordings keep what is said",
        )
    return replace(options, word_dropout=0.0, token_dropout=0.0)


def _drawn(candidates: Sequence[tuple[int, float]], random: float) -> int:
    """The candidate that a number in [0, 1) falls on."""
    for token, share in candidates:
        random -= share
        if random < 0:
            return token
    return candidates[-1][0]


def _in_words(tokens: Sequence[int], processor: Any) -> str:
    """Tokens as words, hidden ones among them; the texts of a pair on either side of a bar."""
    ends = {processor.sep_token_id, processor.eos_token_id}
    silent = {processor.cls_token_id, processor.bos_token_id, processor.pad_token_id} - ends
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token in ends:
            parts.append([])
        elif token not in silent:
            parts[-1].append(token)
    return " | ".join(processor.decode(part).strip() for part in parts if part)
