"""A sweep: what may be varied, what is tried, what is shared, and what survives a kill."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import ttest_1samp

from regraft.errors import DataError, RecipeError, TrainingError
from regraft.fingerprint import tensors_sha256
from regraft.frozen import Store, list_stores, store_root
from regraft.recipe import Recipe, make_recipe, read_recipe
from regraft.report import write_report
from regraft.run import Run, read_json
from regraft.sources import read_data
from regraft.sweeping import Sweep, SweepOptions, begin, find_sweep, read_sweep, sweep_events
from regraft.sweeping.journal import Fixed, Journal, Record, Stage
from regraft.sweeping.outcome import compose, configurations, t_interval
from regraft.sweeping.space import check_space, default_space, grid, make_options, recipe_at, resolved, sweep_yaml
from regraft.sweeping.trial import Bench, data_digest, run_trial
from regraft.tasks import make_task
from tests.training.stage import Stage as Place
from tests.training.stage import ended, ended_soon, launch, make_stage, wait_until

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*sweep.yaml"))
SPACE = {"strategy.name": ["linear-probe", "top-layers"], "strategy.n": [1], "strategy.learning_rate": [1e-3, 3e-3]}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A tiny model and a toy table."""
    return make_stage(tmp_path_factory.mktemp("sweeping"))


def asked(stage: Place, output: Path, *overrides: str) -> Recipe:
    """A recipe of one pass."""
    return stage.recipe(
        output, "training.epochs=1", "training.accumulation=1", "training.checkpoint.every=null", *overrides
    )


def file_of(stage: Place, output: Path, sweep: dict[str, Any], *overrides: str) -> Path:
    """The same with a sweep, as a file."""
    output.mkdir(parents=True, exist_ok=True)
    file = output / "asked.yaml"
    file.write_text(sweep_yaml(asked(stage, output, *overrides), make_options(sweep), header=""), encoding="utf-8")
    return file


def done(sweep: Sweep, *, processes: int = 1) -> dict[str, Any]:
    """What a sweep gives in the end."""
    events = sweep_events(sweep, processes=processes)
    while True:
        try:
            next(events)
        except StopIteration as ended:
            found: dict[str, Any] = ended.value
            return found


def table_of(found: dict[str, Any]) -> dict[str, list[Any]]:
    """What must not depend on who did it when: points and scores."""
    return {
        "trials": [[each["trial"], each["point"], each["value"], each["low"]] for each in found["trials"]],
        "seeds": [[each["point"], each["seeds"], each["values"]] for each in found["configurations"]],
    }


# What may be varied


def test_a_recipe_file_and_overrides_say_what_is_varied(stage: Place, tmp_path: Path) -> None:
    file = file_of(stage, tmp_path, {"space": {"strategy.learning_rate": [1e-3]}})
    recipe, options = read_sweep(file, ["sweep.trials=4", "sweep.space.model.head=[own, mean]", "seed=3"])
    assert (options.trials, recipe.seed) == (4, 3)
    assert options.space == {"strategy.learning_rate": [1e-3], "model.head": ["own", "mean"]}


