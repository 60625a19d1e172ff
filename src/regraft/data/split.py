"""Train, validation and test: decided by content, so that a row keeps its side when others are added."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from regraft.data.example import Example
from regraft.errors import DataError
from regraft.fingerprint import uniform
from regraft.recipe import SplitOptions

SIDES = ("train", "validation", "test")
_TRAIN, _VALIDATION, _TEST = range(3)
_NO_LABEL = ""  # the class of a multi-label example without labels
_FEWEST = 3  # units of a class from which on every side gets one


def split(
    examples: Sequence[Example], options: SplitOptions, *, seed: int, stratify: bool
) -> tuple[list[Example], list[Example], list[Example]]:
    """Divide examples into train, validation and test, each in the order of the file.

    Examples with equal inputs, and examples of one group, form a unit that stays together (and so do units
    that share an example). A unit's side depends on the seed and its own key alone: its group, else the hash
    of its inputs. Adding rows therefore moves no other row, and neither does changing the validation fraction
    move a row of test.

    With ``stratify`` this is given up where it must be: units are moved over the cut, those nearest to it
    first, until each class has its share on each side to within one example or a twentieth of the share, and
    every class of three units or more has one on each side. A unit far from the cuts stays where it is, so a
    few added rows move a few old ones (measured: 100 added to 1,000 move 4 of them with 2 classes, 19 with
    50), where a shuffled split would move a third of all.

    Raises:
        DataError: a side that was asked for would have no example.
    """
    units = _units(examples, seed)
    fractions = (options.train, options.validation, options.test)
    for unit in units:
        unit.side = _side(unit.position, options)
    if stratify:
        _stratify(units, fractions)
    sides: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    placed = {index: unit.side for unit in units for index in unit.members}
    for index, example in enumerate(examples):
        sides[placed[index]].append(example)
    _check_filled(sides, fractions, units=len(units), examples=len(examples))
    return sides


@dataclass(eq=False)
class _Unit:
    """Examples that stay together: their indices, classes, and place in [0, 1)."""

    members: list[int]
    position: float
    classes: Counter[str]
    side: int = 0


def _side(position: float, options: SplitOptions) -> int:
    """Cut from the far end: where a fraction is 0 its side is empty exactly."""
    if position >= 1 - options.test:
        return _TEST
    return _VALIDATION if position >= 1 - options.test - options.validation else _TRAIN


def _units(examples: Sequence[Example], seed: int) -> list[_Unit]:
    """The units, by their place. The key is the smallest group if there is one, else the id."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index, root in enumerate(_roots(examples)):
        members[root].append(index)
    units = []
    for indices in members.values():
        groups = [group for index in indices if (group := examples[index].group) is not None]
        key = min(groups) if groups else examples[indices[0]].id
        classes = Counter(name for index in indices for name in _classes(examples[index]))
        units.append((uniform("split", seed, key), key, _Unit(indices, uniform("split", seed, key), classes)))
    return [unit for _, _, unit in sorted(units, key=lambda entry: entry[:2])]


def _roots(examples: Sequence[Example]) -> Iterator[str]:
    """For each example the name of its unit: ids and groups that meet in an example are one (union-find)."""
    above: dict[str, str] = {}
    size: Counter[str] = Counter()

    def root(name: str) -> str:
        while (higher := above.setdefault(name, name)) != name:
            above[name] = above[higher]
            name = higher
        return name

    for example in examples:
        if example.group is None:
            continue
        first, second = root(f"id {example.id}"), root(f"group {example.group}")
        if first != second:
            small, large = sorted((first, second), key=lambda name: size[name])
            above[small] = large
            size[large] += size[small] + 1
    return (root(f"id {example.id}") for example in examples)


def _classes(example: Example) -> tuple[str, ...]:
    if isinstance(example.target, str):
        return (example.target,)
    return tuple(example.target) or (_NO_LABEL,) if isinstance(example.target, tuple) else ()


