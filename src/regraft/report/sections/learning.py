"""How it learned: loss, validation score and learning rate over the epochs."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from regraft.report.blocks import Block, Fact, Facts, Figure, Note, Section
from regraft.report.figures import FIRST, SECOND, SOFT, drawing, svg
from regraft.report.material import Material
from regraft.report.words import count, duration, lowered, number, percent, title_of

PLACE = 20
_SMOOTHING = 0.9


def render(material: Material) -> Section | None:
    steps, validations = material.by_step("step"), material.by_step("validation")
    if not steps and not validations:
        return None
    blocks: list[Block] = []
    losses = _series(steps, "loss")
    if losses:
        held = _series(validations, "loss")
        more = " A validation loss that turns upwards means learning by heart." if held else ""
        sentence = f"The training loss falls while the model learns.{more}"
        blocks.append(Figure(sentence, _loss_figure(losses, held)))
    blocks += _validation(material, validations)
    rates = _series(steps, "learning_rate")
    if rates:
        sentence = "The learning rate: how large the steps were. It rises while warming up and then falls."
        blocks.append(Figure(sentence, _line(rates, name="rate", label="learning rate")))
    norms = _series(steps, "grad_norm")
    if norms:
        sentence = "The size of the gradient: calm is healthy; a spike is a batch that pulled hard."
        blocks.append(Figure(sentence, _line(norms, name="norm", label="gradient norm")))
    return Section("learning", "How did it learn?", [*blocks, _facts(material, steps), *_interruptions(material)])


def _series(events: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """Pairs of epoch (or step, where there is none) and value, without what is not finite."""
    pairs = [(each.get("epoch", each["step"]), each.get(key)) for each in events]
    return [(float(x), float(y)) for x, y in pairs if isinstance(y, int | float) and math.isfinite(y)]


def _smooth(values: list[float]) -> list[float]:
    """An exponential moving average without the bias of its start (Kingma and Ba, 2015)."""
    out, mean = [], 0.0
    for place, value in enumerate(values, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        out.append(mean / (1 - _SMOOTHING**place))
    return out


def _loss_figure(losses: list[tuple[float, float]], validation: list[tuple[float, float]]) -> Markup:
    epochs, values = [x for x, _ in losses], [y for _, y in losses]
    with drawing() as (figure, axes):
        axes.plot(epochs, values, color=FIRST, linewidth=0.8, alpha=0.3)
        axes.plot(epochs, _smooth(values), color=FIRST, label="training, smoothed")
        if validation:
            axes.plot(*zip(*validation, strict=True), "o-", color=SECOND, markersize=5, label="validation")
        axes.set(xlabel="epoch", ylabel="loss")
        axes.grid(axis="y")
        axes.legend(loc="upper right", labelcolor=SOFT)
        return svg(figure, name="loss", alt=f"training loss from {values[0]:.3g} to {_smooth(values)[-1]:.3g}")


def _validation(material: Material, validations: list[dict[str, Any]]) -> list[Figure]:
    metric = material.primary or next(iter(validations[-1].get("scores") or {}), None) if validations else None
    if metric is None:
        return []
    points = _series([{**each, "value": (each.get("scores") or {}).get(metric)} for each in validations], "value")
    best = [each for each in validations if each.get("best")][-1:]
    chosen = _series([{**each, "value": (each.get("scores") or {}).get(metric)} for each in best], "value")
    if not points:
        return []
    title = title_of(metric)
    with drawing() as (figure, axes):
        axes.plot(*zip(*points, strict=True), "o-", color=SECOND, markersize=5)
        for x, y in chosen:
            axes.plot([x], [y], "o", color=SECOND, markersize=11, alpha=0.35)
            late = x > (points[0][0] + points[-1][0]) / 2
            above = y >= points[0][1]  # the line comes from the other side
            offset, side = ((-7, 7 if above else -14), "right") if late else ((6, -14), "left")
            axes.annotate(f"best {number(y)}", (x, y), offset, textcoords="offset points", ha=side, fontsize=9)
        axes.margins(x=0.12, y=0.25)
        axes.set(xlabel="epoch", ylabel=f"validation {lowered(title)}")
        axes.grid(axis="y")
        alt = "; ".join(f"epoch {x:g}: {number(y)}" for x, y in points[-20:])
        drawn = svg(figure, name="validation", alt=f"validation {title}: {alt}")
    kept = "was the best" if material.last("average") else "was kept as the result"
    return [Figure(f"The score on {material.unit}s that were not trained on. The marked moment {kept}.", drawn)]


def _line(points: list[tuple[float, float]], *, name: str, label: str) -> Markup:
    with drawing(height=2.3) as (figure, axes):
        axes.plot(*zip(*points, strict=True), color=FIRST, linewidth=1.4)
        axes.set(xlabel="epoch", ylabel=label)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
        axes.grid(axis="y")
        return svg(figure, name=name, alt=f"{label}, at most {max(y for _, y in points):.3g}")


def _facts(material: Material, steps: list[dict[str, Any]]) -> Facts:
    end, padding = material.last("end"), [each["padding"] for each in steps if "padding" in each]
    facts = [Fact("Steps", count(steps[-1]["step"]) if steps else "–")]
    if "seconds" in end:
        facts.append(Fact("Time", duration(end["seconds"])))
    if end.get("best_step") is not None and not material.last("average"):
        facts.append(Fact("Result taken from step", count(end["best_step"])))
    if padding and not material.of_images:
        facts.append(Fact("Padding computed", percent(sum(padding) / len(padding))))
    if material.all("checkpoint"):
        facts.append(Fact("Checkpoints", count(len(material.by_step("checkpoint")))))
    return Facts(facts)


def _interruptions(material: Material) -> list[Note]:
    notes = [
        Note(f"The run was stopped and went on from step {each.get('step', 0):,}; the result is the same as without.")
        for each in material.all("resume")
    ]
    notes += [
        Note(f"A checkpoint was damaged and passed over: {each.get('checkpoint', '')}", tone="warn")
        for each in material.all("damaged")
    ]
    return notes
