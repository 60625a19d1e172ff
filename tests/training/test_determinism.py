"""R12: the same recipe gives the same bits, in any process, and so does the recipe that a run writes down."""

from __future__ import annotations

from pathlib import Path

from regraft import read_recipe, tune
from regraft.run import Run
from tests.training.conftest import Unbroken
from tests.training.stage import Stage, assert_same_result, fresh


def test_the_same_recipe_in_two_fresh_processes_gives_the_same_bits(
    stage: Stage, output: Path, unbroken: Unbroken
) -> None:
    for name in ("one", "two"):
        done = fresh("tune", str(stage.recipe_file(output)), f"name={name}", "--quiet")
        assert done.returncode == 0, done.stderr
        assert_same_result(Run(output / name), unbroken.result)


def test_the_recipe_a_run_wrote_gives_the_same_bits(output: Path, unbroken: Unbroken) -> None:
    done = fresh("tune", str(unbroken.run.recipe), f"output={output}", "name=again", "--quiet")
    assert done.returncode == 0, done.stderr
    assert_same_result(Run(output / "again"), unbroken.result)


def test_the_recipe_a_run_wrote_is_its_own_resolved_form(output: Path, unbroken: Unbroken) -> None:
    again = tune(read_recipe(unbroken.run.recipe, [f"output={output}", "name=again"])).run
    differing = [
        (one, two)
        for one, two in zip(
            unbroken.run.recipe.read_text().splitlines(), again.recipe.read_text().splitlines(), strict=False
        )
        if one != two and not one.startswith(("output:", "name:"))
    ]
    assert not differing


def test_another_seed_gives_another_model(stage: Stage, output: Path, unbroken: Unbroken) -> None:
    other = tune(stage.recipe(output, "seed=8")).run
    assert (other.model / "model.safetensors").read_bytes() != unbroken.result["weights"]


def test_whatever_was_computed_before_changes_nothing(stage: Stage, output: Path, unbroken: Unbroken) -> None:
    import random

    import numpy as np
    import torch

    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    assert_same_result(tune(stage.recipe(output)).run, unbroken.result)
