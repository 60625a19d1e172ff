"""Joe speaks, and Whisper understands what is said."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import materials
from materials.errors import DamagedMaterial
from materials.joe import convert
from materials.joe import place as placed
from regraft.data.phonemes import available, phonemes
from regraft.pretrained.check import check_folder
from regraft.pretrained.folder import quiet
from regraft.pretrained.opening import library
from regraft.pretrained.piper import PiperVitsModel, phoneme_ids

MATERIAL = "joe"

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Please leave your message after the tone.",
    "Nobody is available to take your call at the moment.",
)


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    with quiet():
        return library().AutoModelForTextToWaveform.from_pretrained(place).eval()


def test_what_it_says_is_understood(model: Any) -> None:
    import jiwer
    import soxr

    for reason in (available(), materials.missing("whisper-tiny.en")):
        if reason:
            pytest.skip(reason)
    transformers = library()
    folder = materials.folder("whisper-tiny.en")
    with quiet(), torch.no_grad():
        processor = transformers.AutoProcessor.from_pretrained(folder)
        listener = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(folder).eval()
        heard = []
        for spoken in phonemes(TEXTS, model.config.espeak_voice):
            torch.manual_seed(0)
            wave = model(torch.tensor([phoneme_ids(spoken, model.config)])).waveform[0].numpy()
            features = processor(soxr.resample(wave, 22_050, 16_000), sampling_rate=16_000, return_tensors="pt")
            ids = listener.generate(features.input_features)
            heard += processor.batch_decode(ids, skip_special_tokens=True)
    bare = [re.sub(r"[^\w\s]", "", text.lower()).strip() for text in (*TEXTS, *heard)]
    assert jiwer.wer(bare[:3], bare[3:]) <= 0.1


def test_it_gives_what_the_onnx_file_gives(model: Any) -> None:
    """onnxruntime 1.32.0 on the package's file, with no noise, for the ids of "həlˈoʊ, wˈɜːld."."""
    ids = torch.tensor([phoneme_ids("həlˈoʊ, wˈɜːld.", model.config)])
    assert ids[0, :6].tolist() == [1, 0, 20, 0, 59, 0]
    model.noise_scale = model.noise_scale_duration = 0.0
    try:
        with torch.no_grad():
            wave = model(ids).waveform[0]
    finally:
        model.noise_scale, model.noise_scale_duration = model.config.noise_scale, model.config.noise_scale_duration
    assert len(wave) == 24_832
    assert wave[[3000, 4032, 6164, 14854, 16752]].tolist() == pytest.approx(
        [-0.1623, -0.5433, -0.3881, -0.1649, -0.2556], abs=1e-3
    )


def test_it_knows_how_to_speak(model: Any) -> None:
    config = model.config
    assert isinstance(model, PiperVitsModel)
    assert (config.sampling_rate, config.espeak_voice, config.vocab_size) == (22_050, "en-us", 256)
    assert (config.noise_scale, config.noise_scale_duration, config.speaking_rate) == (0.667, 0.8, 1.0)
    assert [config.phoneme_id_map[sign] for sign in "_^$"] == [[0], [1], [2]]


def test_it_is_whole_and_safe(model: Any, place: Path) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == 15_650_459
    check_folder(place)
    assert "CC0" in (place / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("enc_p.encoder.attn_layers.3.emb_rel_k", "text_encoder.encoder.layers.3.attention.emb_rel_k"),
        ("enc_p.encoder.norm_layers_2.5.gamma", "text_encoder.encoder.layers.5.final_layer_norm.weight"),
        ("flow.flows.6.enc.in_layers.2.bias", "flow.flows.3.wavenet.in_layers.2.bias"),
        ("flow.flows.2.post.bias", "flow.flows.1.conv_post.bias"),
        ("dp.flows.0.logs", "duration_predictor.flows.0.log_scale"),
        ("dp.flows.7.convs.convs_1x1.1.weight", "duration_predictor.flows.4.conv_dds.convs_pointwise.1.weight"),
        ("dp.proj.bias", "duration_predictor.conv_proj.bias"),
        ("dec.resblocks.5.convs.1.weight", "decoder.resblocks.1.2.convs.1.weight"),
        ("dec.ups.2.weight", "decoder.upsampler.2.weight"),
    ],
)
def test_a_weight_finds_its_place(theirs: str, ours: str) -> None:
    assert placed(theirs) == ours


def test_other_weights_are_refused() -> None:
    settings = {
        "num_symbols": 256,
        "audio": {"sample_rate": 22050},
        "inference": {"noise_scale": 0.5, "noise_w": 0.5, "length_scale": 1},
        "phoneme_id_map": {},
        "espeak": {"voice": "en-us"},
    }
    with pytest.raises(DamagedMaterial, match="holds other weights than known"):
        convert([], {}, settings)
