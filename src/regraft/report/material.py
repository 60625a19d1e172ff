"""The material of a report: what a run folder holds. Every file but the recipe may be missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from regraft.errors import RegraftError
from regraft.recipe import parse_yaml
from regraft.report.album import Album
from regraft.report.recordings import Recordings
from regraft.run import Run, read_json

_WRITTEN = {
    "plan.json": "written when a run begins",
    "events.jsonl": "written while a model is tuned",
    "quality.json": "written when a run begins, unless quality=off",
    "scores.json": "written at the end of a run, or by `regraft evaluate`",
    "predictions.parquet": "written at the end of a run, or by `regraft evaluate`",
}

_KINDS = {
    "object-detection": "boxes",
    "image-segmentation": "masks",
    "translation": "translations",
    "automatic-speech-recognition": "transcripts",
    "text-to-speech": "speech",
}
TEXTS = ("translations", "completions", "passages", "transcripts")  # kinds of answers that are written
_OF_SOUNDS = ("automatic-speech-recognition", "audio-classification")
_UNITS = {"translations": "text", "passages": "text", "speech": "text", "completions": "prompt"}


@dataclass(frozen=True)
class Material:
    """What was found. ``missing`` says of each file that was not, or is damaged, what that means."""

    run: Run
    recipe_text: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    predictions: pa.Table | None = None
    missing: list[str] = field(default_factory=list)
    album: Album = field(default_factory=Album)
    recordings: Recordings = field(default_factory=Recordings)

    def last(self, event: str) -> dict[str, Any]:
        """The newest event of a name, or nothing."""
        return next((each for each in reversed(self.events) if each.get("event") == event), {})

    def all(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each.get("event") == event]

    def by_step(self, event: str) -> list[dict[str, Any]]:
        """Events in the order of their steps; of a step that was done again after a resume, the later."""
        found = {each["step"]: each for each in self.all(event) if isinstance(each.get("step"), int)}
        return [found[step] for step in sorted(found)]

    @property
    def kind(self) -> str | None:
        """The kind of answers: classes, labels, numbers, boxes, masks, one of ``TEXTS``, or speech."""
        found = self.scores.get("kind") or _KINDS.get(self.task)
        if found is None and self.task == "text-generation":
            return "passages" if "text" in self.columns else "completions"
        if found is None and self.plan.get("data"):
            return "numbers" if self.plan["data"].get("targets") else None
        return found

    @property
    def columns(self) -> list[str]:
        """The names of the columns that were read, as the task calls them."""
        return list((self.plan.get("data") or {}).get("columns") or {})

    @property
    def of_images(self) -> bool:
        """Whether the inputs are images, which the predictions name by their paths."""
        if self.predictions is not None:
            return "image" in self.predictions.column_names
        return self.task.startswith("image-") or self.kind in {"boxes", "masks"}

    @property
    def of_sounds(self) -> bool:
        """Whether the inputs are sounds, which the predictions name by their paths."""
        if self.predictions is not None:
            return "audio" in self.predictions.column_names
        return self.task in _OF_SOUNDS

    @property
    def unit(self) -> str:
        """What an example is called."""
        if self.of_images or self.of_sounds:
            return "image" if self.of_images else "recording"
        if self.kind == "completions" and "messages" in self.columns:
            return "conversation"
        return _UNITS.get(self.kind or "", "row")

    @property
    def labels(self) -> list[str]:
        return [str(label) for label in self.scores.get("labels") or []]

    @property
    def primary(self) -> str | None:
        named = (self.recipe.get("evaluation") or {}).get("primary")
        return self.scores.get("primary") or named

    @property
    def baselines(self) -> dict[str, dict[str, Any]]:
        """The scores of the baselines, first the one that knows most: the linear probe sees the inputs."""
        found = self.scores.get("baselines") or {}
        return {name: found[name] for name in sorted(found, key=lambda name: (name != "linear_probe", name))}

    @property
    def task(self) -> str:
        return str((self.recipe.get("task") or {}).get("name", "unknown task"))


def read_material(run: Run) -> Material:
    """Read whatever is there."""
    if (run.folder / "sweep.json").is_file():
        return _of_sweep(run)
    missing: list[str] = []
    text = _read(missing, "recipe.yaml", lambda: run.recipe.read_text(encoding="utf-8"), "")
    return Material(
        run=run,
        recipe_text=text,
        recipe=_mapping(_read(missing, "recipe.yaml", lambda: parse_yaml(text, origin="recipe.yaml"), {})),
        plan=_mapping(_read(missing, "plan.json", lambda: read_json(run.plan), {}, there=run.plan.exists())),
        events=_read(missing, "events.jsonl", run.history, [], there=run.events.exists()),
        scores=_mapping(_read(missing, "scores.json", lambda: read_json(run.scores), {}, there=run.scores.exists())),
        quality=_mapping(_read([], "quality.json", lambda: read_json(run.quality), {}, there=run.quality.exists())),
        predictions=_read(
            missing, "predictions.parquet", lambda: pq.read_table(run.predictions), None, there=run.predictions.exists()
        ),
        missing=missing,
    )


def _of_sweep(run: Run) -> Material:
    """The folder of a sweep has other files, which its section reads."""
    missing: list[str] = []
    asked = run.folder / "sweep.yaml"
    recipe = _read(missing, asked.name, lambda: parse_yaml(asked.read_text(encoding="utf-8"), origin=asked.name), {})
    return Material(run=run, recipe=_mapping(recipe), events=run.history(), missing=missing)


def _read(missing: list[str], name: str, read: Callable[[], Any], otherwise: Any, *, there: bool = True) -> Any:
    if not there:
        missing.append(f"{name} is not here ({_WRITTEN[name]})")
        return otherwise
    try:
        return read()
    except (OSError, ValueError, RegraftError) as error:
        missing.append(f"{name} cannot be read: {str(error).splitlines()[0]}")
        return otherwise


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
