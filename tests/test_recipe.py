"""The recipe: whatever is written in it, a recipe comes out or an error with exit code 2 that helps."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regraft import Recipe, make_recipe, read_recipe
from regraft.errors import RecipeError
from regraft.recipe import StrategyOptions, TaskOptions, known_keys, parse_yaml, to_yaml
from regraft.strategies import make_strategy, strategy_names
from regraft.tasks import make_task, task_names

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*[!p].yaml"))  # those of sweeps: test_sweeping
SMALL = {"task": "text-classification", "data": "reviews.csv"}


def _made(text: str, *overrides: str) -> Recipe:
    return make_recipe(parse_yaml(text, origin="r.yaml"), overrides)


# What is read.


def test_the_short_forms_are_names() -> None:
    short = make_recipe({**SMALL, "model": "minilm", "strategy": "top-layers"})
    long = make_recipe(
        {
            "task": {"name": "text-classification"},
            "data": {"train": "reviews.csv"},
            "model": {"name": "minilm"},
            "strategy": {"name": "top-layers"},
        }
    )
    assert short == long


def test_an_override_opens_a_short_form() -> None:
    recipe = make_recipe({**SMALL, "strategy": "top-layers"}, ["strategy.n=3", "data.group=author", "model.head=mean"])
    assert recipe.strategy.own() == {"n": 3}
    assert (recipe.data.train, recipe.data.group, recipe.model.head) == ("reviews.csv", "author", "mean")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.epochs=5", ("training", "epochs"), 5),
        ("training.weight_decay=1e-5", ("training", "weight_decay"), 1e-5),
        ("training.clip=null", ("training", "clip"), None),
        ("training.clip=", ("training", "clip"), None),
        ("evaluation.baselines=false", ("evaluation", "baselines"), False),
        ("name='2024'", ("name",), "2024"),
        ("name=yes", ("name",), "yes"),
        ("name=2024-05-01", ("name",), "2024-05-01"),
        ("name=a=b", ("name",), "a=b"),
        ("data.columns={text: review, label: on}", ("data", "columns"), {"text": "review", "label": "on"}),
        ("strategy.freeze=[embeddings, 'blocks[:4]']", ("strategy", "freeze"), ["embeddings", "blocks[:4]"]),
        (" training.epochs = 7 ", ("training", "epochs"), 7),
        ("training.checkpoint.keep=1", ("training", "checkpoint", "keep"), 1),
    ],
)
def test_an_override_is_yaml(override: str, key: tuple[str, ...], value: Any) -> None:
    found: Any = make_recipe(SMALL, [override])
    for part in key:
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("override", "train"),
    [("data.split.validation=0.3", 0.6), ("data.split={validation: 0, test: 0.25}", 0.75), ("data.split.seed=1", 0.8)],
)
def test_a_share_of_train_that_is_not_said_is_what_the_others_leave(override: str, train: float) -> None:
    assert make_recipe(SMALL, [override]).data.split.train == pytest.approx(train)


def test_the_last_override_wins() -> None:
    assert make_recipe(SMALL, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    "override", ["epochs", "", "=5", "training.=5", ".epochs=5", "training..epochs=5", "seed.a=1", "data.train.x=1"]
)
def test_an_override_that_is_none_is_an_error(override: str) -> None:
    with pytest.raises(RecipeError):
        make_recipe({**SMALL, "seed": 3}, [override])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("NO", "NO"),
        ("true", True),
        ("False", False),
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("5.e-3", 5e-3),
        (".5e-3", 5e-4),
        ("-2e+3", -2e3),
        ("1e-5x", "1e-5x"),
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01 10:00:00", "2024-05-01 10:00:00"),
        ("null", None),
        ("~", None),
        ("3", 3),
        ("'3'", "3"),
        ("*.bias", RecipeError),
        ("'*.bias'", "*.bias"),
        ("e5", "e5"),
        ("", None),
    ],
)
def test_yaml_has_no_surprises(text: str, value: Any) -> None:
    if value is RecipeError:
        with pytest.raises(RecipeError):
            parse_yaml(f"key: {text}", origin="r.yaml")
        return
    found = parse_yaml(f"key: {text}", origin="r.yaml")["key"]
    assert (found, type(found)) == (value, type(value))


# What is not.


@pytest.mark.parametrize(
    ("key", "guess"),
    [
        ("training.epoch", "training.epochs"),
        ("training.batchsize", "training.batch_size"),
        ("sed", "seed"),
        ("evaluaton", "evaluation"),
        ("model.nme", "model.name"),
        ("data.colums", "data.columns"),
        ("data.split.validate", "data.split.validation"),
        ("training.checkpoint.evry", "training.checkpoint.every"),
        ("epochs", "training.epochs"),
        ("batch_size", "training.batch_size"),
        ("group", "data.group"),
        ("training.num_train_epochs", "training.epochs"),
        ("learning_rate", "strategy.learning_rate"),
        ("lr", "strategy.learning_rate"),
        ("gradient_accumulation_steps", "training.accumulation"),
        ("per_device_train_batch_size", "training.batch_size"),
        ("output_dir", "output"),
        ("max_length", "task.max_length"),
        ("training.warmup_ratio", "training.warmup"),
        ("training.lr_scheduler_type", "training.schedule"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, guess: str) -> None:
    with pytest.raises(RecipeError) as stopped:
        make_recipe(SMALL, [f"{key}=1"])
    assert stopped.value.exit_code == 2
    assert repr(key) in stopped.value.problem
    assert stopped.value.fix == f"did you mean {guess!r}?"


@pytest.mark.parametrize(
    ("key", "guess"),
    [
        ("task.max_lenght", "task.max_length"),
        ("task.class_weight", "task.class_weights"),
        ("strategy.layerdecay", "strategy.layer_decay"),
        ("strategy.lr", "strategy.learning_rate"),
    ],
)
def test_an_unknown_option_of_a_task_or_strategy_names_the_nearest(key: str, guess: str) -> None:
    recipe = make_recipe(SMALL, [f"{key}=1"])
    with pytest.raises(RecipeError) as stopped:
        _ = make_task(recipe.task), make_strategy(recipe.strategy)
    assert stopped.value.fix == f"did you mean {guess!r}?"


@pytest.mark.parametrize("key", ["training.qqqqqq", "data.split.qqqqqq"])
def test_a_key_like_nothing_lists_what_there_is(key: str) -> None:
    with pytest.raises(RecipeError) as stopped:
        make_recipe(SMALL, [f"{key}=1"])
    above = key.rpartition(".")[0]
    for known in known_keys():
        assert known.rpartition(".")[0] != above or known in stopped.value.fix


@pytest.mark.parametrize("room", ["task", "strategy"])
def test_an_unknown_name_names_the_nearest(room: str) -> None:
    with pytest.raises(RecipeError, match="did you mean 'text-classification'"):
        make_task(TaskOptions(name="text-clasification"))
    with pytest.raises(RecipeError, match="did you mean 'top-layers'"):
        make_strategy(StrategyOptions(name="top-layer"))
    with pytest.raises(RecipeError, match=f"there are: {', '.join(strategy_names())}"):
        make_strategy(StrategyOptions(name="zzz"))


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({}, "task"),
        ({"task": "t"}, "data"),
        ({"task": "t", "data": {}}, "data.train"),
        ({"task": {}, "data": "d"}, "task.name"),
    ],
)
def test_what_is_missing_is_named(raw: dict[str, Any], key: str) -> None:
    with pytest.raises(RecipeError, match=f"'{key}' is missing"):
        make_recipe(raw)


@pytest.mark.parametrize(
    "override",
    [
        "training.epochs=0",
        "training.epochs=1.5",
        "training.epochs=many",
        "training.epochs=true",
        "training.clip=0",
        "training.warmup=1",
        "training.precision=fp8",
        "training.schedule=step",
        "training.weight_decay=-1",
        "training.weight_decay=.nan",
        "training.clip=.inf",
        "data.split={train: 0.5, test: 0.1, validation: 0.1}",
        "data.on_bad_rows=ignore",
        "data.label_separator=''",
        "model.dropout=1",
        "model.head=cls",
        "seed=-1",
        "name=a/b",
        "name=..",
        "name=' '",
        "evaluation.resamples=1",
        "evaluation.confidence=2",
        "data.columns=[a]",
        "task=3",
        "data=[a]",
        "strategy=null",
        "training=3",
        "model={}{}",
    ],
)
def test_a_value_that_does_not_fit_is_named(override: str) -> None:
    with pytest.raises(RecipeError) as stopped:
        make_recipe(SMALL, [override])
    assert override.partition("=")[0] in str(stopped.value)


@pytest.mark.parametrize(
    "override",
    [
        "task.max_length=0",
        "task.max_length=3",
        "task.label_smoothing=1",
        "task.label_smoothing=-0.1",
        "task.focal_gamma=-1",
        "task.loss=mse",
        "task.class_weights=even",
        "strategy.learning_rate=0",
        "strategy.learning_rate=-1",
        "strategy.learning_rate=.nan",
        "strategy.learning_rate=.inf",
        "strategy.layer_decay=0",
        "strategy.layer_decay=1.1",
        "strategy.head_learning_rate=0",
        "strategy.learning_rate=fast",
        "task.max_length=true",
    ],
)
def test_an_option_out_of_its_bounds_is_named(override: str) -> None:
    recipe = make_recipe(SMALL, [override])
    with pytest.raises(RecipeError) as stopped:
        _ = make_task(recipe.task), make_strategy(recipe.strategy)
    assert override.partition("=")[0] in str(stopped.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task: a\ntask: b\n", "line 2: the key 'task' is given twice"),
        ("task:\n  name: a\n  name: b\n", "line 3: the key 'name' is given twice"),
        ("a: [1\n", "line 2"),
        ("a: b: c\n", "line 1"),
        ("? [a]\n: 1\n", "a key must be a plain word"),
        ("a: *b\n", "line 1"),
        ("a: &a [*a]\n", "recursive"),
        ("<<: {a: 1}\n", "merge keys"),
        ("a: !!python/object/apply:os.system [x]\n", "line 1"),
        ("a: !!bool maybe\n", "r.yaml"),
        ("a: !!timestamp soon\n", "r.yaml"),
        ("a: !!int ''\n", "r.yaml"),
        ("a: \x00\n", "r.yaml"),
        ("a: 1" + ":30" * 300 + ".5\n", "r.yaml"),
        ("a: 0x" + "f" * 5000 + "\n", "more than 300 digits"),
        ("[" * 5000, "r.yaml"),
        ("a: " + "9" * 5000 + "\n", "r.yaml"),
        ("{a: " * 5000, "r.yaml"),
        ("\tb: 1\n", "line 1"),
        ("%YAML 9.9\n---\n", "r.yaml"),
        ("a: 1\n--- \nb: 1\n", "line"),
        ("a: !!float x\n", "r.yaml"),
        ("=: 1\n", "line 1"),
    ],
)
def test_what_is_no_yaml_is_an_error_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(RecipeError) as stopped:
        parse_yaml(text, origin="r.yaml")
    assert problem in str(stopped.value)
    assert "r.yaml" in str(stopped.value)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


def test_a_bomb_of_anchors_does_not_go_off(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(BOMB)
    with pytest.raises(RecipeError, match="more than 10,000 values"):
        read_recipe(tmp_path / "r.yaml")


def test_a_bomb_in_an_override_does_not_go_off() -> None:
    text = "[" + ", ".join(line.partition(": ")[2] for line in BOMB.splitlines()) + "]"
    with pytest.raises(RecipeError, match="more than 10,000 values"):
        make_recipe(SMALL, [f"task.loss={text}"])


@pytest.mark.parametrize("content", [b"", b"3", b"- a\n", b"task", b"\xff\xfe", b"\x80abc", b"# nothing\n"])
def test_a_file_without_keys_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        read_recipe(tmp_path / "r.yaml")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(RecipeError, match="regraft init"):
            read_recipe(path)


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes("\ufefftask: t\ndata: d.csv\n".encode())
    assert read_recipe(tmp_path / "r.yaml").task.name == "t"


# What is written.

ODD = [
    "1e5",
    "yes",
    "null",
    "~",
    "1:30",
    "0x10",
    "010",
    "1_000",
    "2024-05-01",
    "*a",
    "&a",
    "- a",
    "# a",
    "a: b",
    "'",
    '"',
    "\u2028",
    "\x85",
    "\t",
    "é",
    "电影",
    "😀",
    "!!int 3",
    ".inf",
    ".5e3",
    "=",
    "<<",
    "true",
    "%a",
    "@a",
    "`a",
    " a ",
    "a\nb",
    "{",
    "[",
    "|",
    ">",
    "? a",
    "---",
    "...",
    "\x07",
    "\ufeff",
    "-1e-5",
    "5.e3",
    "1.5E+3",
]


def printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable() and character not in "/\\")


@pytest.mark.parametrize("text", ODD)
def test_any_text_comes_back(text: str) -> None:
    recipe = make_recipe({**SMALL, "data": {"train": text, "columns": {"text": text}}, "name": printable(text) + "n"})
    assert make_recipe(parse_yaml(to_yaml(recipe, header="a\nb"), origin="r.yaml")) == recipe


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_text_comes_back(text: str) -> None:
    recipe = make_recipe(
        {**SMALL, "data": text, "output": printable(text), "strategy": {"name": "full", "freeze": [text]}}
    )
    assert make_recipe(parse_yaml(to_yaml(recipe), origin="r.yaml")) == recipe


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1e300), st.integers(0, 10**250))
def test_every_number_comes_back(number: float, seed: int) -> None:
    recipe = make_recipe({**SMALL, "training": {"weight_decay": number}, "seed": seed})
    assert make_recipe(parse_yaml(to_yaml(recipe), origin="r.yaml")) == recipe


def test_every_option_is_spelled_out() -> None:
    written = yaml.safe_load(to_yaml(make_recipe({**SMALL, "name": "n"})))
    spelled = {key.rpartition(".")[0] for key in known_keys()} | {key for key in known_keys() if _at(written, key)}
    assert set(known_keys()) - spelled == set()


def _at(values: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


# The schema.


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_the_schema_accepts_an_example(path: Path) -> None:
    schema = Recipe.model_json_schema()
    assert _faults(parse_yaml(path.read_text(encoding="utf-8"), origin=path.name), schema, schema) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_the_schema_accepts_an_example_as_resolved(path: Path) -> None:
    schema = Recipe.model_json_schema()
    assert _faults(parse_yaml(to_yaml(read_recipe(path)), origin=path.name), schema, schema) == []


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"task": "t"},
        {**SMALL, "sed": 1},
        {**SMALL, "seed": -1},
        {**SMALL, "seed": "1"},
        {**SMALL, "model": {"nme": "a"}},
        {**SMALL, "training": {"epochs": 0}},
        {**SMALL, "training": {"precision": "fp8"}},
        {**SMALL, "task": 3},
    ],
)
def test_the_schema_rejects_what_the_recipe_rejects(raw: dict[str, Any]) -> None:
    schema = Recipe.model_json_schema()
    assert _faults(raw, schema, schema)
    with pytest.raises(RecipeError):
        make_recipe(raw)


_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_BOUNDS = {
    "minimum": lambda v, b: v >= b,
    "maximum": lambda v, b: v <= b,
    "exclusiveMinimum": lambda v, b: v > b,
    "exclusiveMaximum": lambda v, b: v < b,
    "minLength": lambda v, b: len(v) >= b,
    "enum": lambda v, b: v in b,
    "const": lambda v, b: v == b,
}


def _faults(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """What is wrong by a JSON schema, as far as the keywords go that pydantic writes for a recipe."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        each = [_faults(value, option, root, at) for option in schema["anyOf"]]
        return [] if [] in each else [fault for faults in each for fault in faults]
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{at} is no {kind}"]
    faults = [f"{at} breaks {key}" for key, holds in _BOUNDS.items() if key in schema and not holds(value, schema[key])]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        faults += [f"{at}.{key} is missing" for key in schema.get("required", []) if key not in value]
        for key, item in value.items():
            below = known.get(key, schema.get("additionalProperties", True))
            faults += [f"{at}.{key} is unknown"] if below is False else []
            faults += _faults(item, below, root, f"{at}.{key}") if isinstance(below, dict) else []
    if isinstance(value, list):
        faults += [fault for item in value for fault in _faults(item, schema.get("items", {}), root, f"{at}[]")]
    return faults