def test_what_is_written_is_read_back_equal(stage: Place, tmp_path: Path) -> None:
    options = make_options({"space": default_space(6), "seeds": 5})
    recipe = asked(stage, tmp_path)
    (tmp_path / "sweep.yaml").write_text(sweep_yaml(recipe, options, header="a sweep"), encoding="utf-8")
    assert read_sweep(tmp_path / "sweep.yaml") == (recipe, options)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_asks_for_what_exists(file: Path) -> None:
    recipe, options = read_sweep(file)
    check_space(options, recipe)


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"trails": 4}, "did you mean 'sweep.trials'"),
        ({"space": {"strategy.learning_rate": {"low": 1, "hihg": 2}}}, "'sweep.space.strategy.learning_rate.high'"),
        ({"space": {"strategy.learning_rate": {"low": 2, "high": 1}}}, "low must be less than high"),
        ({"space": {"strategy.learning_rate": {"low": 0, "high": 1, "log": True}}}, "low must be above 0"),
        ({"space": {"strategy.n": []}}, "strategy.n has no values"),
        ({"space": {"strategy.n": 3}}, "sweep.space.strategy.n"),
        ({"sampler": "grid", "space": {"strategy.learning_rate": {"low": 1, "high": 2}}}, "a grid needs steps"),
        ({"sampler": "grid", "trials": 3}, "leave trials out"),
        ({"seeds": 1}, "sweep.seeds"),
        ([1], "give it keys"),
    ],
)
def test_a_sweep_that_does_not_fit_says_what_to_do(sweep: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        make_options(sweep)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"strategy.learnin_rate": [1e-3]}, "did you mean 'strategy.learning_rate'"),
        ({"training.epoch": [1]}, "did you mean 'training.epochs'"),
        ({"strategy.n": [1]}, "unknown key 'strategy.n'"),
        ({"data.train": ["other.csv"]}, "data.train is not to be varied"),
        ({"seed": [1, 2]}, "seed is not to be varied"),
        ({"task.name": ["text-regression"]}, "task.name is not to be varied"),
        ({"training": [{"epochs": 2}]}, "unknown key 'training'"),
        ({"task.max_lenth": [16]}, "did you mean 'task.max_length'"),
        ({"training.batch_size": [8, "many"]}, "training.batch_size"),
        ({"strategy.name": ["ful"]}, "did you mean 'full'"),
        ({"strategy.name": ["full", 2]}, "2 is not a strategy"),
        ({"model.head": {"low": 1, "high": 2, "relative": True}}, "relative to 'auto'"),
    ],
)
def test_a_key_that_cannot_be_varied_is_named(stage: Place, tmp_path: Path, space: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_space(make_options({"space": space}), asked(stage, tmp_path))


def test_options_of_every_room_can_be_varied(stage: Place, tmp_path: Path) -> None:
    space = {"task.max_length": [16, 32], "model.dropout": [0.0, 0.1], "training.epochs": [1], "model": ["minilm"]}
    check_space(make_options({"space": space}), asked(stage, tmp_path))


def test_a_strategy_that_the_model_has_no_blocks_for_is_found_before_any_trial(stage: Place, tmp_path: Path) -> None:
    options = make_options({"space": {"strategy": ["full", {"name": "top-layers", "n": 9}]}})
    with pytest.raises(RecipeError, match="strategy.n = 9"):
        begin(asked(stage, tmp_path), options)
    assert not (tmp_path / "reviews-sweep-1").exists()


def test_trials_have_the_defaults_that_a_run_of_their_own_has(stage: Place, tmp_path: Path) -> None:
    recipe = asked(stage, tmp_path, "strategy={name: top-layers, n: 1}")
    assert begin(recipe, make_options({"space": SPACE})).recipe.strategy == recipe.strategy


def test_an_option_counts_where_the_strategy_has_it(stage: Place, tmp_path: Path) -> None:
    recipe = asked(stage, tmp_path, "strategy={name: full, layer_decay: 0.9}")
    options = make_options(
        {"sampler": "grid", "space": {"strategy.name": ["linear-probe", "top-layers"], "strategy.n": [1, 2]}}
    )
    points = grid(options, recipe)
    assert points == [
        {"strategy.name": "linear-probe"},
        {"strategy.name": "top-layers", "strategy.n": 1},
        {"strategy.name": "top-layers", "strategy.n": 2},
    ]
    assert recipe_at(recipe, points[0]).strategy.own() == {}
    assert recipe_at(recipe, points[2]).strategy.own() == {"n": 2}


def test_a_relative_rate_is_a_factor_of_the_strategys_own(stage: Place, tmp_path: Path) -> None:
    space, recipe = default_space(6), asked(stage, tmp_path, "strategy={name: full, learning_rate: 1e-4}")
    own = {"linear-probe": 2e-3, "full": 2e-4, "top-layers": 2e-4}
    for name, rate in own.items():
        point = resolved(space, recipe, {"strategy.name": name, "strategy.learning_rate": 2.0})
        assert point["strategy.learning_rate"] == rate


def test_a_grid_of_a_range_goes_by_equal_ratios_with_log(stage: Place, tmp_path: Path) -> None:
    space = {"strategy.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "steps": 3}}
    points = grid(make_options({"sampler": "grid", "space": space}), asked(stage, tmp_path))
    assert [point["strategy.learning_rate"] for point in points] == pytest.approx([1e-4, 1e-3, 1e-2])


def test_a_sweep_without_validation_rows_is_refused(stage: Place, tmp_path: Path) -> None:
    recipe = asked(stage, tmp_path, "data.split={train: 0.8, validation: 0, test: 0.2}")
    with pytest.raises(RecipeError, match="validation rows"):
        begin(recipe, SweepOptions())


# What is tried, and by whom


def stage_of(drawn: list[int], places: int = 3) -> Stage:
    """Places whose values are drawn once each."""
    return Stage("search", places, lambda place: drawn.append(place) or Fixed({"x": place}), _point)  # type: ignore[func-returns-value]


def _point(trial: Any, place: int) -> dict[str, Any]:
    return {"place": place, "x": trial.suggest_float("x", 0, 10)}


def test_each_place_is_claimed_once(tmp_path: Path) -> None:
    drawn: list[int] = []
    with Journal(tmp_path) as first, Journal(tmp_path) as second:
        claims = [journal.claim(stage_of(drawn)) for journal in (first, first, first, first)]
        assert [claim and claim.place for claim in claims] == [0, 1, 2, None]
        assert [record.state for record in first.records("search")] == ["running"] * 3
        assert second.worker != first.worker


def test_the_place_of_a_process_that_is_gone_is_taken_again_with_the_same_values(tmp_path: Path) -> None:
    drawn: list[int] = []
    lost = Journal(tmp_path).claim(stage_of(drawn))
    with Journal(tmp_path) as journal:
        claim = journal.claim(stage_of(drawn))
        assert lost is not None
        assert claim is not None
        assert (claim.place, claim.point) == (lost.place, lost.point)
        assert drawn == [0]
        journal.complete("search", claim, 0.5, {"value": 0.5})
        assert [record.state for record in journal.records("search")] == ["complete"]


def test_a_place_that_kills_whoever_takes_it_counts_as_failed(tmp_path: Path) -> None:
    for _ in range(3):
        claim = Journal(tmp_path).claim(stage_of([]))
        assert claim is not None
        assert claim.place == 0
    with Journal(tmp_path) as journal:
        claim = journal.claim(stage_of([]))
        assert claim is not None
        assert claim.place == 1
        [failed, _] = journal.records("search")
    assert failed.state == "failed"
    assert "3 processes were killed" in str(failed.reason)


def test_a_point_that_was_tried_already_is_not_trained_again(stage: Place, tmp_path: Path) -> None:
    space = {"strategy.learning_rate": [1e-3]}
    sweep = begin(asked(stage, tmp_path), make_options({"sampler": "random", "trials": 3, "seeds": 2, "space": space}))
    found = done(sweep)["trials"]
    assert [each["trial"] for each in found] == [1, 2, 3]
    assert len({each["value"] for each in found}) == 1
    assert [each["seconds"] for each in found[1:]] == [0.0, 0.0]


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.keep("search", "about", lambda: {"rows": 3})
    file = tmp_path / "journal.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code": 8, "stu')
    assert Journal(tmp_path).kept("search", "about") == {"rows": 3}
    assert file.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in file.read_text().splitlines())


# What a trial costs


@pytest.fixture
def rows_below(stage: Place) -> Iterator[Callable[[], int]]:
    """How many rows the blocks of a model have computed since it was last asked; those that are given do not count."""
    counted = 0

    def count(module: torch.nn.Module, given: tuple[Any, ...], output: Any) -> None:
        nonlocal counted
        if type(module).__name__ == "BertIntermediate":
            counted += len(given[0])

    def asked() -> int:
        nonlocal counted
        found, counted = counted, 0
        return found

    hook = torch.nn.modules.module.register_module_forward_hook(count)
    yield asked
    hook.remove()


def test_probe_trials_compute_the_frozen_part_once(
    stage: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_below: Callable[[], int]
) -> None:
    monkeypatch.setenv("REGRAFT_STORE", str(tmp_path / "store"))
    bench, passed = Bench(), []
    for rate in ("1e-3", "2e-3", "5e-3"):
        recipe = asked(stage, tmp_path, f"strategy={{name: linear-probe, learning_rate: {rate}}}", "training.epochs=3")
        run_trial(bench, recipe, lambda: None)
        passed.append(rows_below())
    blocks = 2
    assert passed[0] >= blocks * 90  # training and validation rows
    assert passed[1] == passed[2] <= blocks * 30  # the proof on eight rows
    [store] = list_stores(store_root())
    assert store["segments"] == 2  # training rows, validation rows


def test_trials_may_differ_in_whether_they_learn_from_names(stage: Place, tmp_path: Path) -> None:
    bench = Bench()
    plain = bench.untouched(asked(stage, tmp_path))
    bench.require_data(plain, data_digest(plain))
    named = bench.prepared(asked(stage, tmp_path, "task.templates=It is {}."))
    assert len(named.rows.examples) == len(plain.rows.examples) + 2


def test_a_trial_looks_at_no_test_row_and_leaves_nothing(stage: Place, tmp_path: Path) -> None:
    recipe = asked(stage, tmp_path)
    found = run_trial(Bench(), recipe, lambda: None)
    assert found.low is not None
    assert found.low <= found.value <= (found.high or 0)
    assert list(tmp_path.iterdir()) == []


def test_trials_do_not_touch_the_model_they_share(stage: Place, tmp_path: Path) -> None:
    bench = Bench()
    probe, full = (asked(stage, tmp_path, f"strategy={{name: {name}}}") for name in ("linear-probe", "full"))
    shared = bench.untouched(probe).pretrained.model
    before = tensors_sha256(shared.state_dict())
    first, _, again = (run_trial(bench, recipe, lambda: None) for recipe in (probe, full, probe))
    assert (first.value, first.tie) == (again.value, again.tie)
    assert bench.untouched(full).pretrained.model is shared
    assert tensors_sha256(shared.state_dict()) == before


# What it comes to


@pytest.fixture(scope="module")
def finished(stage: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, dict[str, Any]]:
    """A grid of four points of which one fails, done by one process."""
    space = {"strategy.learning_rate": [1e-3, 3e-3, 1e38], "model.head": ["own"]}
    options = make_options({"sampler": "grid", "finalists": 1, "seeds": 2, "space": space})
    sweep = begin(asked(stage, tmp_path_factory.mktemp("runs"), "name=done"), options)
    return sweep, done(sweep)


def test_a_failed_trial_is_recorded_and_the_sweep_goes_on(finished: tuple[Sweep, dict[str, Any]]) -> None:
    _, found = finished
    assert [each["state"] for each in found["trials"]] == ["complete", "complete", "failed"]
    assert "not finite" in found["trials"][2]["reason"]
    assert found["finished"]


def test_the_winner_is_scored_with_new_seeds_on_the_same_rows(finished: tuple[Sweep, dict[str, Any]]) -> None:
    sweep, found = finished
    winner = found["winner"]
    assert winner["seeds"] == [8, 9]
    assert winner["mean"] == pytest.approx(sum(winner["values"]) / 2)
    sides = []
    for seed in (7, 8):
        recipe = sweep.recipe.model_copy(update={"seed": seed})
        split = recipe.data.split.model_copy(update={"seed": sweep.split_seed})
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": split})})
        sides.append([example.id for example in read_data(recipe, make_task(recipe.task))[0].validation])
    assert sides[0] == sides[1]


def test_the_winners_recipe_can_be_tuned(finished: tuple[Sweep, dict[str, Any]]) -> None:
    sweep, found = finished
    best = read_recipe(sweep.best)
    assert best == recipe_at(sweep.recipe, found["winner"]["point"]).model_copy(
        update={"output": str(sweep.folder.resolve()), "name": None}
    )


def test_a_finished_sweep_gives_the_same_again_without_a_trial(finished: tuple[Sweep, dict[str, Any]]) -> None:
    sweep, found = finished
    lines = len((sweep.folder / "journal.jsonl").read_text().splitlines())
    assert done(find_sweep(sweep.folder)) == found
    assert len((sweep.folder / "journal.jsonl").read_text().splitlines()) == lines
    assert read_json(sweep.results) == found


def test_nothing_of_the_trials_is_left(finished: tuple[Sweep, dict[str, Any]]) -> None:
    sweep, _ = finished
    kept = {"sweep.yaml", "journal.jsonl", "sweep.json", "best.yaml", "events.jsonl", "workers", ".claim", ".append"}
    assert {path.name for path in sweep.folder.iterdir()} - {"report.html"} == kept
    assert list((sweep.folder / "workers").iterdir()) == []


def test_the_report_shows_the_trials_and_the_winner(finished: tuple[Sweep, dict[str, Any]]) -> None:
    sweep, _ = finished
    page = write_report(Run(sweep.folder)).read_text(encoding="utf-8")
    assert "How was it chosen?" in page
    assert "3 trials" in page
    assert "What is not here" not in page
    assert "not finite" in page


def test_the_same_name_goes_on_and_another_sweep_of_that_name_is_refused(
    finished: tuple[Sweep, dict[str, Any]], stage: Place
) -> None:
    sweep, _ = finished
    recipe = asked(stage, sweep.folder.parent, "name=done")
    assert begin(recipe, sweep.options).folder == sweep.folder
    with pytest.raises(RecipeError, match="holds another sweep"):
        begin(recipe, sweep.options.model_copy(update={"seeds": 4}))


def test_other_data_than_it_began_with_stop_a_sweep(stage: Place, tmp_path: Path) -> None:
    table = tmp_path / "reviews.csv"
    table.write_bytes(stage.table.read_bytes())
    sweep = begin(asked(stage, tmp_path, f"data.train={table}"), make_options({"trials": 1, "space": SPACE}))
    events = sweep_events(sweep)
    next(events)
    events.close()
    table.write_text(table.read_text().replace("good", "poor"))
    with pytest.raises(DataError, match="has changed since the sweep began"):
        done(sweep)


def test_a_sweep_of_which_every_trial_fails_says_why(stage: Place, tmp_path: Path) -> None:
    options = make_options({"sampler": "grid", "space": {"strategy.learning_rate": [1e37, 1e38]}})
    with pytest.raises(TrainingError, match="none of 2 trials could be scored.*not finite"):
        done(begin(asked(stage, tmp_path), options))


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.81, 0.84, 0.80, 0.86]
    told = ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values, 0.95) == pytest.approx((told.low, told.high))
    assert t_interval([0.8, 0.8], 0.95) == (None, None)
    assert t_interval([0.8], 0.95) == (None, None)


