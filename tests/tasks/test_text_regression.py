"""Numbers: how a cell is read, and that scaling is learned, undone, and folded into the head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regraft.data.example import Example
from regraft.errors import DataError
from regraft.pretrained import load
from regraft.recipe import ModelOptions
from regraft.tasks import Answers
from regraft.tasks._numbers import NumberTargets, parse_number
from regraft.testing import FAMILIES, WORDS, tiny_model

AUTO = "AutoModelForSequenceClassification"


def _examples(*targets: tuple[float, ...]) -> list[Example]:
    return [Example(str(n), {"text": "a"}, target, None, "t.csv", n + 2) for n, target in enumerate(targets)]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("3", (3.0,)),
        (" -2.5 ", (-2.5,)),
        ("1e3", (1000.0,)),
        (4, (4.0,)),
        (0.25, (0.25,)),
        ([1, "2", 3.5], (1.0, 2.0, 3.5)),
        ("+7", (7.0,)),
    ],
)
def test_a_number_is_read(cell: Any, value: tuple[float, ...]) -> None:
    assert parse_number(cell) == value


@pytest.mark.parametrize(
    "cell",
    [
        *(None, "", " ", "good", "1,5", "nan", "inf", float("nan"), float("-inf"), True, {}, [], [None], ["a"]),
        *([[1]], "1e999", 10**400, "0x10"),
    ],
)
def test_a_cell_without_a_number_says_why(cell: Any) -> None:
    with pytest.raises(ValueError, match=r"^(is empty|holds)"):
        parse_number(cell)


def test_mean_and_spread_are_learned() -> None:
    answers = NumberTargets().learn(_examples((1.0,), (3.0,)))
    assert answers == Answers("numbers", ("score",), (2.0,), (1.0,))


def test_several_numbers_have_a_name_each() -> None:
    answers = NumberTargets().learn(_examples((1.0, 10.0), (3.0, 30.0)))
    assert (answers.names, answers.mean, answers.scale) == (("score_0", "score_1"), (2.0, 20.0), (1.0, 10.0))


@pytest.mark.parametrize("targets", [((2.0,), (2.0,)), ((2.0,),), (), ((1.0, 5.0), (2.0, 5.0))])
def test_numbers_that_do_not_vary_are_an_error(targets: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(DataError, match="same number"):
        NumberTargets().learn(_examples(*targets))


def test_a_row_with_another_count_of_numbers_is_unfit() -> None:
    (bad,) = NumberTargets().unfit(_examples((1.0,), (1.0, 2.0)), Answers("numbers", ("score",), (0.0,), (1.0,)))
    assert bad.row == 3


def test_most_rows_decide_how_many_numbers_there_are() -> None:
    rows = _examples((1.0,), (1.0, 2.0), (3.0,))
    answers = NumberTargets().learn(rows)
    assert answers == Answers("numbers", ("score",), (2.0,), (1.0,))
    assert [bad.row for bad in NumberTargets().unfit(rows, answers)] == [3]


def test_targets_are_centred_and_scaled_and_come_back() -> None:
    answers = Answers("numbers", ("score",), (10.0,), (4.0,))
    scaled = NumberTargets().tensor([[2.0], [14.0]], answers)
    assert scaled.tolist() == [[-2.0], [1.0]]
    assert answers.in_units(scaled.numpy()).tolist() == [[2.0], [14.0]]


def test_the_loss_is_the_mean_of_squares_and_says_why() -> None:
    answers = Answers("numbers", ("score_0", "score_1"), (0.0, 0.0), (1.0, 2.5))
    loss = NumberTargets().loss(answers, [])
    found = loss.function({"logits": torch.tensor([[1.0, 3.0]])}, torch.tensor([[0.0, 1.0]]))
    assert found.tolist() == [2.5]
    assert loss.name == "mean squared error"
    assert "1, 2.5" in loss.reason


def test_an_answer_is_a_number_or_a_list() -> None:
    assert NumberTargets().answer(np.array([2.5]), Answers("numbers", ("score",)), {}) == {"prediction": 2.5}
    assert NumberTargets().answer(np.array([1.0, 2.0]), Answers("numbers", ("a", "b")), {}) == {
        "prediction": [1.0, 2.0]
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["own", "mean"])
@pytest.mark.parametrize("width", [1, 3])
def test_folding_changes_no_answer(family: str, head: Any, width: int, tmp_path: Path) -> None:
    """The head times the spread plus the mean, or the spread and mean kept beside it: the same numbers."""
    names = tuple(f"score_{n}" for n in range(width))
    answers = Answers("numbers", names, tuple(50.0 + n for n in range(width)), tuple(7.0 + n for n in range(width)))
    folder = tiny_model(tmp_path, family=family, words=WORDS)
    config = NumberTargets().model_config(answers)
    opened = load(ModelOptions(name=str(folder), head=head), AUTO, config, seed=0)
    batch = opened.processor(["the film was good", "bad"], padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        before = answers.in_units(opened.model(**inputs)["logits"].numpy())
    folded = NumberTargets().finish(opened.model, answers, opened.anatomy.head)
    with torch.inference_mode():
        after = folded.in_units(opened.model(**inputs)["logits"].numpy())
    np.testing.assert_allclose(after, before, rtol=1e-5)
    assert folded.scale == () or not any(name.endswith("bias") for name in opened.anatomy.head)