def test_the_schema_is_json() -> None:
    json.dumps(Recipe.model_json_schema())


# Whatever is written.

GOOD = to_yaml(make_recipe({**SMALL, "strategy": {"name": "top-layers", "n": 2, "freeze": ["embeddings"]}}))
PIECES = [
    *known_keys(),
    *ODD,
    "!!bool x",
    "!!timestamp x",
    "!!set {a, b}",
    "!!binary x",
    "&a",
    "*a",
    "[*a, *a]",
    "{",
    "}",
    "[",
    "]",
    ": ",
    ",",
    "\n",
    "  ",
    "- ",
    "0x" + "f" * 400,
    "9" * 400,
    ".nan",
    "-.inf",
    "1e999",
    "lr",
    "?",
    "\0",
]
_keys = st.one_of(st.sampled_from([key.rpartition(".")[2] for key in known_keys()]), st.text(max_size=6), st.integers())
_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.dates(),
        st.sampled_from(ODD),
        st.sampled_from([*task_names(), *strategy_names(), "own", "mean", "bf16"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=4)),
    max_leaves=8,
)
_overrides = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(known_keys()), st.sampled_from([*ODD, *PIECES])).map("=".join),
        st.tuples(st.text(string.printable, max_size=12), st.text(max_size=12)).map("=".join),
    ),
    max_size=3,
)


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    dice = random.Random(draw(st.integers(0, 2**32)))
    text = GOOD
    for _ in range(dice.randint(1, 4)):
        start = dice.randrange(len(text))
        stop = min(len(text), start + dice.choice([0, 0, 1, 3, 12]))
        text = text[:start] + dice.choice(PIECES) + text[stop:]
    return text


