"""Whisper tiny.en as a model folder of transformers: it hears what is said."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import materials
from materials.errors import DamagedMaterial
from materials.whisper import Source
from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import quiet

MATERIAL = "whisper-tiny.en"


@pytest.fixture(scope="module")
def processor(place: Path) -> Any:
    from transformers import AutoProcessor

    with quiet():
        return AutoProcessor.from_pretrained(place)


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    from transformers import AutoModelForSpeechSeq2Seq

    with quiet():
        return AutoModelForSpeechSeq2Seq.from_pretrained(place).eval()


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        ("hello-world", "Hello world"),
        ("tt-allbusy", "All representatives of the household are currently assisting other telemarketers."),
    ],
)
def test_it_transcribes_a_clip(model: Any, processor: Any, clip: str, said: str) -> None:
    import soundfile

    if reason := materials.missing("asterisk-en"):
        pytest.skip(reason)
    wave, rate = soundfile.read(materials.folder("asterisk-en") / "clips" / f"{clip}.flac", dtype="float32")
    features = processor(wave, sampling_rate=rate, return_tensors="pt").input_features
    assert features.shape == (1, 80, 3000)
    with quiet(), torch.no_grad():
        heard = processor.batch_decode(model.generate(features), skip_special_tokens=True)[0]
    assert heard.strip().startswith(said)


def test_a_text_has_the_prefix_of_the_english_model(place: Path) -> None:
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(place)
    ids = tokenizer(" Press 1, or hold.").input_ids
    start, silent, *_, end = tokenizer.convert_ids_to_tokens(ids)
    assert (start, silent, end) == ("<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>")
    assert tokenizer.decode(ids, skip_special_tokens=True) == " Press 1, or hold."
    assert tokenizer.all_special_ids[-1] == 50362  # times are the ids above


def test_decoding_starts_and_ends_as_the_english_model_does(model: Any) -> None:
    settings = model.generation_config
    assert (settings.decoder_start_token_id, settings.no_timestamps_token_id) == (50257, 50362)
    assert (settings.eos_token_id, settings.pad_token_id, settings.max_length) == (50256, 50256, 448)
    assert settings.begin_suppress_tokens == [220, 50256]
    assert settings.is_multilingual is False


def test_what_is_no_speech_is_never_said(model: Any, processor: Any) -> None:
    """As openai/whisper chooses them: signs that mark notes, music or speakers, alone or after a space."""
    tokenizer = processor.tokenizer
    signs = [*'"#()*+/:;<=>@[\\]^_`{|}~「」『』', "<<", ">>", "<<<", ">>>", "--", "---", "-(", "-["]
    signs += ["('", '("', "((", "))", "(((", ")))", "[[", "]]", "{{", "}}", "♪♪", "♪♪♪"]
    music = [*"♩♪♫♬♭♮♯"]

    def coded(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    never = {coded(" -")[0], coded(" '")[0]}
    for sign in [*signs, *music]:
        for ids in (coded(sign), coded(f" {sign}")):
            if len(ids) == 1 or sign in music:
                never.add(ids[0])
    special = {50257, 50357, 50358, 50359, 50360, 50361}
    assert set(model.generation_config.suppress_tokens) == never | special


def test_it_has_the_size_of_tiny_and_no_loose_ends(model: Any, place: Path) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == 37_760_256
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    check_folder(place)


def test_the_licence_names_openai(place: Path) -> None:
    assert re.search(r"MIT License.*OpenAI", (place / "LICENSE").read_text(encoding="utf-8"), re.DOTALL)


def test_one_matrix_for_three_is_split() -> None:
    weights = {"a/weight": np.arange(12.0).reshape(6, 2), "a/bias": np.array([1, 2, 0, 0, 5, 6.0])}
    state = Source(weights).split("b", "a", "qkv")
    assert state["b.v_proj.weight"].tolist() == [[8, 9], [10, 11]]
    assert state["b.q_proj.bias"].tolist() == [1, 2]
    assert "b.k_proj.bias" not in state


def test_biases_of_keys_and_missing_weights_are_refused() -> None:
    weights = {"a/weight": np.ones((6, 2)), "a/bias": np.ones(6)}
    with pytest.raises(DamagedMaterial, match="biases for keys"):
        Source(weights).split("b", "a", "qkv")
    with pytest.raises(DamagedMaterial, match="no weight 'c/weight'"):
        Source(weights).linear("b", "c")
