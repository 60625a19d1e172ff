"""Real runs of tiny models, one for each cell of what can be combined; found by name, so a new file is picked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regraft import Outcome, Recipe, Tuned, make_recipe, prepare, tune
from regraft.preparation import Prepared
from regraft.recipe import StrategyOptions, TaskOptions
from regraft.sources import usual_head
from regraft.strategies import strategy_class, strategy_names
from regraft.tasks import Task, WritingTask, make_task, task_names
from regraft.tasks._images import ImageTask
from regraft.tasks._sounds import SoundTask
from regraft.tasks.text_to_speech import TextToSpeech
from regraft.testing import (
    DETECTORS,
    FAMILIES,
    IMAGE_FAMILIES,
    LANGUAGE_MODELS,
    LISTENERS,
    SEGMENTERS,
    TRANSLATORS,
    VOICES,
    WORDS,
    tiny_model,
    toy_images,
    toy_sounds,
    toy_table,
)

# Which made-up tables hold a target of that name. A task that reads another one needs a table in regraft.testing.
_TABLES = {
    "label": ("classes", "labels", "pairs"),
    "score": ("numbers",),
    "target": ("translations",),
    None: ("completions", "conversations", "passages"),  # a language model's, which tells by the columns
}
# Strategies that change few numbers: one table of each task but speech, which takes long, and a few families show what
# they do. The others are tried on every table and every family of texts.
_VIRTUAL = ("prompt-tuning", "prefix-tuning", "p-tuning")
_FEW_LABELS = ("logistic", "knn", "contrastive", "gradual-unfreezing", "surgical")
_SLIGHT = ("auto", "bitfit", "norm-tuning", "adapter", *_VIRTUAL, *_FEW_LABELS)
_PHASED = ("probe-then-tune", "gradual-unfreezing", "auto")
_SHOWN = ("bert", "gpt2", "llama")
_SPEECH = {"audio": ("speech",)}
_SOUNDS = {"label": ("classes",), "text": ("transcripts",)}
_IMAGES = {"label": ("classes", "labels"), "score": ("numbers",), "objects": ("boxes",), "mask": ("masks",)}


@dataclass(frozen=True)
class Cell:
    """One combination."""

    task: str
    table: str
    strategy: str = "full"
    family: str = ""
    head: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", self.family or self._usual_family())
        object.__setattr__(self, "head", self.head or self._usual_head())

    def _usual_head(self) -> str:
        return usual_head(self.made, strategy_class(StrategyOptions(name=self.strategy)))

    def _usual_family(self) -> str:
        if self.speaks:
            return "piper_vits"
        if self.of_sounds:
            return "whisper"
        if self.writes:
            return "gpt2-lm" if self.table in _TABLES[None] else "marian"
        return "vit" if self.of_images else "bert"

    @property
    def made(self) -> Task:
        """Its task."""
        return make_task(TaskOptions(name=self.task))

    @property
    def of_images(self) -> bool:
        """Whether it reads images."""
        return isinstance(self.made, ImageTask)

    @property
    def of_sounds(self) -> bool:
        """Whether it reads sounds."""
        return isinstance(self.made, SoundTask)

    @property
    def made_of_sounds(self) -> bool:
        """Whether its table names sounds."""
        return self.of_sounds or self.speaks

    @property
    def speaks(self) -> bool:
        """Whether its answers are sounds."""
        return isinstance(self.made, TextToSpeech)

    @property
    def writes(self) -> bool:
        """Whether its answers are texts."""
        return isinstance(self.made, WritingTask)

    @property
    def adapts(self) -> bool:
        """Whether its strategy puts adapters into the model."""
        return self.strategy in ("lora", "ia3", "adapter", *_VIRTUAL)

    def __str__(self) -> str:
        return f"{self.task}-{self.table}-{self.strategy}-{self.family}-{self.head}"


def tables_of(task: str) -> tuple[str, ...]:
    """The tables that a task can learn from."""
    made = make_task(TaskOptions(name=task))
    target = next((column.name for column in made.columns() if column.role == "target"), None)
    tables = next(
        (tables for kind, tables in ((ImageTask, _IMAGES), (SoundTask, _SOUNDS), (TextToSpeech, _SPEECH))
         if isinstance(made, kind)), _TABLES,
    )  # fmt: skip
    assert target in tables, f"{task} reads a target {target!r}: add a table for it to regraft.testing and here"
    return tables[target]


def _tried(cell: Cell) -> bool:
    """Whether a combination is among the cells: it is not refused, and if of ``_SLIGHT``, among those that show it."""
    slight = cell.strategy in _SLIGHT
    usual = Cell(cell.task, cell.table).family
    shown = cell.table == tables_of(cell.task)[0] and cell.family in (*_SHOWN, usual) and not cell.speaks
    return not _refused(cell) and (shown or not slight)


def _refused(cell: Cell) -> bool:
    """Whether a strategy does not fit; that it is then refused is tested where the strategies are."""
    return (
        ("probe" in cell.strategy and cell.writes)  # no head that is new
        or (cell.adapts and cell.speaks)  # voices take no adapters
        or (cell.strategy == "bitfit" and cell.family == "llama")  # it has no biases
        or (cell.strategy in _VIRTUAL and (cell.of_images or cell.of_sounds))  # they stand before words
        or not _learnable(cell)
        or (cell.strategy == "prefix-tuning" and cell.family == "marian")  # it has two kinds of attention
    )


def _learnable(cell: Cell) -> bool:
    """Whether answers of that kind are what its strategy can learn; the tables of these are named for the kind."""
    kinds = strategy_class(StrategyOptions(name=cell.strategy)).answers
    return not kinds or {"pairs": "classes"}.get(cell.table, cell.table) in kinds


TABLES = [(task, table) for task in task_names() for table in tables_of(task)]
BY_TASK = [
    cell
    for task, table in TABLES
    for cell in (Cell(task, table, strategy) for strategy in strategy_names())
    if _tried(cell)
]
BY_FAMILY = [
    *filter(_tried, (Cell("text-classification", "classes", s, f) for f in FAMILIES for s in strategy_names())),
    *(
        Cell("image-classification", "classes", s, family)
        for family in IMAGE_FAMILIES
        for s in ("full", "linear-probe")
    ),
    *(Cell("object-detection", "boxes", s, family) for family in DETECTORS for s in ("full", "top-layers")),
    *(Cell("image-segmentation", "masks", s, family) for family in SEGMENTERS for s in ("full", "top-layers")),
    *(Cell("translation", "translations", s, family) for family in TRANSLATORS for s in ("full", "top-layers")),
    *(Cell("text-generation", "completions", s, family) for family in LANGUAGE_MODELS for s in ("full", "top-layers")),
    *(Cell("automatic-speech-recognition", "transcripts", s, f) for f in LISTENERS for s in ("full", "top-layers")),
    *(Cell("audio-classification", "classes", s, family) for family in LISTENERS for s in ("full", "linear-probe")),
    *(Cell("text-to-speech", "speech", s, family) for family in VOICES for s in ("full", "top-layers")),
]
BY_HEAD = [
    *(
        Cell(task, table, head="mean")
        for task, table in TABLES
        if not (Cell(task, table).of_images or Cell(task, table).made_of_sounds or Cell(task, table).writes)
    ),
    *(Cell("automatic-speech-recognition", "transcripts", "linear-probe", family, "graft") for family in LISTENERS),
    *(Cell("audio-classification", "classes", "full", family, "graft") for family in LISTENERS),
    *(Cell("text-classification", "classes", "top-layers", family, "mean") for family in FAMILIES),
]
CELLS = list(dict.fromkeys([*BY_TASK, *BY_FAMILY, *BY_HEAD]))


def _split(cell: Cell) -> dict[str, float]:
    """Without validation rows where there are several phases: the best weights may be those of the first."""
    phased = cell.strategy in _PHASED
    return {"train": 0.8, "validation": 0.0 if phased else 0.1, "test": 0.2 if phased else 0.1}


class Runs:
    """Makes a run when it is first asked for, and keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[Cell, Outcome] = {}
        self._prepared: dict[Cell, Prepared] = {}
        self._loaded: dict[Cell, Tuned] = {}

    def __getitem__(self, cell: Cell) -> Outcome:
        if cell not in self._done:
            self._done[cell] = tune(self.recipe(cell))
        return self._done[cell]

    def prepared(self, cell: Cell) -> Prepared:
        """What a run began with."""
        if cell not in self._prepared:
            self._prepared[cell] = prepare(self.recipe(cell))
        return self._prepared[cell]

    def loaded(self, cell: Cell) -> Tuned:
        """The saved model of a run."""
        if cell not in self._loaded:
            self._loaded[cell] = Tuned.load(self[cell].run.folder)
        return self._loaded[cell]

    def recipe(self, cell: Cell, *overrides: str) -> Recipe:
        """A recipe that takes a fraction of a second; overrides are as on the command line."""
        options = {"n": 1} if cell.strategy in ("top-layers", "surgical") else {}
        varied = {"augmentation": {"policy": "light", "geometry": cell.table != "numbers"}} if cell.of_images else {}
        varied = {"augmentation": "light"} if cell.of_sounds else varied
        return make_recipe(
            {
                "task": {"name": cell.task, **(self.listeners() if cell.speaks else {})},
                "data": {"train": str(self.table(cell)), "split": _split(cell)},
                "model": {"name": str(self.model(cell.family)), "head": cell.head},
                "strategy": {"name": cell.strategy, **options},
                "training": {"epochs": 2 if cell.strategy in _PHASED else 1, "batch_size": 8, "precision": "fp32"},
                **varied,
                "evaluation": {"baselines": False, "resamples": 100},
                "quality": "off",
                "output": str(self.folder / "runs"),
                "name": str(cell),
            },
            overrides,
        )

    def listeners(self) -> dict[str, str]:
        """Who judges speech: somebody who hears words, and nobody who knows voices."""
        return {"listener": str(self.model("whisper")), "speaker": "none"}

    def table(self, cell: Cell) -> Path:
        """The table that a cell learns from."""
        if cell.made_of_sounds:
            folder = self.folder / "sounds" / cell.table
            return folder if folder.exists() else toy_sounds(folder, kind=cell.table, sounds=40)
        if not cell.of_images:
            file = self.folder / f"{cell.table}.jsonl"
            return file if file.exists() else toy_table(file, kind=cell.table)
        folder = self.folder / "images" / cell.table
        made = folder / "instances.json" if cell.table == "boxes" else folder
        return (
            made
            if folder.exists()
            else toy_images(folder, kind=cell.table, images=60 if cell.table == "numbers" else 30)
        )

    def model(self, family: str) -> Path:
        """A pretrained model of a family."""
        folder = self.folder / "models" / family.replace(", ", "-")
        return folder if folder.exists() else tiny_model(folder, family=family, words=WORDS)
