"""The recipe: all that a user asks for, in one strict model.

Every option of the command line, of the YAML file, of the documentation and of the JSON schema comes from here. The
options of a task and of a strategy belong to their own file; the recipe carries them and ``tune`` has them checked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from regraft.errors import RecipeError


class Section(BaseModel):
    """A part of the recipe: strict types, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class OpenSection(BaseModel):
    """A part whose remaining keys belong to the task or strategy it names, which checks them."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)

    def own(self) -> dict[str, Any]:
        """The keys that are left to the named task or strategy."""
        return dict(self.model_extra or {})


class TaskOptions(OpenSection):
    name: str = Field(description="What is asked of the model, for example text-classification.")


class ModelOptions(Section):
    name: str = Field(
        "",
        description="A model folder, a GGUF file, a hub id, or a packaged model; empty for the task's own: "
        "minilm for classes of texts, efficientnet-lite0 for images, whisper-tiny.en for sounds, joe for voices.",
    )
    revision: str | None = Field(None, description="The commit or tag of a hub model.")
    head: Literal["auto", "own", "mean", "graft"] = Field(
        "auto",
        description="own: the model's own head from transformers, or where it has none, one that is grafted on it. "
        "graft: a grafted one in any case. mean: one linear layer on mean-pooled states. auto: own, or where the "
        "strategy looks at what the last layer is given, the one that is nothing but that layer.",
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="Dropout in all that trains; null for the model's own.")
    bits: Literal[4, 8] | None = Field(
        None,
        description="Keep the linear layers of a model for texts in so many bits a weight, on a GPU with CUDA: they do "
        "not train then, so put something in, as lora does.",
    )


class SplitOptions(Section):
    train: float = Field(
        0.8, gt=0, le=1, description="The share of the rows to learn from; what the others leave, where it is not said."
    )
    validation: float = Field(0.1, ge=0, lt=1, description="The share to choose the best epoch by.")
    test: float = Field(0.1, ge=0, lt=1, description="The share for the final scores.")
    seed: int | None = Field(None, ge=0, description="Draws the sides; null for the recipe's seed.")

    @model_validator(mode="before")
    @classmethod
    def _rest(cls, values: Any) -> Any:
        """Where train is not said, it has what the others leave."""
        if not isinstance(values, Mapping) or "train" in values:
            return values
        others = [values.get(name, cls.model_fields[name].default) for name in ("validation", "test")]
        if not all(isinstance(share, int | float) and not isinstance(share, bool) for share in others):
            return values
        rest = round(1 - sum(others), 12)
        return {**values, "train": float(rest)} if 0 < rest <= 1 else values

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("the fractions of train, validation and test must add up to 1")
        return self


class DataOptions(Section):
    train: str = Field(
        description="The table to learn from: csv, tsv, jsonl or parquet; of images and sounds also a folder."
    )
    validation: str | None = Field(None, description="A table to choose the best epoch by; else a part of train.")
    test: str | None = Field(None, description="A table for the final scores; else a part of train.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="Which column is what, for example {text: review, label: stars}."
    )
    images: str | None = Field(
        None, description="The folder that the paths of files in a table start from; else the table's own."
    )
    split: SplitOptions = Field(default_factory=lambda: SplitOptions())
    group: str | None = Field(None, description="A column whose rows with equal values stay on one side of a split.")
    on_bad_rows: Literal["error", "skip"] = Field("error", description="skip counts them and lists them in the report.")
    encoding: str | None = Field(None, description="The encoding of text files; else UTF-8 or UTF-16, as found.")
    delimiter: str | None = Field(None, description="What separates the cells of a csv; else as found in its header.")
    label_separator: str = Field("|", min_length=1, description="What separates several labels in one cell.")


class StrategyOptions(OpenSection):
    name: str = Field(
        "full",
        description="How to tune. auto chooses; else linear-probe, top-layers, full, probe-then-tune, "
        "gradual-unfreezing, surgical; with very few labels: logistic, knn, contrastive; few numbers of the model: "
        "bitfit, norm-tuning; what is put into it: lora, ia3, adapter, prompt-tuning, prefix-tuning, p-tuning.",
    )
    freeze: list[str] = Field(
        default_factory=list, description='Patterns to freeze, such as "embeddings" or "blocks[:4]".'
    )
    train: list[str] = Field(
        default_factory=list, description='Patterns to train besides, such as "blocks.*.attention".'
    )

    @field_validator("freeze", "train", mode="before")
    @classmethod
    def _one_pattern(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class CheckpointOptions(Section):
    every: int | None = Field(None, ge=1, description="Steps between checkpoints; else at the end of every epoch.")
    keep: int = Field(2, ge=1, description="How many of the newest to keep; the best is always kept.")


# What ``true`` stands for: as the papers have it, but for the first, whose decay is one apart from AdamW's gradient.
_USUAL = {"l2_sp": 30.0, "mixout": 0.7, "r_drop": 1.0, "mixup": 0.2, "reinit": 1}


class RegularizationOptions(Section):
    """What keeps a model from learning few examples by heart. All of it is off where nothing is said."""

    l2_sp: float | None = Field(
        None,
        gt=0,
        description="Decay of pretrained matrices towards where they began, in place of towards 0; times the learning "
        "rate, as weight_decay is (Li et al., 2018). true for 30.",
    )
    mixout: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The share of pretrained weights that are put back in a step, drawn anew in each (Lee et al., "
        "2020). true for 0.7.",
    )
    r_drop: float | None = Field(
        None,
        gt=0,
        description="How much it counts that two passes with other dropout disagree (Wu et al., 2021). true for 1.",
    )
    mixup: float | None = Field(
        None,
        gt=0,
        description="Mixes what the last layer is given of two examples of a pass, in shares of Beta(mixup, mixup) "
        "(Zhang et al., 2018; Verma et al., 2019). true for 0.2.",
    )
    reinit: int | None = Field(
        None,
        ge=1,
        description="So many of the top blocks start again from random numbers (Zhang et al., 2021). true for 1.",
    )

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, values: Any) -> Any:
        """``true`` as the usual value of what it is said of, ``false`` as nothing."""
        if not isinstance(values, Mapping):
            return values
        meant = {True: _USUAL, False: dict[str, Any]()}
        return {
            key: meant[value].get(key) if key in _USUAL and isinstance(value, bool) else value
            for key, value in values.items()
        }

    @property
    def off(self) -> bool:
        """Whether nothing is asked for."""
        return self == RegularizationOptions()


class TrainingOptions(Section):
    epochs: int | None = Field(
        None,
        ge=1,
        description="Passes over the data; null for 3, or on few rows as many as make 300 steps, up to 20.",
    )
    batch_size: int = Field(16, ge=1, description="Examples per optimizer step, however many passes that takes.")
    accumulation: int = Field(1, ge=1, description="Passes per optimizer step; more take less memory.")
    max_tokens: int = Field(
        8192, ge=1, description="Most tokens, padding included, in one pass; longer ones take more passes."
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW's, for all but biases and norms.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the learning rate falls after the warmup."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="The share of the steps over which the rate rises.")
    clip: float | None = Field(1.0, gt=0, description="The largest norm of the gradient; null for no limit.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the device is fast at it. The weights are fp32 always."
    )
    early_stopping: int | None = Field(None, ge=1, description="Stop after so many epochs without a better score.")
    ema: float | None = Field(None, gt=0, lt=1, description="Decay of a moving average of the weights; null for none.")
    regularization: RegularizationOptions = Field(default_factory=lambda: RegularizationOptions())
    average: Literal["uniform", "greedy"] | None = Field(
        None,
        description="The mean of the weights after each epoch of the last phase. greedy: only of those with which the "
        "validation score does not fall (a soup: Wortsman et al., 2022).",
    )
    interpolate: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="How far pretrained weights go from where they began (0) to where tuning took them (1); auto for "
        "the best of 0, 0.1 to 1 on the validation rows (WiSE-FT: Wortsman et al., 2022).",
    )
    workers: int = Field(0, ge=0, description="Processes that prepare batches.")
    on_not_finite: Literal["error", "skip"] = Field("error", description="What to do when a loss is not a number.")
    max_skipped: int = Field(3, ge=1, description="With skip: the most steps that may be skipped.")
    checkpoint: CheckpointOptions = Field(default_factory=lambda: CheckpointOptions())


class CacheOptions(Section):
    store: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether what leaves the frozen part is kept on disk: auto keeps it where it is read again.",
    )
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="The type of what is kept; auto for that which is computed in."
    )
    max_gb: float = Field(20.0, gt=0, description="Most that all stores take; those used longest ago go first.")

    @property
    def max_bytes(self) -> int:
        """Most that all stores take."""
        return int(self.max_gb * 1e9)


class AugmentationOptions(OpenSection):
    """How training examples are varied. What there is depends on the task, which checks it; nothing is the default."""


class EvaluationOptions(Section):
    primary: str | None = Field(None, description="The metric that decides; else the task's own.")
    batch_size: int = Field(64, ge=1, description="Examples that are scored together.")
    resamples: int = Field(1000, ge=100, le=100_000, description="Bootstrap resamples behind each interval.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the intervals.")
    baselines: bool = Field(True, description="Score the majority class and a linear probe on the untouched model too.")


class Recipe(Section):
    """All that a user asks for."""

    task: TaskOptions
    model: ModelOptions = Field(default_factory=lambda: ModelOptions())
    data: DataOptions
    strategy: StrategyOptions = Field(default_factory=lambda: StrategyOptions())
    augmentation: AugmentationOptions = Field(default_factory=lambda: AugmentationOptions())
    training: TrainingOptions = Field(default_factory=lambda: TrainingOptions())
    evaluation: EvaluationOptions = Field(default_factory=lambda: EvaluationOptions())
    cache: CacheOptions = Field(default_factory=lambda: CacheOptions())
    quality: Literal["warn", "error", "off"] = Field(
        "warn",
        description="What to do where the data has what makes scores untrue, such as rows of test that are nearly "
        "equal to rows of train: warn tells of it, error lets no run begin, off does not look.",
    )
    seed: int = Field(0, ge=0, description="Whatever looks random is drawn from it.")
    output: str = Field("runs", description="The folder that run folders are made in.")
    name: str | None = Field(None, description="The run folder's name; else one is made from data and strategy.")

    @field_validator("task", mode="before", json_schema_input_type=TaskOptions | str)
    @classmethod
    def _task_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("model", mode="before", json_schema_input_type=ModelOptions | str)
    @classmethod
    def _model_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("strategy", mode="before", json_schema_input_type=StrategyOptions | str)
    @classmethod
    def _strategy_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("augmentation", mode="before", json_schema_input_type=AugmentationOptions | str)
    @classmethod
    def _policy_alone(cls, value: Any) -> Any:
        return {"policy": value} if isinstance(value, str) else value

    @field_validator("data", mode="before", json_schema_input_type=DataOptions | str)
    @classmethod
    def _file_alone(cls, value: Any) -> Any:
        return {"train": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _one_folder(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or value in {".", ".."} or re.search(r"[/\\\0]", value)):
            raise ValueError("a run's name is the name of one folder, without / or \\")
        if value is not None and not value.isprintable():
            raise ValueError("a run's name has only characters that can be shown")
        return value

    @field_validator("output")
    @classmethod
    def _a_path(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("a folder's name has only characters that can be shown")
        return value


# What a section is where it is a single word.
_ALONE = {"task": "name", "model": "name", "strategy": "name", "data": "train", "augmentation": "policy"}

_MOST_VALUES = 10_000  # in a recipe
_LARGEST = 10**300  # of whole numbers: a larger one is no float
_LONGEST_SHOWN = 200  # characters of a value in a message

# Names that users of other trainers type, and ours for the same thing.
_FAMILIAR = {
    "num_train_epochs": "training.epochs",
    "num_epochs": "training.epochs",
    "per_device_train_batch_size": "training.batch_size",
    "train_batch_size": "training.batch_size",
    "gradient_accumulation_steps": "training.accumulation",
    "learning_rate": "strategy.learning_rate",
    "lr": "strategy.learning_rate",
    "lr_scheduler_type": "training.schedule",
    "scheduler": "training.schedule",
    "warmup_ratio": "training.warmup",
    "max_grad_norm": "training.clip",
    "save_total_limit": "training.checkpoint.keep",
    "save_steps": "training.checkpoint.every",
    "metric_for_best_model": "evaluation.primary",
    "early_stopping_patience": "training.early_stopping",
    "output_dir": "output",
    "run_name": "name",
    "max_length": "task.max_length",
}


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply ``key.sub=value`` overrides.

    Raises:
        RecipeError: the file is missing, is not YAML, or asks for something unknown.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"{path}: {reason}", fix="name a recipe file; `regraft init` writes one") from None
    raw = parse_yaml(text, origin=str(path))
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} holds no keys", fix="a recipe needs at least task: and data:")
    if "sweep" in raw:
        raise RecipeError(f"{path} asks for a sweep", fix=f"`regraft sweep {path}`, or take sweep: out of it")
    return make_recipe(raw, overrides, origin=str(path))


def make_recipe(raw: Mapping[str, Any], overrides: Sequence[str] = (), *, origin: str = "the recipe") -> Recipe:
    """Build a recipe from plain values.

    Raises:
        RecipeError: a key is unknown or a value does not fit; the message names the key and the nearest known one.
    """
    values = _copy(raw, origin=origin)
    for override in overrides:
        _apply(values, override)
    values = _copy(values, origin=origin)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise _explained(error, values, origin) from None


def to_yaml(recipe: Recipe, *, header: str = "") -> str:
    """The recipe as YAML with every option spelled out. Reading it back gives an equal recipe."""
    values = recipe.model_dump(mode="json")
    if values["name"] is None:
        del values["name"]
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"# {line}\n" for line in header.splitlines()) + text


def parse_yaml(text: str, *, origin: str) -> Any:
    """Parse YAML; a key given twice is an error, ``1e-5`` is a number, and only true and false are booleans.

    Nothing is merged or constructed but plain values, and the whole is small however often an anchor is used.

    Raises:
        RecipeError: with the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader, made stricter
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise RecipeError(f"{origin}{line}: {problem}", fix="check indentation, quotes and colons") from None
    except Exception as error:  # its constructors raise many kinds for what an explicit tag does not fit
        raise RecipeError(
            f"{origin}: not understood as YAML: {error}", fix="quote the value, or write it another way"
        ) from None


