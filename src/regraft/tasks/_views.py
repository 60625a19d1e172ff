"""Examples in augmented views: which one stands where, and what decides what is random in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from regraft.tasks._contract import Encoded


@dataclass(frozen=True)
class View:
    """One augmented look at an example: what is seen of it is a pure function of this and of what is in the example."""

    options: Any
    seed: int
    number: int

    def key(self, content: str) -> tuple[int, int, str]:
        """What decides every random choice for an example."""
        return (self.seed, self.number, content)


@dataclass(frozen=True)
class Views(Sequence[Encoded]):
    """Examples in so many views: position ``view * n + place``. Each is made when it is asked for.

    Args:
        options: of the augmentation, nothing in them left open.
    """

    encoded: Sequence[Encoded]
    options: Any
    seed: int
    number: int

    def __len__(self) -> int:
        return self.number * len(self.encoded)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | Sequence[Encoded]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        number, place = divmod(index % len(self), len(self.encoded))
        return self.seen(place, View(self.options, self.seed, number))

    def seen(self, place: int, view: View) -> Encoded:
        """The example at a place in a view."""
        return {**self.encoded[place], "view": view}