@st.composite
def _written(draw: st.DrawFn) -> str:
    values = draw(st.dictionaries(_keys, _values, max_size=5))
    good: dict[str, Any] = {"task": "text-classification", "data": "d.csv"} if draw(st.booleans()) else {}
    return yaml.dump({**good, **values}, Dumper=yaml.SafeDumper, allow_unicode=True)


_texts = st.one_of(_mutated(), _written(), st.text(max_size=60))


def _read(text: str, overrides: list[str], folder: Path) -> None:
    """As a command does it. Only our error comes, and it ends with 2."""
    path = folder / "fuzz.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    recipe: Recipe | None
    try:
        recipe = read_recipe(path, overrides)
        make_task(recipe.task)
        make_strategy(recipe.strategy)
    except RecipeError as error:
        recipe, said = None, error
    if recipe is None:
        assert said.exit_code == 2
        assert said.problem.strip()
        assert len(str(said)) < 5_000
        return
    assert make_recipe(parse_yaml(to_yaml(recipe), origin="again")) == recipe


_FUZZ = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}


@settings(max_examples=500, **_FUZZ)
@given(text=_texts, overrides=_overrides)
def test_random_recipes_end_with_2(text: str, overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    _read(text, overrides, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=2000, **{**_FUZZ, "derandomize": False})
@given(text=_texts, overrides=_overrides)
def test_many_random_recipes_end_with_2(
    text: str, overrides: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _read(text, overrides, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("key", ["name", "output"])
@pytest.mark.parametrize("text", ["red\x1b[31m", "a\nb", "a\0b", "\ud800"])
def test_folders_are_called_what_can_be_shown(key: str, text: str) -> None:
    with pytest.raises(RecipeError, match=key):
        make_recipe({**SMALL, key: text})
