"""The floor under a training time: the arithmetic that nobody can leave out, at the rate this machine multiplies.

Counted are matrix products only, of real tokens only (no padding, no dropout, norms, optimizer, reading), each frozen
block once, and of the last block only what reaches the first token, which is all that BERT's head reads. The rates are
measured here, with the model's shapes, apart for the forward product, the gradient of the input, and the gradient of
the weight: in bf16 they differ by a factor of two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_TOKENS = 2048  # rows of the products that are timed: a batch of 16 texts of 128 tokens
_SECONDS = 0.3  # for which each product is repeated


@dataclass(frozen=True)
class Rates:
    """Floating-point operations a second, for one number format."""

    forward: float
    input_gradient: float
    weight_gradient: float


@dataclass(frozen=True)
class Work:
    """What is trained: a BERT of so many blocks on texts of these lengths.

    ``trained`` counts the blocks, from the top, that gradients pass through; ``weights`` says whether their weights
    train (LoRA trains beside them: its own products, about 3 % of a block's, are not counted).
    """

    lengths: Sequence[int]
    hidden: int
    blocks: int
    trained: int
    weights: bool


def floor_seconds(work: Work, rates: Rates, *, epochs: int) -> float:
    """The least time for so many epochs: what is frozen once, what trains in each epoch."""
    frozen = work.blocks - work.trained
    if not work.trained:
        return _forward(work, rates, work.blocks - 1, last=True)
    once = _forward(work, rates, frozen, last=False)
    return once + epochs * (_forward(work, rates, work.trained - 1, last=True) + _backward(work, rates))


def _forward(work: Work, rates: Rates, blocks: int, *, last: bool) -> float:
    products, attention = _block(work)
    return (blocks * (products + attention) + last * _last_block(work)) / rates.forward


def _backward(work: Work, rates: Rates) -> float:
    products, attention = _block(work)
    through = (work.trained - 1) * (products + 2 * attention) + _last_block(work)
    weights = ((work.trained - 1) * products + _last_block(work)) if work.weights else 0.0
    return through / rates.input_gradient + weights / rates.weight_gradient


def _block(work: Work) -> tuple[float, float]:
    """Operations of one block's forward pass over all texts: in its linear layers, and in attention."""
    tokens, squares = sum(work.lengths), sum(length * length for length in work.lengths)
    return 24.0 * work.hidden**2 * tokens, 4.0 * work.hidden * squares


def _last_block(work: Work) -> float:
    """Keys and values of all tokens; the rest is of one token a text, and not counted."""
    return 4.0 * work.hidden**2 * sum(work.lengths)


def measure_rates(hidden: int, intermediate: int) -> dict[str, Rates]:
    """The rates of this machine in fp32 and bf16 with all threads: for each product the fastest of many."""
    import torch

    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return {name: _rates(hidden, intermediate, dtype) for name, dtype in types.items()}


def _rates(hidden: int, intermediate: int, dtype: object) -> Rates:
    """The rates over a block's four square layers and its two wide ones, weighted by their operations."""
    shapes = [(hidden, hidden, 4), (hidden, intermediate, 1), (intermediate, hidden, 1)]
    operations = sum(2.0 * _TOKENS * rows * columns * count for rows, columns, count in shapes)
    seconds = [0.0, 0.0, 0.0]
    for rows, columns, count in shapes:
        for place, product in enumerate(_products(rows, columns, dtype)):
            seconds[place] += count * _fastest(product)
    return Rates(*(operations / spent for spent in seconds))


def _products(inputs: int, outputs: int, dtype: object) -> list[Callable[[], object]]:
    import torch
    from torch.nn.functional import linear

    x, g = (torch.randn(_TOKENS, width).to(dtype) for width in (inputs, outputs))  # type: ignore[call-overload]
    weight, bias = torch.randn(outputs, inputs).to(dtype), torch.randn(outputs).to(dtype)  # type: ignore[call-overload]
    return [lambda: linear(x, weight, bias), lambda: g @ weight, lambda: g.T @ x]


def _fastest(product: Callable[[], object]) -> float:
    for _ in range(3):
        product()
    best, until = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < until:
        begun = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - begun)
    return best
