"""Labels: how a cell is read, what is learned from many, which loss fits and why, and what an answer says."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from regraft.data.example import Example
from regraft.errors import DataError, RecipeError
from regraft.recipe import TaskOptions
from regraft.tasks import NAMES, Answers, Loss, make_task
from regraft.tasks._classes import ClassTargets, parse_label


def _targets(**options: Any) -> ClassTargets:
    targets = make_task(TaskOptions(name="text-classification", **options)).targets
    assert isinstance(targets, ClassTargets)
    return targets


def _examples(*targets: Any) -> list[Example]:
    return [Example(str(n), {"text": "a"}, target, None, "t.csv", n + 2) for n, target in enumerate(targets)]


def _row(target: Any) -> Example:
    return _examples(target)[0]


def _loss(answers: Answers, values: list[Any], **options: Any) -> Loss:
    return _targets(**options).loss(answers, values)


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("good", "good"),
        (" good ", "good"),
        ("0", "0"),
        (0, "0"),
        (1, "1"),
        (2.0, "2"),
        (2.5, "2.5"),
        ("2.0", "2.0"),
        (True, "true"),
        (False, "false"),
        ("很好", "很好"),
        ("a, b", "a, b"),
        ("a|b", ("a", "b")),
        ("b|a|b", ("a", "b")),
        ("a|", ("a",)),
        ("|", ()),
        ('["a", "b"]', ("a", "b")),
        ('["b"]', ("b",)),
        ("[]", ()),
        ("[10, 9]", ("9", "10")),
        ("[a]", "[a]"),
        (["a", "b"], ("a", "b")),
        ([], ()),
        ([1, 2.0, "c"], ("1", "2", "c")),
        (["a", " "], ("a",)),
    ],
)
def test_a_label_is_read(cell: Any, label: Any) -> None:
    assert parse_label(cell, separator="|") == label


@pytest.mark.parametrize(
    "cell", [None, "", "  ", float("nan"), float("inf"), {"a": 1}, [None], [["a"]], [float("nan")], b"a", "[[1]]"]
)
def test_a_cell_without_a_label_says_why(cell: Any) -> None:
    with pytest.raises(ValueError, match=r"^(is empty|holds)"):
        parse_label(cell, separator="|")


def test_another_separator_is_used() -> None:
    assert parse_label("a;b|c", separator=";") == ("a", "b|c")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["10", "9", "1", "2"], ("1", "2", "9", "10")),
        (["b", "a"], ("a", "b")),
        (["b", "2", "10", "a"], ("2", "10", "a", "b")),
        (["-1", "1", "0"], ("-1", "0", "1")),
        (["neg", "pos"] * 3, ("neg", "pos")),
    ],
)
def test_labels_are_in_their_natural_order(labels: list[str], names: tuple[str, ...]) -> None:
    assert _targets().learn(_examples(*labels)) == Answers("classes", names)


def test_one_list_makes_the_task_multi_label() -> None:
    assert _targets().learn(_examples("a", ("b", "c"), ())) == Answers("labels", ("a", "b", "c"))


@pytest.mark.parametrize("targets", [("a", "a"), (), ((), ())])
def test_nothing_to_tell_apart_is_an_error(targets: tuple[Any, ...]) -> None:
    with pytest.raises(DataError, match="at least two different labels"):
        _targets().learn(_examples(*targets))


def test_a_row_with_an_unknown_label_is_unfit() -> None:
    answers = Answers("classes", ("a", "b"))
    (bad,) = _targets().unfit(_examples("a", "c", "b"), answers)
    assert (bad.file, bad.row) == ("t.csv", 3)
    assert "'c'" in bad.reason


def test_a_list_among_single_labels_is_unfit() -> None:
    (bad,) = _targets().unfit(_examples("a", ("a", "b")), Answers("classes", ("a", "b")))
    assert "several labels" in bad.reason


def test_fitting_rows_are_fit() -> None:
    assert _targets().unfit(_examples("a", "b"), Answers("classes", ("a", "b"))) == []
    assert _targets().unfit(_examples("a", ("b",), ()), Answers("labels", ("a", "b"))) == []


def test_a_target_becomes_a_number_or_marks() -> None:
    assert _targets().value(_row("b"), Answers("classes", ("a", "b"))) == 1
    assert _targets().value(_row(("c", "a")), Answers("labels", ("a", "b", "c"))) == [True, False, True]
    assert _targets().value(_row(()), Answers("labels", ("a", "b"))) == [False, False]


CLASSES, LABELS = Answers("classes", ("a", "b", "c")), Answers("labels", ("a", "b", "c"))
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-3.0, 4.0, 0.0], [1.0, 1.0, 1.0]])
ROWS = [0, 2, 1, 0]
MARKS = [[True, False, True], [False, False, True], [False, True, False], [True, False, False]]


def _of(loss: Loss, values: list[Any], answers: Answers) -> torch.Tensor:
    return loss.function({"logits": LOGITS}, _targets().tensor(values, answers))


def test_cross_entropy_is_that_of_torch() -> None:
    expected = functional.cross_entropy(LOGITS, torch.tensor(ROWS), reduction="none")
    torch.testing.assert_close(_of(_loss(CLASSES, ROWS), ROWS, CLASSES), expected)


def test_label_smoothing_is_that_of_torch() -> None:
    expected = functional.cross_entropy(LOGITS, torch.tensor(ROWS), reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(_of(_loss(CLASSES, ROWS, label_smoothing=0.1), ROWS, CLASSES), expected)


def test_class_weights_are_those_of_torch() -> None:
    weight = torch.tensor([4 / (3 * 2), 4 / 3, 4 / 3])
    expected = functional.cross_entropy(LOGITS, torch.tensor(ROWS), reduction="none", weight=weight)
    torch.testing.assert_close(_of(_loss(CLASSES, ROWS, class_weights="balanced"), ROWS, CLASSES), expected)


def test_balanced_weights_are_1_on_average_over_the_rows() -> None:
    rows = [0] * 90 + [1] * 9 + [2]
    plain, balanced = _loss(CLASSES, rows), _loss(CLASSES, rows, class_weights="balanced")
    even = {"logits": torch.zeros(len(rows), 3)}
    target = torch.tensor(rows)
    mean = balanced.function(even, target).mean() / plain.function(even, target).mean()
    assert float(mean) == pytest.approx(1, abs=1e-6)


def test_focal_loss_is_its_formula() -> None:
    p = LOGITS.softmax(-1)[torch.arange(4), torch.tensor(ROWS)]
    found = _of(_loss(CLASSES, ROWS, loss="focal", focal_gamma=1.5), ROWS, CLASSES)
    torch.testing.assert_close(found, (1 - p) ** 1.5 * -p.log())


def test_focal_loss_with_gamma_0_is_cross_entropy() -> None:
    found = _of(_loss(CLASSES, ROWS, loss="focal", focal_gamma=0.0), ROWS, CLASSES)
    torch.testing.assert_close(found, _of(_loss(CLASSES, ROWS), ROWS, CLASSES))


def test_binary_cross_entropy_is_that_of_torch() -> None:
    expected = functional.binary_cross_entropy_with_logits(LOGITS, torch.tensor(MARKS).float(), reduction="none")
    torch.testing.assert_close(_of(_loss(LABELS, MARKS), MARKS, LABELS), expected.mean(-1))


def test_binary_label_smoothing_moves_targets_to_the_middle() -> None:
    soft = torch.tensor(MARKS).float() * 0.8 + 0.1
    expected = functional.binary_cross_entropy_with_logits(LOGITS, soft, reduction="none").mean(-1)
    torch.testing.assert_close(_of(_loss(LABELS, MARKS, label_smoothing=0.2), MARKS, LABELS), expected)


def test_balanced_labels_weigh_what_is_there_against_what_is_not() -> None:
    weight = torch.tensor([2 / 2, 3 / 1, 2 / 2])
    expected = functional.binary_cross_entropy_with_logits(
        LOGITS, torch.tensor(MARKS).float(), reduction="none", pos_weight=weight
    )
    found = _of(_loss(LABELS, MARKS, class_weights="balanced"), MARKS, LABELS)
    torch.testing.assert_close(found, expected.mean(-1))


def test_binary_focal_loss_is_its_formula() -> None:
    marks = torch.tensor(MARKS)
    p = torch.where(marks, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    found = _of(_loss(LABELS, MARKS, loss="focal"), MARKS, LABELS)
    torch.testing.assert_close(found, ((1 - p) ** 2 * -p.log()).mean(-1))


@pytest.mark.parametrize("loss", ["auto", "focal"])
def test_a_loss_of_sure_answers_has_finite_gradients(loss: str) -> None:
    logits = torch.tensor([[80.0, -80.0, 0.0], [-80.0, 80.0, 0.0]], requires_grad=True)
    for answers, values in ((CLASSES, [0, 0]), (LABELS, [[True, False, True]] * 2)):
        made = _loss(answers, values, loss=loss)
        made.function({"logits": logits}, _targets().tensor(values, answers)).sum().backward()
        assert logits.grad is not None
        assert bool(logits.grad.isfinite().all())


def test_the_loss_and_its_reason_are_told() -> None:
    loss = _loss(CLASSES, [0] * 8 + [1] * 2 + [2], class_weights="balanced", label_smoothing=0.1)
    assert loss.name == "cross-entropy (balanced class weights, label smoothing 0.1)"
    assert "one label of 3 a row" in loss.reason
    assert "8.0 times" in loss.reason
    assert "make up for it" in loss.reason


def test_uneven_classes_get_advice() -> None:
    assert "consider task.class_weights=balanced" in _loss(CLASSES, [0] * 8 + [1] * 2 + [2]).reason
    assert "consider" not in _loss(CLASSES, [0, 1, 2]).reason


def test_labels_are_counted_in_the_reason() -> None:
    assert "each of 3 labels is there or not; 1.2 a row" in _loss(LABELS, MARKS).reason


@pytest.mark.parametrize(
    ("answers", "values", "options"),
    [
        (CLASSES, ROWS, {"loss": "binary-cross-entropy"}),
        (LABELS, MARKS, {"loss": "cross-entropy"}),
        (CLASSES, ROWS, {"loss": "focal", "label_smoothing": 0.1}),
    ],
)
def test_options_that_do_not_go_together_are_recipe_errors(answers: Answers, values: Any, options: Any) -> None:
    with pytest.raises(RecipeError) as stopped:
        _loss(answers, values, **options)
    assert stopped.value.fix


def test_an_answer_has_the_best_class_and_all_probabilities() -> None:
    assert _targets().answer(np.array([0.2, 0.7, 0.1]), CLASSES, {}) == {
        "prediction": "b",
        "confidence": 0.7,
        "probabilities": {"a": 0.2, "b": 0.7, "c": 0.1},
    }


def test_an_answer_has_all_labels_above_a_half() -> None:
    answer = _targets().answer(np.array([0.9, 0.2, 0.5]), LABELS, {})
    assert answer["prediction"] == ["a", "c"]
    assert answer["confidence"] == 0.5
    assert _targets().answer(np.array([0.1, 0.1, 0.2]), LABELS, {})["prediction"] == []


def test_the_config_carries_the_labels() -> None:
    config = _targets().model_config(CLASSES)
    assert config["id2label"] == {0: "a", 1: "b", 2: "c"}
    assert config["label2id"] == {"a": 0, "b": 1, "c": 2}
    assert config["problem_type"] == "single_label_classification"
    assert _targets().model_config(LABELS)["problem_type"] == "multi_label_classification"


def test_a_label_without_rows_does_not_break_the_weights() -> None:
    loss = _loss(CLASSES, [0, 0, 1], class_weights="balanced")
    found = loss.function({"logits": torch.zeros(3, 3)}, torch.tensor([0, 0, 1]))
    assert float(found.mean()) == pytest.approx(math.log(3), abs=1e-6)


def _stated(names: tuple[str, ...], templates: Any, kind: Any = "classes") -> list[Example]:
    task = make_task(TaskOptions(name="text-classification", templates=templates))
    return task.stated(Answers(kind, names), _examples(*names))


def test_a_template_says_each_name_in_a_row_of_its_class() -> None:
    found = _stated(("good", "very_bad"), ["It is {}.", "{}!"])
    said = [(each.inputs["text"], each.target) for each in found]
    assert said == [
        ("It is good.", "good"),
        ("It is very bad.", "very_bad"),
        ("good!", "good"),
        ("very bad!", "very_bad"),
    ]
    assert [(each.file, each.row) for each in found] == [(NAMES, row) for row in (1, 2, 3, 4)]
    assert len({each.id for each in found}) == 4


@pytest.mark.parametrize("templates", [None, False, []])
def test_without_templates_no_row_is_added(templates: Any) -> None:
    assert _stated(("good", "bad"), templates) == []


@pytest.mark.parametrize(("name", "said"), [("good", "The label is good."), ("正面", "标签是正面。")])
def test_usual_templates_are_in_the_language_of_the_names(name: str, said: str) -> None:
    found = _stated((name, "x"), True)
    assert len(found) == 16
    assert said in [each.inputs["text"] for each in found]


@pytest.mark.parametrize("templates", [["It is good."], "yes"])
def test_a_template_without_a_place_for_the_name_is_refused(templates: Any) -> None:
    with pytest.raises(RecipeError, match=r"has no \{\} for the name of a class"):
        _stated(("good", "bad"), templates)


@pytest.mark.parametrize("names", [("very_good", "very good"), ("good", "_")])
def test_names_that_spaces_would_make_alike_or_empty_stay_as_they_are(names: tuple[str, str]) -> None:
    assert [each.inputs["text"] for each in _stated(names, "{}")] == [*names]


def test_what_is_neither_a_sentence_nor_a_list_is_refused_in_words() -> None:
    with pytest.raises(RecipeError, match="is no sentence with"):
        _stated(("good", "bad"), 3)


def test_one_template_needs_no_list() -> None:
    assert [each.inputs["text"] for each in _stated(("good", "bad"), "It is {}.")] == ["It is good.", "It is bad."]


def test_of_rarer_classes_fewer_templates_are_said_so_that_they_stay_as_rare() -> None:
    task = make_task(TaskOptions(name="text-classification", templates=True))
    rows = _examples(*["often"] * 40, *["half"] * 20, "once")
    found = task.stated(Answers("classes", ("often", "half", "once")), rows)
    assert Counter(each.target for each in found) == {"often": 8, "half": 4, "once": 1}


def test_names_of_several_labels_and_of_pairs_of_texts_are_refused() -> None:
    with pytest.raises(RecipeError, match="rows carry several labels"):
        _stated(("good", "bad"), True, kind="labels")
    task = make_task(TaskOptions(name="text-classification", templates=True))
    pair = Example("1", {"text": "a", "text_pair": "b"}, "same", None, "t.csv", 2)
    with pytest.raises(RecipeError, match="texts come in pairs"):
        task.stated(Answers("classes", ("same", "other")), [pair])


def test_whether_names_are_learned_from_is_a_question_only_where_nothing_was_asked() -> None:
    answers, rows = Answers("classes", ("good", "bad")), _examples("good", "bad")
    open_ = make_task(TaskOptions(name="text-classification")).by_name(answers, rows)
    assert open_ is not None
    assert len(open_.stated(answers, rows)) == 16
    for said in (True, False, "{}", ["{}"]):
        assert make_task(TaskOptions(name="text-classification", templates=said)).by_name(answers, rows) is None
