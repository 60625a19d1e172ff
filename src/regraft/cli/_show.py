"""Plans and scores as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST_NAMED = 6  # parameters in a line


def scores_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """The scores beside those of the baselines, each with its interval; then the verdict."""
    from regraft.evaluation.metrics import spoken

    names = ["tuned", *scores["baselines"]]
    systems = [scores["test"], *scores["baselines"].values()]
    percent = f"{scores['confidence']:.0%}" if scores.get("confidence") else ""
    rows = [[f"test, {scores['rows']:,} rows", *(name.replace("_", " ") for name in names)]]
    for metric in scores["test"]:
        mark = " *" if metric == scores["primary"] else ""
        rows.append([spoken(metric) + mark, *(_estimate(system.get(metric)) for system in systems)])
    yield from columns(rows)
    yield f"* decides; in brackets the {percent} interval over the test rows"
    comparison = scores.get("comparison")
    if comparison:
        yield f"\n{comparison['verdict'][0].upper()}{comparison['verdict'][1:]}"


def soup_lines(folder: object, runs: Sequence[str], scores: Mapping[str, Any]) -> Iterator[str]:
    """What a mean of runs is worth beside each of them; a difference is turned so that positive is better."""
    primary = scores["primary"]
    rows = [[f"test, {scores['rows']:,} rows", primary.replace("_", " "), "the mean is better by", "p"]]
    rows.append(["mean", _estimate(scores["test"][primary]), "", ""])
    for each in scores["comparisons"]:
        name, gap = each["baseline"], {"value": each["difference"], "low": each["low"], "high": each["high"]}
        mark = "" if name in runs else " (left out)"
        p = "–" if each["p"] is None else f"{each['p']:.2g}"
        rows.append([f"{name}{mark}", _estimate(scores["baselines"][name][primary]), _estimate(gap), p])
    yield from columns(rows)
    yield f"\nmodel   {folder}"


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """The tree of parts with what is frozen, what trains and how fast; then the rest of the plan."""
    model, data, parameters = plan["model"], plan["data"], plan["parameters"]
    yield f"{model['name']} ({model['class']}), strategy {plan['strategy']['name']}"
    if plan.get("choice"):
        yield f"  {plan['choice']}"
    rows = [["part", "parameters", "trains", "learning rate"]]
    for part in _folded(plan["tree"]):
        rows.append(
            [
                part["name"],
                f"{part['parameters']:,}",
                _trains(part),
                _rate(part["learning_rate"] if part["trainable"] else None),
            ]
        )
    share = parameters["trainable"] / max(1, parameters["total"])
    rows.append(["in all", f"{parameters['total']:,}", f"{parameters['trainable']:,} ({share:.1%})", ""])
    yield from (f"  {line}" for line in columns(rows))
    if model["new"]:
        yield f"new        {_named(model['new'])} (no checkpoint holds them; they start from random numbers)"
    yield f"loss       {plan['loss']['name']}: {plan['loss']['reason']}"
    yield f"precision  {plan['precision']['name']} on {plan['precision']['device']}: {plan['precision']['reason']}"
    yield f"data       {data['train']:,} to learn from, {data['validation']:,} to choose, {data['test']:,} to score on"
    yield f"columns    {', '.join(f'{ours} = {theirs!r}' for ours, theirs in data['columns'].items())}"
    yield f"steps      {plan['steps']:,}"
    if data["bad_rows"]:
        yield f"left out   {len(data['bad_rows'])} bad rows, the first: {_bad(data['bad_rows'][0])}"
    for note in [*data["notes"], *plan["notes"]]:
        yield f"note       {note}"
    if plan.get("forecast"):
        yield from forecast_lines(plan["forecast"])


def forecast_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """How each phase would be computed, and what the run would take."""
    for number, phase in enumerate(told["phases"], start=1):
        which = f"phase {number}    " if len(told["phases"]) > 1 else "frontier   "
        yield f"{which}{_frontier(phase)}"
        yield f"store      {_stored(phase)}"
    disk = {what: size for what, size in told["disk"].items() if size}
    yield f"disk       {', '.join(f'{what} {size_of(size)}' for what, size in disk.items())}"
    yield f"memory     {size_of(told['memory'])} at the peak"
    epochs = " / ".join(f"{counted(phase['epochs'], 'epoch')} of {clock(phase['epoch'])}" for phase in told["phases"])
    yield f"time       {clock(told['seconds'])} in all, with {epochs}"
    yield from columns([["", *told["parts"]], ["          ", *(clock(each) for each in told["parts"].values())]])
    yield f"           (measured in {clock(told['spent'])} on a few real batches, nothing of which is kept)"
    yield from (f"note       {note}" for note in told["notes"])


def comparison_table(forecasts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Forecasts side by side."""
    rows = [["strategy", "trains", "", "frontier", "stored", "disk", "memory", "fill", "epoch", "in all"]]
    for told in forecasts:
        phases = told["phases"]
        first = phases[0]
        rows.append(
            [
                strategy_title(told),
                f"{told['trainable']:,}",
                f"{told['trainable'] / max(1, told['total']):.1%}",
                " / ".join(f"{phase['blocks']} of {phase['depth']}" for phase in phases),
                _why(first) if not any(phase["stored"] for phase in phases) else size_of(told["disk"]["store"]),
                size_of(sum(told["disk"].values())),
                size_of(told["memory"]),
                clock(sum(phase["filling"] for phase in phases)),
                " / ".join(clock(phase["epoch"]) for phase in phases),
                clock(told["seconds"]),
            ]
        )
    yield from columns(rows)


