"""Weights between weights: the mean of several (a soup), and the way from where a model began to where it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]

SHARES = tuple(number / 10 for number in range(11))  # of the way, that are tried


@dataclass(frozen=True)
class Ingredient:
    """Weights that may go into a mean: what they are called, and how good they are alone, larger for better."""

    name: int | str
    score: tuple[float, float]
    weights: Callable[[], Weights]


def uniform(ingredients: Sequence[Ingredient]) -> tuple[dict[str, Tensor], list[int | str]]:
    """The mean of all, and their names.

    Wortsman et al., Model soups, 2022, https://arxiv.org/abs/2203.05482.
    """
    mean: dict[str, Tensor] = {}
    for count, ingredient in enumerate(ingredients):
        mean = blended(mean, ingredient.weights(), count)
    return mean, [ingredient.name for ingredient in ingredients]


def greedy(
    ingredients: Sequence[Ingredient], score: Callable[[Weights], float]
) -> tuple[dict[str, Tensor], list[int | str]]:
    """The mean of the best and of each, from the next best on, with which the score does not fall; and their names.

    Likewise Wortsman et al., 2022.

    Args:
        score: of some weights, larger for better.
    """
    ordered = sorted(ingredients, key=lambda each: each.score, reverse=True)
    mean, names = blended({}, ordered[0].weights(), 0), [ordered[0].name]
    best = score(mean) if len(ordered) > 1 else math.nan
    for ingredient in ordered[1:]:
        tried = blended(mean, ingredient.weights(), len(names))
        found = score(tried)
        if found >= best:
            mean, best = tried, found
            names.append(ingredient.name)
    return mean, names


def blended(mean: Weights, weights: Weights, count: int) -> dict[str, Tensor]:
    """The mean of one more than ``count``; of what counts steps the newest."""
    return {
        name: torch.lerp(mean[name], value, 1 / (count + 1)) if count and value.is_floating_point() else value
        for name, value in weights.items()
    }


def between(start: Weights, tuned: Weights, share: float) -> dict[str, Tensor]:
    """The weights at a share of the way from the start; at 0 and at 1 the ends to the bit.

    Wortsman et al., Robust fine-tuning of zero-shot models, 2022, https://arxiv.org/abs/2109.01903.
    """
    return {name: torch.lerp(value, tuned[name], share) for name, value in start.items()}


def best_share(scores: Mapping[float, float]) -> float:
    """The share of the best score; of equal ones the smaller change. What is not a number is worse than all."""
    return max(scores, key=lambda share: (-math.inf if math.isnan(scores[share]) else scores[share], -share))
