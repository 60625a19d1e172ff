"""R8: a loss or gradient that is not a number stops the run at once, names step and row, and never reaches the disk."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from regraft import resume, tune, tune_events
from regraft.errors import NotFiniteError
from regraft.run import Run
from regraft.testing import WORDS
from tests.training.stage import Stage

POISON = "dreadful"  # the word whose embedding is not a number
FROZEN = "strategy.freeze=[embeddings]"  # so that only the rows with the word are ill, not the weights that are saved


@pytest.fixture
def poisoned(stage: Stage, tmp_path: Path) -> Path:
    """The tiny model with one word that makes everything infinite."""
    folder = shutil.copytree(stage.model, tmp_path / "poisoned")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][5 + WORDS.index(POISON)] = torch.inf  # five special tokens come first
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Callable[[int], list[str]]:
    """Tables with so many training rows that have the word; as options of a recipe."""

    def make(ill: int) -> list[str]:
        sides = {"train": 48, "validation": 12, "test": 12}
        for side, rows in sides.items():
            texts = [f"the film was {('good', 'bad')[n % 2]} and the {WORDS[n % 10]} end" for n in range(rows)]
            texts = [f"{text.replace(POISON, 'awful')} {side} n{n}" for n, text in enumerate(texts)]
            if side == "train":
                texts[20 : 20 + ill] = [f"{text} {POISON}" for text in texts[20 : 20 + ill]]
            with (tmp_path / f"{side}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(
                    [("text", "label"), *((t, ("good", "bad")[n % 2]) for n, t in enumerate(texts))]
                )
        return [f"data.{side}={tmp_path / f'{side}.csv'}" for side in sides]

    return make


def _published(run: Run) -> list[Path]:
    return [*run.checkpoints.glob("step-*/*.safetensors"), *run.model.glob("*.safetensors")]


def _all_finite(run: Run) -> bool:
    return all(bool(value.isfinite().all()) for path in _published(run) for value in load_file(path).values())


def test_a_rate_far_too_high_stops_within_a_step(stage: Stage, output: Path) -> None:
    rate = ("strategy.learning_rate=1e36", "training={warmup: 0, clip: null, epochs: 4, checkpoint: {every: 1}}")
    with pytest.raises(NotFiniteError, match=r"step \d+") as caught:
        tune(stage.recipe(output, "name=high", *rate))
    assert caught.value.exit_code == 4
    assert "learning_rate" in caught.value.fix
    run = Run(output / "high")
    assert _all_finite(run)
    losses = [event["loss"] for event in run.history() if event["event"] == "step"]
    assert all(loss < float("inf") for loss in losses), "no step after the first that was not finite"


def test_a_weight_that_becomes_infinite_in_the_last_step_of_an_epoch_is_not_published(
    stage: Stage, output: Path
) -> None:
    once = (
        "training={warmup: 0, clip: null, epochs: 1, batch_size: 1000, precision: fp32}",
        "strategy.learning_rate=3e38",
    )
    once = (*once, "training.weight_decay=100")
    with pytest.raises(NotFiniteError, match="step 1"):
        tune(stage.recipe(output, "name=last", *once))
    assert not _published(Run(output / "last"))


def test_the_row_is_named(stage: Stage, output: Path, poisoned: Path, table: Callable[[int], list[str]]) -> None:
    recipe = stage.recipe(output, "name=row", FROZEN, *table(1), "training.batch_size=8", model=poisoned)
    with pytest.raises(NotFiniteError) as caught:
        tune(recipe)
    train = Path(recipe.data.train)
    line = next(n for n, text in enumerate(train.read_text().splitlines(), start=1) if POISON in text)
    assert caught.value.problem.endswith(f"rows: {train}, row {line}")
    assert _all_finite(Run(output / "row"))


def test_skip_finishes_and_counts(
    stage: Stage, output: Path, poisoned: Path, table: Callable[[int], list[str]]
) -> None:
    options = ("name=skip", FROZEN, *table(1), "training.batch_size=8", "training.on_not_finite=skip")
    options = (*options, "evaluation.baselines=false")  # the untouched model has the ill word too
    outcome = tune(stage.recipe(output, *options, model=poisoned))
    skipped = [event for event in outcome.run.history() if event["event"] == "skipped"]
    assert len(skipped) == 2, "once in each of two epochs"
    assert all(len(event["rows"]) == 1 for event in skipped)
    assert outcome.run.scores.exists()
    assert all(
        bool(v.isfinite().all()) for p in outcome.run.checkpoints.rglob("*.safetensors") for v in load_file(p).values()
    )


def test_more_than_max_skipped_stops(
    stage: Stage, output: Path, poisoned: Path, table: Callable[[int], list[str]]
) -> None:
    options = ("name=much", FROZEN, *table(1), "training={batch_size: 8, on_not_finite: skip, max_skipped: 1}")
    with pytest.raises(NotFiniteError):
        tune(stage.recipe(output, *options, model=poisoned))
    events = [event["event"] for event in Run(output / "much").history()]
    assert events.count("skipped") == 1
    assert "saved" not in events


def test_the_count_of_skipped_steps_survives_a_stop(
    stage: Stage, output: Path, poisoned: Path, table: Callable[[int], list[str]]
) -> None:
    options = (
        FROZEN,
        *table(1),
        "training={batch_size: 8, on_not_finite: skip, max_skipped: 1, checkpoint: {every: 1}}",
    )
    events = tune_events(stage.recipe(output, "name=stopped", *options, model=poisoned))
    next(event for event in events if event.name == "skipped")
    next(event for event in events if event.name == "checkpoint")
    events.close()
    with pytest.raises(NotFiniteError):
        resume(Run(output / "stopped"))
