"""Whether a run has learned anything: one class said of everything, a loss that never fell, a loss that rose.

The pain is old: fine-tuning a large model on few rows ends now and then at what guessing gives, for a rate that is too
high, too few steps, or an unlucky seed (Mosbach et al., On the Stability of Fine-tuning BERT, 2021,
https://arxiv.org/abs/2006.04884).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regraft.data import Example
from regraft.fingerprint import draw
from regraft.preparation import Prepared
from regraft.recipe import StrategyOptions
from regraft.sources import make_rows
from regraft.strategies import make_strategy
from regraft.training import Poll
from regraft.tuned import Tuned

_KINDS = {"classes", "labels", "numbers"}  # of the others, guessing has no loss that could be told beforehand
_FEWEST = 4  # rows of other classes, and steps, from which on something is claimed
_ENOUGH = 20  # validation rows, below which training rows are looked at
_MOST = 500  # of those
_SURE, _LITTLE = 3.0, 0.01  # standard errors, and share of the loss, within which a difference says nothing
_FEW_STEPS = 300  # as for ``preparation.default_epochs``
_UNEVEN = 3.0


@dataclass(frozen=True)
class Signs:
    """What was seen.

    ``only``: the class that is said of all ``rows``, of which ``others`` are of other classes. ``began``: the training
    loss of the first step; ``ended``: of the last fifth; ``guess``: the least that one answer for all rows gives.
    ``flat``: it ended no lower than that, and the rows that were looked at are answered no better either; ``rose``: it
    ended above it and above its beginning.
    """

    only: str | None = None
    rows: int = 0
    others: int = 0
    side: str = "validation"
    began: float | None = None
    ended: float | None = None
    guess: float | None = None
    flat: bool = False
    rose: bool = False

    def __bool__(self) -> bool:
        return self.only is not None or self.flat or self.rose


def look_for_collapse(
    prepared: Prepared, tuned: Tuned, said: NDArray[Any], history: Sequence[Mapping[str, Any]], poll: Poll
) -> dict[str, Any]:
    """What is wrong with a run that has ended, and what may help; nothing where nothing is.

    Looked at are the validation rows, or where there are fewer than 20 some training rows, and the training loss. Of
    texts, boxes and masks nothing is claimed.

    Args:
        tuned: the model as it is kept.
        said: its outputs on the validation rows, if there are any.
        history: the events of the run.

    Returns:
        ``seen`` and ``tries``, sentences; and the numbers behind them.
    """
    if prepared.answers.kind not in _KINDS:
        return {}
    side, examples = _judged(prepared)
    outputs = said if side == "validation" else _answers_to(examples, prepared, tuned, poll)
    values = [prepared.task.targets.value(example, prepared.answers) for example in examples]
    losses = _losses_by_step(prepared, history)
    signs = _signs(prepared, side, values, _logits(prepared, outputs), losses)
    if not signs:
        return {}
    tries = list(_tries(prepared, signs, len(losses)))
    return {"seen": list(_seen(signs)), "tries": tries, "only": signs.only, "flat": signs.flat, "rose": signs.rose}


def only_class(logits: NDArray[Any], target: NDArray[Any], names: Sequence[str]) -> str | None:
    """The class that all rows are said to be of, where several rows are of others; else None.

    Args:
        logits: ``[n, classes]``.
        target: ``[n]``.
    """
    said = np.unique(np.asarray(logits).argmax(axis=1))
    alone = len(said) == 1 and int((target != said[0]).sum()) >= _FEWEST
    return names[int(said[0])] if alone else None


def _judged(prepared: Prepared) -> tuple[str, Sequence[Example]]:
    splits = prepared.splits
    if len(splits.validation) >= _ENOUGH:
        return "validation", splits.validation
    order = sorted(splits.train, key=lambda example: draw("collapse", prepared.recipe.seed, example.id))
    return "training", order[:_MOST]


def _answers_to(examples: Sequence[Example], prepared: Prepared, tuned: Tuned, poll: Poll) -> NDArray[Any]:
    rows = make_rows(examples, prepared.task, prepared.answers, prepared.pretrained)
    return tuned.outputs(rows.encoded, poll=poll)


def _logits(prepared: Prepared, outputs: NDArray[Any]) -> Tensor:
    """Outputs as the loss takes them: numbers are scaled again."""
    if prepared.answers.kind == "numbers":
        return prepared.task.targets.tensor(outputs.tolist(), prepared.answers)
    return torch.from_numpy(np.asarray(outputs, dtype=np.float32))


def _losses_by_step(prepared: Prepared, history: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """The training loss, where it is that of the task; a step that was taken again counts once."""
    if any(phase.objective != "task" for phase in prepared.phases):
        return np.empty(0)
    found = {event["step"]: event["loss"] for event in history if event["event"] == "step"}
    return np.asarray([found[step] for step in sorted(found)], dtype=np.float64)


def _signs(prepared: Prepared, side: str, values: Sequence[Any], logits: Tensor, losses: NDArray[np.float64]) -> Signs:
    answers, targets = prepared.answers, prepared.task.targets
    target = targets.tensor(values, answers)
    found = Signs(side=side, rows=len(values))
    if answers.kind == "classes":
        only = only_class(logits.numpy(), target.numpy(), answers.names)
        others = 0 if only is None else int((target != answers.names.index(only)).sum())
        found = replace(found, only=only, others=others)
    if len(losses) < _FEWEST:
        return found
    constant = _constant(prepared)
    guess = _mean_loss(prepared, constant, targets.tensor(prepared.rows.values, answers))
    last = losses[-max(_FEWEST, len(losses) // 5) :]
    began, ended, noise = float(losses[0]), float(last.mean()), _error(last)
    rose = ended - _SURE * noise > max(began, guess)
    flat = ended + max(noise, _LITTLE * guess) > guess and not _better_than(prepared, constant, logits, target)
    return replace(found, began=began, ended=ended, guess=guess, flat=flat, rose=rose)


def _error(losses: NDArray[np.float64]) -> float:
    """The standard error of their mean."""
    return float(losses.std(ddof=1) / np.sqrt(len(losses)))


def _constant(prepared: Prepared) -> Tensor:
    """The output that is best for all rows alike, [width]: the frequencies as logits, or the mean of scaled numbers.

    Where classes have weights, all alike may be better.
    """
    answers, values = prepared.answers, prepared.rows.values
    target = prepared.task.targets.tensor(values, answers)
    if answers.kind == "numbers":
        return torch.zeros(answers.width)
    if answers.kind == "labels":
        share = target.float().mean(dim=0).clamp(0.5 / len(values), 1 - 0.5 / len(values))
        candidates = [torch.logit(share), torch.zeros(answers.width)]
    else:
        counts = torch.bincount(target, minlength=answers.width).float()
        candidates = [torch.log(counts.clamp(min=0.5) / len(values)), torch.zeros(answers.width)]
    return min(candidates, key=lambda each: _mean_loss(prepared, each, target))


def _mean_loss(prepared: Prepared, constant: Tensor, target: Tensor) -> float:
    return float(_by_row(prepared, constant.expand(len(target), -1), target).mean())


def _by_row(prepared: Prepared, logits: Tensor, target: Tensor) -> Tensor:
    """The loss of each row, [n]; on the CPU, whatever trained."""
    with torch.no_grad():
        losses = prepared.loss.function({"logits": logits}, target)
    return losses.reshape(len(target), -1).mean(dim=1).double()


def _better_than(prepared: Prepared, constant: Tensor, logits: Tensor, target: Tensor) -> bool:
    """Whether the model is better on these rows than one answer for all, row by row, by more than chance."""
    gain = (_by_row(prepared, constant.expand(len(target), -1), target) - _by_row(prepared, logits, target)).numpy()
    little = _LITTLE * _mean_loss(prepared, constant, target)
    return len(gain) > 1 and bool(gain.mean() > max(2 * _error(gain), little))


def _seen(signs: Signs) -> Iterator[str]:
    if signs.only is not None:
        yield (
            f"one class for everything: all {signs.rows:,} {signs.side} rows are said to be {signs.only!r}, "
            f"and {signs.others:,} of them are not"
        )
    if signs.rose:
        yield (
            f"the training loss rose from {signs.began:.3f} to {signs.ended:.3f}; "
            f"one answer for all rows gives {signs.guess:.3f}"
        )
    elif signs.flat:
        yield (
            f"the training loss ended at {signs.ended:.3f}, not clearly below the {signs.guess:.3f} that one answer "
            "for all rows gives"
        )


def _tries(prepared: Prepared, signs: Signs, steps: int) -> Iterator[str]:
    if steps:
        yield _rate(prepared, signs)
        yield "`regraft rate` with this recipe, which looks for one in a hundred steps"
        if steps < _FEW_STEPS and not signs.rose:
            epochs = -(-sum(phase.epochs for phase in prepared.phases) * _FEW_STEPS // steps)
            yield f"more steps: training.epochs={epochs} makes about {_FEW_STEPS}, these were {steps}"
        yield f"another seed: seed={prepared.recipe.seed + 1}"
    if signs.only is not None and _uneven(prepared):
        yield "to let rare classes count as much as frequent ones: task.class_weights=balanced"
    yield "to see whether the linear probe beats the majority class: if not, the inputs may say nothing of the labels"


def _rate(prepared: Prepared, signs: Signs) -> str:
    """A rate to try: lower where the loss rose or the rate is high, higher where it is low, else to both sides."""
    options = prepared.recipe.strategy
    asked = make_strategy(options).learning_rate
    default = make_strategy(StrategyOptions(name=options.name)).learning_rate
    known = f"strategy.learning_rate is {asked:g}, by default {default:g}"
    if asked > _UNEVEN * default:
        return f"a lower rate: {known}; {default:.2g}"
    if signs.rose:
        return f"a lower rate: {known}; {asked / 10:.2g}"
    if asked < default / _UNEVEN:
        return f"a higher rate: {known}; {default:.2g}"
    return f"another rate: {known}; {asked / 5:.2g} or {asked * 5:.2g}"


def _uneven(prepared: Prepared) -> bool:
    """Whether classes are of unequal size and nothing makes up for it."""
    by_loss = any(phase.objective == "task" for phase in prepared.phases)
    if not by_loss or getattr(prepared.task.targets, "class_weights", None) != "none":
        return False
    counts = np.bincount(prepared.task.targets.tensor(prepared.rows.values, prepared.answers).numpy())
    return bool(counts.max() > _UNEVEN * max(1, counts.min()))
