"""regraft rate: the curve, what to write into the recipe, and beside what it stands."""

from __future__ import annotations

import json


def words(place, *more: object) -> list[object]:
    data = ["--data", place / "reviews.csv", "--task", "text-classification", "--model", place / "model"]
    return ["rate", *data, "model.head=mean", *more]


def test_the_rate_is_said_as_the_recipe_takes_it(command, place):
    answer = command(*words(place, "strategy=linear-probe"))
    assert answer.code == 0
    assert "falls fastest" in answer.out
    assert "Write into the recipe:\nstrategy:\n  name: linear-probe\n  learning_rate: " in answer.out
    assert "learning_rate by default: 0.001, " in answer.out
    assert "(that of AdamW by default (Loshchilov and Hutter, 2019)" in answer.out


def test_json_holds_the_curve(command, place):
    told = json.loads(command(*words(place, "strategy=full", "--steps", 40, "--json")).out)
    assert len(told["rates"]) == len(told["losses"]) == len(told["reading"]["smoothed"]) <= 40
    assert told["options"][0]["name"] == "learning_rate"


def test_what_the_recipe_says_stands_beside_the_default(command, place):
    answer = command(*words(place, "strategy=linear-probe", "strategy.learning_rate=0.01", "--steps", 30))
    assert "learning_rate by default: 0.001" in answer.out
    assert "learning_rate here: 0.01" in answer.out


def test_where_nothing_was_found_it_says_so(command, place, tmp_path):
    table = tmp_path / "noise.csv"
    rows = (place / "reviews.csv").read_text().splitlines()
    labels = [row.rsplit(",", 1)[1] for row in rows[1:]]
    texts = [row.rsplit(",", 1)[0] for row in rows[1:]]
    mixed = [f"{text},{labels[(7 * place + place // 5) % len(labels)]}" for place, text in enumerate(texts)]
    table.write_text("\n".join([rows[0], *mixed]))
    asked = ["--data", table, "--task", "text-classification", "--model", place / "model", "model.head=mean"]
    answer = command("rate", *asked, "strategy=linear-probe", "--steps", 30)
    assert "At no rate did the loss fall by more than chance" in answer.out
    assert "Write into the recipe" not in answer.out


def test_rates_of_later_phases_are_said_not_to_be_tried(command, place):
    answer = command(*words(place, "strategy=probe-then-tune", "--steps", 30))
    assert "Not tried: learning_rate. A later phase begins where phase 1 ends" in answer.out
    assert "of phase 1 of 2" in answer.out


def test_a_strategy_without_steps_is_refused(command, place):
    answer = command(*words(place, "strategy=logistic"))
    assert answer.code == 2
    assert "takes no steps" in answer.err
