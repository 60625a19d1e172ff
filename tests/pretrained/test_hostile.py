"""A hostile folder is refused with exit code 6, the file is named, and nothing of it runs. A harmless one is opened."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regraft import Tuned, make_recipe, tune
from regraft.errors import RecipeError, RefusedError
from regraft.pretrained import load, model_folder
from regraft.recipe import ModelOptions
from regraft.testing import WORDS, tiny_model, toy_table
from tests.pretrained.hostile import CANARY, HOSTILE, INST, pickled

AUTO = "AutoModelForSequenceClassification"


@pytest.fixture(autouse=True)
def canary() -> Iterator[None]:
    """Whatever a test opens: the canary is not written."""
    CANARY.unlink(missing_ok=True)
    yield
    assert not CANARY.exists(), "code of a model folder has run"


@pytest.fixture(scope="module")
def tuned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned model's folder."""
    root = tmp_path_factory.mktemp("tuned")
    recipe = make_recipe(
        {
            "task": "text-classification",
            "data": str(toy_table(root / "reviews.csv")),
            "model": str(tiny_model(root / "pretrained", words=WORDS)),
            "strategy": "linear-probe",
            "training": {"epochs": 1},
            "evaluation": {"baselines": False, "resamples": 100},
            "output": str(root / "runs"),
        }
    )
    return tune(recipe).run.model


@pytest.mark.parametrize(("what", "spoil"), HOSTILE, ids=[what for what, _ in HOSTILE])
def test_a_hostile_folder_is_not_tuned(what: str, spoil: Callable[[Path], Path], model: Path) -> None:
    spoiled = spoil(model)
    with pytest.raises(RefusedError) as refused:
        load(ModelOptions(name=str(model)), AUTO, {"num_labels": 2}, seed=0)
    assert refused.value.exit_code == 6
    assert str(spoiled) in str(refused.value)


@pytest.mark.parametrize(("what", "spoil"), HOSTILE, ids=[what for what, _ in HOSTILE])
def test_a_hostile_folder_is_not_loaded(
    what: str, spoil: Callable[[Path], Path], tuned_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tuned_folder, tmp_path / "model"))
    spoiled = spoil(folder)
    with pytest.raises(RefusedError) as refused:
        Tuned.load(folder)
    assert refused.value.exit_code == 6
    assert str(spoiled) in str(refused.value)


def test_the_canary_is_alive(tmp_path: Path) -> None:
    for payload in (*map(pickled, range(6)), INST.encode()):
        with pytest.raises(AssertionError):
            _opened(payload)


def _opened(payload: bytes) -> None:
    pickle.loads(payload)
    written = CANARY.exists()
    CANARY.unlink(missing_ok=True)
    assert not written


def test_the_command_line_ends_with_6_and_asks_nothing(model: Path, tmp_path: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(pickled(2))
    said = _command("plan", "--data", toy_table(tmp_path / "t.csv"), "--task", "text-classification", "--model", model)
    assert said.returncode == 6, said.stderr
    assert str(model / "pytorch_model.bin") in said.stderr
    assert "Traceback" not in said.stderr
    assert said.stdout == ""


def test_predict_ends_with_6(tuned_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tuned_folder, tmp_path / "model"))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoTokenizer": ["x.Y", None]}}))
    said = _command("predict", folder, "a film")
    assert said.returncode == 6, said.stderr
    assert str(config) in said.stderr


def _command(*words: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from regraft.cli import main; main()", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_folder_with_pickled_weights_only_is_refused_with_what_to_do(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(RefusedError, match="no safetensors weights") as refused:
        load(ModelOptions(name=str(model)), AUTO, {"num_labels": 2}, seed=0)
    assert "trust_remote_code" not in str(refused.value)  # no advice to open it after all


HARMLESS: list[tuple[str, bytes]] = [
    ("README.md", b"# c\n\nimport pickle; R.\n"),
    ("LICENSE", b"copyright\nall rights reserved\n"),
    ("vocab.txt", b"cat\ndog\n(\nin\nout\nR\n.\n"),
    ("merges.txt", b"i n\nt h\nc at\n"),
    ("modules.json", b'[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]'),
    ("1_Pooling/config.json", b'{"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}'),
    ("config_sentence_transformers.json", b'{"__version__": {"transformers": "4.6.1"}}'),
    ("sentence_bert_config.json", b'{"max_seq_length": 256, "do_lower_case": false}'),
    ("chat_template.jinja", b"{{ cycler.__init__.__globals__.os.system('touch canary') }}"),
    ("generation_config.json", b'{"pad_token_id": 0}'),
    (".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n"),
    ("modeling.py", b"raise SystemExit('never imported')\n"),
    ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(40)),
    ("model.onnx", b"\x08\x07\x12\x07pytorch" + bytes(40)),
    ("tf_model.h5", b"\x89HDF\r\n\x1a\n" + bytes(40)),
    ("empty", b""),
    ("one byte", b"c"),
    ("broken.json", b"{"),
]


@pytest.mark.parametrize(("name", "content"), HARMLESS, ids=[name for name, _ in HARMLESS])
def test_a_harmless_file_is_no_reason_to_refuse(name: str, content: bytes, model: Path) -> None:
    path = model / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert model_folder(ModelOptions(name=str(model))) == model
    load(ModelOptions(name=str(model)), AUTO, {"num_labels": 2}, seed=0)


@pytest.mark.parametrize("setting", [
    {"_attn_implementation": "sdpa"}, {"attn_implementation": {"": "eager"}}, {"trust_remote_code": False},
    {"auto_map": None}, {"_attn_implementation_internal": None}, {"_attn_implementation_autoset": True},
])  # fmt: skip
def test_a_harmless_setting_is_no_reason_to_refuse(setting: dict[str, Any], model: Path) -> None:
    config = model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **setting}))
    assert model_folder(ModelOptions(name=str(model))) == model


def test_a_label_may_be_called_like_a_key_that_runs_code(tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    names = ["kernels", "auto_map", "use_kernels"]
    table.write_text("text,label\n" + "".join(f"film {n},{names[n % 3]}\n" for n in range(60)))
    recipe = make_recipe(
        {
            "task": "text-classification",
            "data": str(table),
            "model": str(tiny_model(tmp_path / "pretrained", words=WORDS)),
            "training": {"epochs": 1},
            "evaluation": {"baselines": False, "resamples": 100},
            "output": str(tmp_path / "runs"),
        }
    )
    assert set(Tuned.load(tune(recipe).run.model).answers.names) == set(names)


def test_shards_beside_their_index_are_opened(families: Callable[[str], Path], tmp_path: Path) -> None:
    import transformers

    whole = transformers.AutoModel.from_pretrained(families("bert"))
    whole.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    shutil.copy(families("bert") / "tokenizer.json", tmp_path / "model")
    shutil.copy(families("bert") / "tokenizer_config.json", tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors.index.json").exists()
    opened = load(ModelOptions(name=str(tmp_path / "model")), AUTO, {"num_labels": 2}, seed=0)
    assert opened.anatomy.new == {"classifier.weight", "classifier.bias"}


def test_a_config_that_is_not_json_is_named(model: Path) -> None:
    (model / "config.json").write_text("{")
    with pytest.raises(RecipeError, match="config.json is not valid JSON"):
        model_folder(ModelOptions(name=str(model)))
