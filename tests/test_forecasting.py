"""A forecast: measured on the run's own batches, without a trace, and larger where there is more to do."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from regraft.data.batches import padded
from regraft.errors import Interrupted
from regraft.fingerprint import tensors_sha256
from regraft.forecasting import Forecast, PhaseForecast, choose, forecast, foresee, nearest
from regraft.forecasting.comparison import compare, variants
from regraft.forecasting.sample import choose_sample, spread, steps_of
from regraft.planning.usage import PARTS, parts, seconds_by_part
from regraft.preparation import Prepared, prepare
from regraft.recipe import make_recipe
from regraft.report.blocks import Note, Section, Table
from regraft.report.material import Material
from regraft.report.sections.forecast import render
from regraft.run import Run
from regraft.testing import WORDS, tiny_model, toy_table

Ready = Callable[..., Prepared]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecasting")
    tiny_model(folder / "model", words=WORDS)
    tiny_model(
        folder / "large",
        words=WORDS,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
    )
    toy_table(folder / "reviews.csv", rows=160)
    return folder


@pytest.fixture
def ready(place: Path, tmp_path: Path) -> Ready:
    def make(*overrides: str, model: str = "model") -> Prepared:
        values = {
            "task": "text-classification",
            "model": str(place / model),
            "data": str(place / "reviews.csv"),
            "training": {"epochs": 3, "precision": "fp32"},
            "evaluation": {"resamples": 100},
            "output": str(tmp_path / "runs"),
        }
        return prepare(make_recipe(values, overrides))

    return make


def test_a_forecast_leaves_everything_as_it_was(ready: Ready, tmp_path: Path) -> None:
    prepared = ready("strategy={name: top-layers, n: 1}")
    model = prepared.pretrained.model
    weights, trains = tensors_sha256(model.state_dict()), [p.requires_grad for p in model.parameters()]
    modes, environment, numbers = [m.training for m in model.modules()], dict(os.environ), torch.get_rng_state()
    store = Path(os.environ["REGRAFT_STORE"])
    kept = sorted(store.rglob("*"))
    forecast(prepared)
    assert tensors_sha256(model.state_dict()) == weights
    assert [p.requires_grad for p in model.parameters()] == trains
    assert [m.training for m in model.modules()] == modes
    assert dict(os.environ) == environment
    assert torch.equal(torch.get_rng_state(), numbers)
    assert list(tmp_path.rglob("*")) == []
    assert sorted(store.rglob("*")) == kept


def test_it_can_be_stopped_and_leaves_nothing_then(ready: Ready, tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted(2, "stopped by SIGINT")

    with pytest.raises(Interrupted, match="nothing but a forecast") as stopped:
        forecast(ready(), poll=stop)
    assert "resume" not in str(stopped.value)
    assert list(tmp_path.rglob("*")) == []


def test_it_counts_reading_and_every_part(ready: Ready) -> None:
    found = forecast(ready(), reading=5.0)
    assert list(found.parts) == ["reading", *PARTS]
    assert found.parts["reading"] == 5.0
    assert all(found.parts[part] > 0 for part in ("preparing", "training", "validation", "saving", "evaluation"))
    assert found.seconds == pytest.approx(sum(found.parts.values()), abs=0.01)
    assert min(found.memory, found.disk["checkpoints"], found.disk["model"], found.spent) > 0


def test_nothing_is_stored_where_everything_trains(ready: Ready) -> None:
    (phase,) = forecast(ready("strategy.name=full")).phases
    assert (phase.blocks, phase.from_rows, phase.stored, phase.bytes, phase.filling) == (0, False, False, 0, 0.0)
    assert "embeddings" in phase.above


@pytest.mark.parametrize(("strategy", "blocks"), [("{name: top-layers, n: 1}", 1), ("linear-probe", 2)])
def test_what_is_frozen_is_stored(ready: Ready, strategy: str, blocks: int) -> None:
    override = f"strategy={strategy}"
    found = forecast(ready(override))
    (phase,) = found.phases
    assert (phase.blocks, phase.depth, phase.from_rows, phase.stored) == (blocks, 2, True, True)
    assert phase.filling > 0
    assert phase.bytes == found.disk["store"] > 0


@pytest.mark.parametrize("strategy", ["logistic", "knn"])
def test_a_fit_takes_its_time_too(ready: Ready, strategy: str) -> None:
    (phase,) = forecast(ready(f"strategy={strategy}")).phases
    assert phase.epoch > 0


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("training.epochs=1", "read once"),
        ("cache.store=never", "cache.store=never"),
        ("cache.max_gb=0.000001", "cache.max_gb allows"),
    ],
)
def test_it_says_why_nothing_is_stored(ready: Ready, override: str, why: str) -> None:
    found = forecast(ready("strategy={name: top-layers, n: 1}", override))
    (phase,) = found.phases
    assert phase.from_rows
    assert not phase.stored
    assert why in phase.reason
    assert (phase.bytes, phase.filling, found.disk["store"]) == (0, 0.0, 0)


def test_a_larger_model_takes_more_memory_and_time(ready: Ready) -> None:
    small, large = forecast(ready()), forecast(ready(model="large"))
    assert large.parts["training"] > 2 * small.parts["training"]
    assert large.disk["checkpoints"] > 10 * small.disk["checkpoints"]
    assert large.memory > small.memory + large.disk["checkpoints"] / 12  # at least the weights more


def test_more_epochs_take_longer_in_proportion(ready: Ready) -> None:
    few, many = forecast(ready("training.epochs=2")), forecast(ready("training.epochs=40"))
    assert 5 < many.parts["training"] / few.parts["training"] < 60


def test_early_stopping_makes_it_an_upper_bound(ready: Ready) -> None:
    assert "early_stopping=2" in forecast(ready("training.early_stopping=2")).notes[0]


def test_a_sample_holds_the_smallest_and_the_largest_batch(ready: Ready) -> None:
    prepared = ready("training.batch_size=4")
    sample = choose_sample(prepared)
    lengths = prepared.rows.lengths
    steps, shapes = steps_of(prepared, 1)
    assert 0 < len(sample.train) < len(lengths)
    longest = max(lengths[place] for place in sample.train)
    assert padded(longest, prepared.rows.limit) == max(size for _, size in shapes)
    assert len(steps[0]) == -(-len(lengths) // 4)


def test_a_spread_is_even_and_has_both_ends() -> None:
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread(range(3), 8) == [0, 1, 2]


def test_every_strategy_is_compared_and_the_asked_one_comes_first(ready: Ready) -> None:
    found = [recipe.strategy for recipe in variants(ready("strategy={name: top-layers, n: 2}"))]
    assert (found[0].name, found[0].own().get("n")) == ("top-layers", 2)
    assert {"full", "linear-probe", "top-layers"} <= {strategy.name for strategy in found}
    assert sorted(s.own()["n"] for s in found if s.name == "top-layers") == [1, 2]


def test_a_comparison_can_be_stopped_and_leaves_nothing_then(ready: Ready, tmp_path: Path) -> None:
    """The first call comes while a process of its own is at work."""

    def stop() -> None:
        if len(multiprocessing.active_children()) and list(tmp_path.rglob("*")):
            raise Interrupted(2, "stopped by SIGINT")

    with pytest.raises(Interrupted):
        list(compare(ready(), poll=stop))
    assert multiprocessing.active_children() == []
    assert list(tmp_path.rglob("*")) == []


def _made(name: str, *, trains: int, seconds: float, memory: int = 1) -> Forecast:
    phase = PhaseForecast(1, 0, 2, "x", False, False, "", 0, 0.0, seconds, seconds)
    return Forecast(name, {}, trains, 100, [phase], {}, seconds, memory, {}, 0.0)


FORECASTS = [
    _made("probe", trains=1, seconds=10),
    _made("slow", trains=50, seconds=100),
    _made("quick", trains=50, seconds=80, memory=5),
    _made("full", trains=100, seconds=1000, memory=9),
]


@pytest.mark.parametrize(
    ("seconds", "memory", "name"),
    [(None, None, "full"), (500, None, "quick"), (500, 4, "slow"), (20, None, "probe"), (None, 5, "quick")],
)
def test_the_one_that_trains_most_within_the_budget_is_chosen(
    seconds: float | None, memory: float | None, name: str
) -> None:
    chosen = choose(FORECASTS, seconds=seconds, memory=memory)
    assert chosen is not None
    assert chosen.strategy == name


def test_where_none_fits_the_nearest_is_named() -> None:
    assert choose(FORECASTS, seconds=5) is None
    assert nearest(FORECASTS, seconds=5).strategy == "probe"


def test_seconds_by_part_are_read_from_the_events_of_a_run() -> None:
    clock = {
        "start": 0,
        "fill": 1,
        "execution": 4,
        "step": 5,
        "validation": 7,
        "checkpoint": 8,
        "frozen": 9,
        "saved": 12,
    }
    history = [{"event": name, "time": f"2026-01-01T00:00:{second:02d}+00:00"} for name, second in clock.items()]
    again = [
        {"event": "resume", "time": "2026-01-01T05:00:00+00:00"},
        {"event": "end", "time": "2026-01-01T05:00:02+00:00"},
    ]
    assert seconds_by_part([*history, *again]) == {
        "preparing": 2.0, "filling": 3.0, "training": 1.0, "validation": 2.0, "saving": 1.0, "evaluation": 5.0
    }  # fmt: skip


def _report(folder: Path, *, fact: dict[str, float], peak: int) -> Section | None:
    plan = {"forecast": {"parts": {"reading": 3.0, "training": 100.0, "filling": 20.0}, "memory": 1_000_000_000}}
    end = {"event": "end", "parts": fact, "peak_memory": peak} if fact else {"event": "end", "seconds": 1.0}
    return render(Material(Run(folder), plan=plan, events=[end]))


def test_a_step_that_was_left_out_is_one_step() -> None:
    gaps = [("execution", 1.0), ("skipped", 0.5), ("step", 0.25), ("step", 0.5), ("validation", 2.0)]
    found = list(parts(gaps))
    assert found == [("preparing", 1.0), ("training", 0.75), ("training", 0.5), ("validation", 2.0)]


def test_the_report_shows_forecast_beside_fact(tmp_path: Path) -> None:
    section = _report(tmp_path, fact={"training": 110.0, "filling": 16.0}, peak=900_000_000)
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    told = {row[0]: row[1:] for row in table.rows}
    assert told["Filling the store"] == ["20.0 s", "16.0 s", "+25\N{NO-BREAK SPACE}%"]
    assert told["In all"] == ["2 min 0 s", "2 min 6 s", "\N{MINUS SIGN}5\N{NO-BREAK SPACE}%"]
    assert told["Memory at its peak"][:2] == ["1.00 GB", "900 MB"]


def test_the_report_owns_up_to_a_forecast_that_was_wrong(tmp_path: Path) -> None:
    section = _report(tmp_path, fact={"training": 300.0}, peak=900_000_000)
    assert section is not None
    assert any(isinstance(block, Note) and "time was more than 25" in block.text for block in section.blocks)


def test_the_report_says_nothing_where_nothing_was_foreseen_or_recorded(tmp_path: Path) -> None:
    assert _report(tmp_path, fact={}, peak=0) is None
    assert render(Material(Run(tmp_path), events=[{"event": "end", "parts": {"training": 1.0}}])) is None


def test_only_a_run_that_looks_long_is_foreseen_unasked(ready: Ready) -> None:
    prepared = ready()
    assert foresee(prepared) is prepared
    told = foresee(prepared, always=True).plan.forecast
    assert told is not None
    assert told["seconds"] > 0


def test_a_long_run_is_not_foreseen_where_that_takes_a_tenth_of_it(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.forecasting.extrapolation._LONG", 0.0)
    short, long = ready("training.epochs=1"), ready("training.epochs=100")
    assert foresee(short) is short
    assert foresee(long).plan.forecast is not None
