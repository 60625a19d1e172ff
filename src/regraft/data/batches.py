"""Which examples go together: pure functions of (seed, epoch, example id); nothing else can change the order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from regraft.fingerprint import draw

_WINDOW = 32  # batches that are sorted by length together; more pad less, fewer mix better


def padded(length: int, limit: int) -> int:
    """The length that an example or a batch is padded to: the next multiple of 8 up to 64, of 16 above.

    Every new length is a kernel that is compiled and kept; this few cost next to nothing (on MiniLM 4 to 7 % more
    positions, a third of the memory).

    Args:
        limit: what the model takes; no length is rounded beyond it.
    """
    multiple = 8 if length <= 64 else 16
    return max(length, min(limit, -(-length // multiple) * multiple))


def step_batches(
    ids: Sequence[str], lengths: Sequence[int], *, seed: int, epoch: int, batch_size: int
) -> list[list[int]]:
    """The examples of each optimizer step of an epoch, as positions in ``ids``.

    Examples are shuffled, sorted by length within windows of 32 batches, cut into batches, and the batches of
    all windows are shuffled again: almost no padding, and batches that differ from epoch to epoch.
    """
    order = sorted(range(len(ids)), key=lambda place: (draw("order", seed, epoch, ids[place]), place))
    size = _WINDOW * batch_size
    batches: list[list[int]] = []
    for start in range(0, len(order), size):
        window = sorted(order[start : start + size], key=lambda place: lengths[place])
        batches.extend(window[first : first + batch_size] for first in range(0, len(window), batch_size))
    return sorted(batches, key=lambda batch: (draw("batch", seed, epoch, ids[batch[0]]), batch[0]))


def passes(
    batch: Sequence[int], lengths: Sequence[int], *, accumulation: int, max_tokens: int, alike: bool = False
) -> Iterator[list[int]]:
    """Cut a batch into the passes it is computed in: at least ``accumulation``, none above ``max_tokens`` when padded.

    An example that is longer than ``max_tokens`` by itself gets a pass of its own; with ``alike``, so do those of each
    length.
    """
    ordered = sorted(batch, key=lambda place: lengths[place])
    share = -(-len(ordered) // accumulation)
    for start in range(0, len(ordered), share):
        yield from within_budget(ordered[start : start + share], lengths, max_tokens=max_tokens, alike=alike)


def within_budget(
    ordered: Sequence[int], lengths: Sequence[int], *, max_tokens: int, alike: bool = False
) -> Iterator[list[int]]:
    """Cut examples, sorted by length, into runs whose padded size stays within ``max_tokens``.

    Args:
        alike: whether only those of equal length go together.
    """
    run: list[int] = []
    for place in ordered:
        full = bool(run) and (len(run) + 1) * max(lengths[place], lengths[run[-1]]) > max_tokens
        if full or (alike and run and lengths[place] != lengths[run[-1]]):
            yield run
            run = []
        run.append(place)
    if run:
        yield run