def strategy_title(told: Mapping[str, Any]) -> str:
    """A strategy with the option that says how much trains."""
    number = told["options"].get("n")
    return str(told["strategy"]) if number is None else f"{told['strategy']} n={number}"


def clock(seconds: float) -> str:
    """A time as people read it."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def size_of(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _frontier(phase: Mapping[str, Any]) -> str:
    if phase["blocks"] == 0:
        return f"nothing below it is frozen: {phase['above']} trains"
    return f"{phase['blocks']} of {phase['depth']} blocks are frozen, up to {phase['above']}"


def _stored(phase: Mapping[str, Any]) -> str:
    if phase["stored"]:
        return f"{size_of(phase['bytes'])}, filled once in {clock(phase['filling'])}"
    return f"no: {_why(phase)}"


def _why(phase: Mapping[str, Any]) -> str:
    """Why nothing is stored."""
    if phase["stored"]:
        return "stored"
    if phase["blocks"] == 0:
        return "no frozen blocks"
    return str(phase["reason"].partition("not stored: ")[2] or phase["reason"])


def _bad(row: Mapping[str, Any]) -> str:
    column = f", column {row['column']!r}" if row["column"] else ""
    return f"{row['file']}, row {row['row']}{column}: {row['reason']}"


def _folded(tree: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Neighbouring blocks that are treated alike become one line."""
    run: list[Mapping[str, Any]] = []
    for part in [*tree, {"name": ""}]:
        alike = (
            run
            and part["name"].startswith("blocks[")
            and _treatment(part) == _treatment(run[-1])
            and run[-1]["name"].startswith("blocks[")
        )
        if run and not alike:
            yield _together(run)
            run = []
        run.append(part)


def _treatment(part: Mapping[str, Any]) -> tuple[Any, ...]:
    return (part.get("trainable"), part.get("parameters"), str(part.get("learning_rate")))


def _together(run: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, last = run[0]["name"], run[-1]["name"]
    return {
        "name": first if len(run) == 1 else f"{first} … {last}",
        "parameters": sum(part["parameters"] for part in run),
        "trainable": sum(part["trainable"] for part in run),
        "learning_rate": run[0]["learning_rate"],
    }


def _trains(part: Mapping[str, Any]) -> str:
    if part["trainable"] == 0:
        return "frozen" if part["learning_rate"] is None else "keeps rows"
    return "all" if part["trainable"] == part["parameters"] else f"{part['trainable']:,}"


def _rate(rates: Sequence[float] | None) -> str:
    if rates is None:
        return ""
    low, high = rates
    if high == 0:
        return "fitted"
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["low"] is None:
        return _number(estimate["value"])
    return f"{_number(estimate['value'])} [{_number(estimate['low'])}, {_number(estimate['high'])}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.5g}"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of cells as lines whose cells stand below one another."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _named(parameters: Sequence[str]) -> str:
    """Parameters by their names; many of them by what they lie in."""
    if len(parameters) <= _MOST_NAMED:
        return ", ".join(parameters)
    count = Counter(name.split(".", 1)[0] for name in parameters)
    return ", ".join(f"{count[part]:,} in {part}" for part in count)


def untouched(values: dict[str, Any]) -> str:
    """That the best weights are those of an earlier phase, and what this means."""
    best, of, tensors = values["phase"], values["phases"], values["tensors"]
    return (
        f"the best weights are those of phase {best} of {of}: the {tensors:,} tensors that train only later "
        "are as they were before tuning"
    )


def counted(number: int, what: str) -> str:
    """So many of something."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