def known_keys() -> list[str]:
    """All dotted keys of a recipe, without those of tasks and strategies."""
    return list(_keys_of(Recipe))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to ``word``, if any is near."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_key(key: str, known: Iterable[str], origin: str) -> RecipeError:
    """The error for a key that does not exist, naming the nearest that does."""
    known = [name for name in known if not key.startswith(f"{name}.")]
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == leaf]
    guess = _FAMILIAR.get(leaf) or (same_leaf[0] if same_leaf else None)
    if guess is None:
        above = key.rpartition(".")[0]
        beside = {name.rsplit(".", 1)[-1]: name for name in known if name.rpartition(".")[0] == above}
        guess = beside.get(nearest(leaf, beside) or "") or (nearest(key, known) if not beside else None)
    if guess is None:
        by_leaf = nearest(leaf, [name.rsplit(".", 1)[-1] for name in known])
        guess = next((name for name in known if name.rsplit(".", 1)[-1] == by_leaf), None)
    if guess and guess != key:
        return RecipeError(f"{origin}: unknown key {key!r}", fix=f"did you mean {guess!r}?")
    siblings = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    return RecipeError(f"{origin}: unknown key {key!r}", fix=f"known are: {', '.join(siblings or known)}")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its surprises."""


class _Dumper(yaml.SafeDumper):
    """Puts in quotes what the loader would take for a number."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False|TRUE|FALSE)$"), list("tTfF")
)
_LINE_END = re.compile(r"[\x85\u2028\u2029]")
_SCIENTIFIC = re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
for _end in (_Loader, _Dumper):
    _end.add_implicit_resolver("tag:yaml.org,2002:float", _SCIENTIFIC, list("-+.0123456789"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            raise yaml.constructor.ConstructorError(None, None, "merge keys (<<) are not read", key_node.start_mark)
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool | None):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    value = loader.construct_yaml_int(node)
    if abs(value) >= _LARGEST:
        raise yaml.constructor.ConstructorError(None, None, "a number of more than 300 digits", node.start_mark)
    return int(value)


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    """In double quotes where a line could end that is none in a text file: elsewhere it would be read as a space."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if _LINE_END.search(value) else None)


_Dumper.add_representer(str, _text)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def _copy(value: Any, *, origin: str) -> dict[str, Any]:
    """A copy with text as keys. Anchors make a small file a huge value (a bomb), which is stopped at its size."""
    left = _MOST_VALUES

    def copied(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise RecipeError(f"{origin}: more than {_MOST_VALUES:,} values", fix="a recipe is a page of options")
        if isinstance(value, Mapping):
            return {str(key): copied(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [copied(item) for item in value]
        return value

    whole: dict[str, Any] = copied(value)
    return whole


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise RecipeError(f"{override!r} is not an option", fix="write key.sub=value, for example training.epochs=5")
    here = values
    for depth, part in enumerate(path[:-1]):
        below = here.get(part)
        if isinstance(below, str) and depth == 0 and part in _ALONE:
            below = {_ALONE[part]: below}
        elif below is None:
            below = {}
        elif not isinstance(below, dict):
            raise RecipeError(f"{override!r}: {'.'.join(path[: depth + 1])} has no keys of its own")
        here[part] = below
        here = below
    here[path[-1]] = parse_yaml(text, origin=override) if text.strip() else None


def _keys_of(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys_of(field.annotation, f"{prefix}{name}.")


def _explained(error: ValidationError, values: Mapping[str, Any], origin: str) -> RecipeError:
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return unknown_key(key, known_keys(), origin)
    if first["type"] == "missing":
        return RecipeError(f"{origin}: {key!r} is missing", fix=_hint_for_missing(key))
    given = _value_at(values, first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return RecipeError(f"{origin}: {key} = {_shown(given)}{more}", fix=message[0].lower() + message[1:])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _hint_for_missing(key: str) -> str:
    hints = {
        "task": "say what is asked, for example task: text-classification",
        "data": "name the table to learn from, for example data: reviews.csv",
        "data.train": "name the table to learn from, for example data.train: reviews.csv",
    }
    return hints.get(key, f"give {key} a value")


def _value_at(values: Any, path: Sequence[Any]) -> Any:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return values
    return values
