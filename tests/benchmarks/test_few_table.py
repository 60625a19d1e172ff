"""What the table of few labels says of the answers in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.few_labels import read_results, write_results
from benchmarks.few_table import against_peers, draw, hindsight, main, read_answers, table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three draws of one cell and one of another; auto is better than full by 0.02 and worse than logistic by 0.03."""
    scores = {"auto": 0.7, "full": 0.68, "logistic": 0.73, "sklearn": 0.65}
    results = [
        {
            "dataset": "movie",
            "labels": labels,
            "seed": seed,
            "contestant": name,
            "accuracy": score + 0.01 * seed,
            "seconds": 10.0 if name == "auto" else 20.0,
        }
        for labels, seeds in ((8, 3), (32, 1))
        for seed in range(seeds)
        for name, score in scores.items()
        if labels == 8 or name != "logistic"
    ]
    path = tmp_path / "few.json"
    write_results(path, results)
    return path


def test_results_are_read_as_they_were_written(file: Path) -> None:
    assert len(read_results(file)) == 15
    assert json.loads(file.read_text(encoding="utf-8")) == read_results(file)
    assert read_results(file.with_name("none.json")) == []


def test_a_cell_has_mean_interval_seconds_and_draws(file: Path) -> None:
    lines = [*table(read_answers(file))]
    assert lines[0] == "| dataset | labels | auto | full | logistic | sklearn |"
    assert "| movie | 8 | 0.710 ± 0.025, 10 s (3) |" in lines[2]  # 4.303 times 0.01 over the root of 3
    assert lines[3].startswith("| movie | 32 | 0.700, 10 s (1) |")
    assert "|  |" in lines[3]  # of logistic nothing is known there


def test_auto_is_compared_with_the_best_of_each_cell(file: Path) -> None:
    first, *cells = hindsight(read_answers(file))
    assert "within 1% of the best other strategy in hindsight in 1 of 2 cells" in first
    assert cells == ["  movie 8: logistic +0.030", "  movie 32: full -0.020"]


def test_auto_is_compared_with_peers_pair_by_pair(file: Path) -> None:
    (line,) = against_peers(read_answers(file))
    assert line.startswith("auto beside sklearn: +0.050")
    assert "over 4 pairs, p = 0.12" in line  # the least that a signed-rank test of 4 pairs can give
    assert "0.50 of theirs in the median, 0.50 in all" in line


def test_the_picture_is_drawn_and_the_same_each_time(file: Path, tmp_path: Path) -> None:
    answers = read_answers(file)
    pictures = [tmp_path / name for name in ("one.svg", "two.svg")]
    for picture in pictures:
        draw(answers, picture)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert b"movie" in pictures[0].read_bytes()


def test_the_command_prints_all_of_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json", str(file)])
    told = capsys.readouterr().out
    assert "| movie | 8 |" in told
    assert "in hindsight" in told
    assert "auto beside sklearn" in told