def _scored(place: int, value: float, point: dict[str, Any]) -> Record:
    found = {
        "value": value,
        "low": value,
        "high": value,
        "signed": value,
        "tie": -1.0,
        "epoch": 1.0,
        "step": 1,
        "seconds": 1.0,
    }
    return Record(place, point, "complete", found)


def _composed(own: list[float], best: list[float]) -> dict[str, Any]:
    search = [_scored(0, 0.9, {"training.epochs": 5}), _scored(1, 0.7, {"training.epochs": 1})]
    tried = configurations(search, finalists=1)
    runs = [
        _scored(place, value, {"configuration": place % 2, "seed": place // 2})
        for place, value in enumerate(value for pair in zip(own, best, strict=True) for value in pair)
    ]
    about = {"primary": "accuracy", "higher_is_better": True, "rows": {"train": 10, "validation": 10}}
    return compose(about, search, tried, runs, trials=2, seeds=len(own), confidence=0.95)


def test_a_winner_that_is_better_with_every_seed_is_called_better() -> None:
    found = _composed([0.70, 0.71, 0.69], [0.80, 0.82, 0.79])
    assert found["winner"]["point"] == {"training.epochs": 5}
    assert found["comparison"]["verdict"].startswith("better: +0.103")


def test_a_winner_within_the_noise_is_not_called_better() -> None:
    assert "no difference can be shown" in _composed([0.70, 0.80, 0.69], [0.80, 0.71, 0.79])["comparison"]["verdict"]


def test_the_best_trial_does_not_win_if_its_seeds_are_worse_than_the_recipe_as_it_is() -> None:
    found = _composed([0.80, 0.81, 0.79], [0.70, 0.71, 0.69])
    assert found["winner"]["own"]
    assert "nothing" in found["comparison"]["verdict"]


# Kills, signals, several processes


SMALL = {"sampler": "random", "trials": 4, "finalists": 1, "seeds": 2, "space": SPACE}


@pytest.fixture(scope="module")
def unbroken(stage: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The small sweep, done by one process that nobody disturbs."""
    output = tmp_path_factory.mktemp("unbroken")
    return done(begin(*read_sweep(file_of(stage, output, SMALL))))


def _begun(output: Path, states: Callable[[list[str]], bool]) -> Callable[[], Path | None]:
    """The folder of the sweep once its trials are in these states."""

    def looked() -> Path | None:
        for file in output.glob("*/journal.jsonl"):
            told = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
            ops = [f"{line['op_code']}" for line in told]
            if states(ops):
                return file.parent
        return None

    return looked


def _one_done_and_one_begun(ops: list[str]) -> bool:
    """In optuna's journal a trial begins with operation 4 and ends with 6."""
    return ops.count("6") >= 1 and ops.count("4") >= 2 and ops[-1] == "8"


def test_a_killed_sweep_goes_on_and_loses_no_trial(
    stage: Place, tmp_path: Path, unbroken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_STORE", str(tmp_path / "store"))
    file = file_of(stage, tmp_path, SMALL)
    process = launch(tmp_path / "log", "sweep", str(file), "--quiet")
    folder = wait_until(_begun(tmp_path, _one_done_and_one_begun), process)
    os.kill(process.pid, signal.SIGKILL)
    assert ended(process) == -signal.SIGKILL
    assert not (folder / "sweep.json").exists()
    assert table_of(done(find_sweep(folder))) == table_of(unbroken)
    assert _damaged_rows() == 0


def _damaged_rows() -> int:
    """How many rows of all stores are not what they were when they were written."""
    damaged = 0
    for path in store_root().glob("*/store.json"):
        told = read_json(path)
        with Store(store_root(), told["key"], getattr(torch, told["dtype"].removeprefix("torch."))) as store:
            damaged += len(store.missing(list(store._places)))
    return damaged


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_sweep_that_can_go_on(
    stage: Place, tmp_path: Path, unbroken: dict[str, Any], number: signal.Signals, code: int
) -> None:
    file = file_of(stage, tmp_path, SMALL)
    process = launch(tmp_path / "log", "sweep", str(file), "--quiet")
    folder = wait_until(_begun(tmp_path, _one_done_and_one_begun), process)
    os.kill(process.pid, number)
    assert ended_soon(process) == code
    assert (tmp_path / "log").read_text().strip().endswith(f"regraft sweep {folder}")
    assert list((folder / "workers").iterdir()) == []
    assert table_of(done(find_sweep(folder))) == table_of(unbroken)


def test_two_processes_of_which_one_is_killed_give_what_one_gives(
    stage: Place, tmp_path: Path, unbroken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_STORE", str(tmp_path / "store"))
    sweep = begin(*read_sweep(file_of(stage, tmp_path, SMALL)))
    events = sweep_events(sweep, processes=2)
    next(events)  # a trial has ended
    multiprocessing.active_children()[0].kill()
    assert list(events)
    assert table_of(read_json(sweep.results)) == table_of(unbroken)
    assert _damaged_rows() == 0


def test_an_error_in_one_of_several_processes_stops_the_sweep(stage: Place, tmp_path: Path) -> None:
    table = tmp_path / "reviews.csv"
    table.write_bytes(stage.table.read_bytes())
    sweep = begin(asked(stage, tmp_path, f"data.train={table}"), make_options(SMALL))
    table.unlink()
    with pytest.raises((DataError, RecipeError), match="reviews.csv"):
        done(sweep, processes=2)


def test_losses_that_do_not_go_together_are_found_before_any_trial(stage: Place, tmp_path: Path) -> None:
    options = make_options({"space": {"task.loss": ["auto", "focal"], "task.label_smoothing": [0.0, 0.1]}})
    with pytest.raises(RecipeError, match="label_smoothing"):
        begin(asked(stage, tmp_path), options)


def test_a_sweep_that_is_given_fewer_trials_later_still_ends(stage: Place, tmp_path: Path) -> None:
    sweep = begin(*read_sweep(file_of(stage, tmp_path, SMALL)))
    assert done(sweep)["finished"]
    fewer = replace(sweep, options=sweep.options.model_copy(update={"trials": 2}))
    assert done(fewer)["finished"]


def test_data_that_change_between_two_seeds_stop_a_sweep(stage: Place, tmp_path: Path) -> None:
    table = tmp_path / "reviews.csv"
    table.write_bytes(stage.table.read_bytes())
    recipe, bench = asked(stage, tmp_path, f"data.train={table}", "data.split.seed=0"), Bench()
    prepared = bench.untouched(recipe)
    bench.require_data(prepared, data_digest(prepared))
    table.write_bytes(b"".join(stage.table.read_bytes().splitlines(keepends=True)[:-5]))
    with pytest.raises(DataError, match="has changed since the sweep began"):
        bench.untouched(recipe.model_copy(update={"seed": 8}))


def test_make_recipe_knows_nothing_of_sweeps(stage: Place, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="sweep"):
        make_recipe({**asked(stage, tmp_path).model_dump(mode="json"), "sweep": {}})