@dataclass
class _Shares:
    """How many examples of each class lie on each side, and how many should."""

    fractions: tuple[float, float, float]
    counts: dict[str, list[int]] = field(default_factory=dict)

    def off(self, name: str, side: int) -> float:
        """Examples above the quota; negative below."""
        return self.counts[name][side] - self.fractions[side] * sum(self.counts[name])

    def excess(self, name: str) -> float:
        """Examples by which the class leaves its tolerance, over all sides."""
        return sum(self.beyond(name, side) for side in range(len(SIDES)))

    def beyond(self, name: str, side: int) -> float:
        quota = self.fractions[side] * sum(self.counts[name])
        return max(0.0, abs(self.off(name, side)) - max(1.0, 0.05 * quota) - 1e-9)

    def move(self, unit: _Unit, side: int) -> None:
        for name, number in unit.classes.items():
            self.counts[name][unit.side] -= number
            self.counts[name][side] += number
        unit.side = side

    def gain(self, unit: _Unit, side: int) -> float:
        """By how much the excess over all classes of the unit falls if it moves."""
        origin, before = unit.side, sum(self.excess(name) for name in unit.classes)
        self.move(unit, side)
        after = sum(self.excess(name) for name in unit.classes)
        self.move(unit, origin)
        return before - after


def _stratify(units: Sequence[_Unit], fractions: tuple[float, float, float]) -> None:
    """Move units until the classes have their shares: the rarest class first, which has the least choice."""
    members: defaultdict[str, list[_Unit]] = defaultdict(list)
    shares = _Shares(fractions)
    for unit in units:
        for name, number in unit.classes.items():
            members[name].append(unit)
            shares.counts.setdefault(name, [0, 0, 0])[unit.side] += number
    by_rarity = sorted(members, key=lambda name: (len(members[name]), name))
    for name in by_rarity:
        _balance(name, members[name], shares)
    common = [name for name in by_rarity if len(members[name]) >= _FEWEST]
    present = {name: Counter(unit.side for unit in members[name]) for name in common}
    for name in common:
        _represent(name, members[name], shares, present)


def _balance(name: str, units: Sequence[_Unit], shares: _Shares) -> None:
    """Bring one class within its tolerance. A unit is tried once, and moves only where that helps overall."""
    waiting = {side: deque(unit for unit in units if unit.side == side) for side in range(len(SIDES))}
    open_sides = [side for side in range(len(SIDES)) if shares.fractions[side] > 0]
    while shares.excess(name) > 0:
        worst = max(open_sides, key=lambda side: shares.beyond(name, side))
        others = [side for side in open_sides if side != worst]
        if shares.off(name, worst) > 0:
            giver, taker = worst, min(others, key=lambda side: shares.off(name, side))
        else:
            giver, taker = max(others, key=lambda side: shares.off(name, side)), worst
        if not waiting[giver]:
            return
        unit = waiting[giver].pop() if taker > giver else waiting[giver].popleft()
        if shares.gain(unit, taker) > 0:
            shares.move(unit, taker)


def _represent(name: str, units: Sequence[_Unit], shares: _Shares, present: dict[str, Counter[int]]) -> None:
    """Give every side a unit of the class: the nearest whose leaving takes no class from its own side."""
    for side in range(len(SIDES)):
        if shares.fractions[side] == 0 or present[name][side]:
            continue
        free = [unit for unit in units if all(present[c][unit.side] > 1 for c in unit.classes if c in present)]
        if free:
            unit = min(free, key=lambda unit: _distance(unit.position, side, shares.fractions))
            for other in present.keys() & unit.classes.keys():
                present[other][unit.side] -= 1
                present[other][side] += 1
            shares.move(unit, side)


def _distance(position: float, side: int, fractions: tuple[float, float, float]) -> float:
    """How far a place lies from the stretch of a side."""
    start = sum(fractions[:side])
    return max(start - position, position - start - fractions[side], 0.0)


def _check_filled(sides: Sequence[Sequence[Example]], fractions: Sequence[float], *, units: int, examples: int) -> None:
    for name, side, fraction in zip(SIDES, sides, fractions, strict=True):
        if fraction > 0 and not side:
            together = "" if units == examples else f" in {units} units that stay together (duplicates, groups)"
            instead = "" if name == "train" else f" or 0, or name a file (data.{name})"
            raise DataError(
                f"{examples} examples{together} are too few: none falls into {name}, a share of {fraction:g}",
                fix=f"add rows, or give data.split.{name} a larger fraction{instead}",
            )
