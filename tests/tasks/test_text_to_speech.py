"""Voices that learn: what is read and learned from, what is lost by whom, who listens, and what is kept of speech."""

from __future__ import annotations

import io
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from regraft import Tuned, make_recipe, prepare, tune
from regraft.cli import main
from regraft.data.sounds import LooseSound
from regraft.errors import DataError, RecipeError, ResourceError
from regraft.pretrained.speaker import SpeakerEncoder, SpeakerEncoderConfig
from regraft.pretrained.spectrograms import PAST, before_each, frames_of, griffin_lim, spectrogram_losses
from regraft.tasks._listening import Listeners, Utterance, distortion, warped
from regraft.tasks._speech import NOTHING, sentences, whole_numbers
from regraft.testing import VOICES, WORDS, tiny_model, toy_sounds

RATE = 16_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    toy_sounds(folder / "speech", kind="speech", sounds=40)
    for family in (*VOICES, "whisper"):
        tiny_model(folder / family, family=family, words=WORDS)
    torch.manual_seed(0)
    SpeakerEncoder(SpeakerEncoderConfig(hidden_size=16, embedding_size=8)).save_pretrained(folder / "knower")
    return folder


def recipe(place: Path, family: str, *overrides: str, **task: Any) -> Any:
    listeners = {"listener": str(place / "whisper"), "speaker": str(place / "knower")}
    values = {
        "task": {"name": "text-to-speech", **listeners, **task},
        "data": str(place / "speech"),
        "model": str(place / family),
        "strategy": {"name": "full", "learning_rate": 1e-3},
        "training": {"epochs": 1, "batch_size": 8, "precision": "fp32"},
        "evaluation": {"baselines": False, "resamples": 100},
        "output": str(place / "runs"),
    }
    return make_recipe(values, overrides)


def tone(seconds: float, pitch: float = 440.0) -> LooseSound:
    samples = 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)
    return LooseSound(samples.astype(np.float32), RATE, 1, 0.5, 0.0)


# What is learned from


def test_what_a_model_says_is_told_by_its_family(place: Path) -> None:
    said = {family: prepare(recipe(place, family)).task.says for family in VOICES}  # type: ignore[attr-defined]
    assert said == {"vits": "waves", "piper_vits": "waves", "speecht5": "spectrograms"}


def test_of_a_voice_without_a_learning_half_that_half_is_new(place: Path) -> None:
    whole, published = (prepare(recipe(place, family)).pretrained.anatomy for family in ("vits", "piper_vits"))
    assert not whole.new
    assert {name.split(".")[0] for name in published.new} == {"posterior_encoder", "duration_posterior"}


def test_a_probe_of_a_voice_leaves_it_as_it_was(place: Path) -> None:
    outcome = tune(recipe(place, "piper_vits", "strategy=linear-probe"))
    before = prepare(recipe(place, "piper_vits")).pretrained.model.state_dict()
    after = Tuned.load(outcome.run.folder).pretrained.model.state_dict()
    moved = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"posterior_encoder", "duration_posterior"}


def test_first_what_is_new_learns_then_everything(place: Path) -> None:
    prepared = prepare(recipe(place, "piper_vits", "strategy=probe-then-tune", "training.epochs=6"))
    first, second = prepared.phases
    assert (first.epochs, second.epochs) == (2, 4)
    assert first.trainable == prepared.pretrained.anatomy.new
    assert first.trainable < second.trainable


def test_a_probe_of_all_epochs_is_refused(place: Path) -> None:
    strategy = "strategy={name: probe-then-tune, probe_epochs: 3}"
    with pytest.raises(RecipeError, match=r"training.epochs = 3 and strategy.probe_epochs = 3"):
        prepare(recipe(place, "piper_vits", strategy, "training.epochs=3"))


def test_a_voice_that_was_tuned_goes_on_with_what_it_learned_with(place: Path) -> None:
    tuned = tune(recipe(place, "piper_vits", "name=first"))
    again = prepare(recipe(place, "piper_vits", f"model={tuned.run.model}")).pretrained
    assert not again.anatomy.new
    kept = tuned.tuned.pretrained.model.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in again.model.state_dict().items())


def test_a_recording_that_is_too_long_is_a_bad_row(place: Path) -> None:
    with pytest.raises(DataError, match=r"rows cannot be learned from:[\s\S]*lasts .* s; at most 0.5 are learned"):
        prepare(recipe(place, "vits", max_seconds=0.5))


def test_a_recognizer_is_no_voice(place: Path) -> None:
    with pytest.raises(RecipeError, match="is no voice that can learn here"):
        prepare(recipe(place, "whisper"))


def test_voices_may_be_told_by_vectors(place: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    texts = (place / "speech" / "metadata.csv").read_text().splitlines()[1:]
    rows = [
        {"audio": str(place / "speech" / line.split(",")[0]), "text": line.split(",")[1], "speaker": [n % 2, 1.0] * 4}
        for n, line in enumerate(texts)
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare(recipe(place, "speecht5", f"data={table}", f"data.images={place / 'speech'}"))
    found = {row["speaker"] for row in prepared.rows.encoded}
    assert found == {(0.0, 1.0) * 4, (1.0, 1.0) * 4}
    rows[0]["speaker"] = [1.0]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"row 1: 'speaker' is a vector of 1 numbers, and the model takes 8"):
        prepare(recipe(place, "speecht5", f"data={table}", f"data.images={place / 'speech'}"))
    rows[0]["speaker"] = [1e39] + [0.0] * 7
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="is no voice: a vector of finite numbers"):
        prepare(recipe(place, "speecht5", f"data={table}", f"data.images={place / 'speech'}"))


def test_a_run_with_vectors_ends_and_writes_them_down(place: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    texts = (place / "speech" / "metadata.csv").read_text().splitlines()[1:]
    rows = [
        {"audio": line.split(",")[0], "text": line.split(",")[1], "speaker": [n % 2, 1.0] * 4}
        for n, line in enumerate(texts)
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = tune(recipe(place, "speecht5", f"data={table}", f"data.images={place / 'speech'}", "name=vectors"))
    kept = pq.read_table(outcome.run.predictions)["speaker"].to_pylist()
    assert {json.loads(each)[0] for each in kept} <= {0.0, 1.0}


@pytest.mark.parametrize("family", VOICES)
def test_a_text_with_nothing_to_say_is_named_by_its_row(family: str, place: Path, tmp_path: Path) -> None:
    lines = (place / "speech" / "metadata.csv").read_text().splitlines()
    lines[3] = f"{lines[3].split(',')[0]},\u266a"
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"table.csv, row 4: 'text' has nothing in it that this voice can say"):
        prepare(recipe(place, family, f"data={table}", f"data.images={place / 'speech'}"))


@pytest.mark.parametrize("family", ["vits", "piper_vits"])
def test_a_line_with_nothing_to_say_gets_an_error_and_the_others_answers(
    family: str, place: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    run = tune(recipe(place, family)).run
    monkeypatch.setattr("sys.argv", ["regraft", "predict", str(run.folder), "--sounds", str(tmp_path / "spoken")])
    monkeypatch.setattr("sys.stdin", io.StringIO("good\n\u266a\nbad. \u266a\n"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["row"] for each in told] == [1, 2, 3]
    assert "nothing in it that this voice can say" in told[1]["error"]
    assert all(Path(told[place]["prediction"]).is_file() for place in (0, 2))


def test_a_vocoder_for_other_spectrograms_is_refused(place: Path, tmp_path: Path) -> None:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = prepare(recipe(place, "speecht5")).pretrained.processor
    bands, rate = config.extractor.num_mel_bins, config.rate
    small = {"upsample_initial_channel": 8, "upsample_rates": [4, 4], "upsample_kernel_sizes": [8, 8]}
    other = SpeechT5HifiGanConfig(model_in_dim=bands, sampling_rate=rate + 1, **small)
    SpeechT5HifiGan(other).save_pretrained(tmp_path / "other")
    with pytest.raises(RecipeError, match="and the voice says"):
        prepare(recipe(place, "speecht5", vocoder=str(tmp_path / "other")))
    with pytest.raises(RecipeError, match="is no vocoder, or not whole"):
        prepare(recipe(place, "speecht5", vocoder=str(place / "whisper")))
    with pytest.raises(RecipeError, match=r"task.vocoder: model .* no such folder"):
        prepare(recipe(place, "speecht5", vocoder="./nowhere"))


@pytest.mark.parametrize(("family", "option"), [("speecht5", {"segment": 64}), ("vits", {"vocoder": "x"})])
def test_an_option_of_another_kind_of_voice_is_refused(family: str, option: dict[str, Any], place: Path) -> None:
    with pytest.raises(RecipeError, match=f"task.{next(iter(option))} is for voices that say"):
        prepare(recipe(place, family, **option))


def test_a_metric_that_nobody_measures_cannot_decide(place: Path) -> None:
    with pytest.raises(RecipeError, match="leave nobody who measures it"):
        prepare(recipe(place, "vits", "evaluation.primary=similarity", speaker="none"))


@pytest.mark.parametrize("damage", [{}, {"^": [1], "_": [0], "$": [2], "a": [9999]}])
def test_a_damaged_map_of_phonemes_is_refused(damage: dict[str, Any], place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "piper_vits", tmp_path / "damaged")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"phoneme_id_map": damage}))
    with pytest.raises(RecipeError, match=r"phoneme_id_map in config.json"):
        prepare(recipe(place, "piper_vits", f"model={folder}"))


def test_without_vectors_all_recordings_count_as_of_one_voice(place: Path) -> None:
    notes = prepare(recipe(place, "speecht5")).plan.notes
    assert any("all recordings count as of one voice" in note for note in notes)


# What is lost


def test_the_loss_of_speecht5_is_the_one_that_transformers_computes(place: Path) -> None:
    """Of one example at a time; the numbers that its decoder drops always are drawn alike."""
    prepared = prepare(recipe(place, "speecht5"))
    model: Any = prepared.pretrained.model
    theirs_class = type(model).__mro__[1]
    for index in range(3):
        batch = prepared.rows.batch([index], prepared.task, prepared.answers, prepared.pretrained.processor)
        given = {name: value for name, value in batch.inputs.items() if not name.startswith("decoder_input")}
        mask = torch.ones(batch.target.shape[:2], dtype=torch.long)
        with torch.no_grad():
            torch.manual_seed(0)
            ours = prepared.loss.function(model(**batch.inputs), batch.target).sum() / batch.units
            torch.manual_seed(0)
            given["decoder_attention_mask"] = mask
            theirs = theirs_class.forward(model, **given, labels=batch.target).loss
        assert float(ours) == pytest.approx(float(theirs), rel=1e-4)


def test_frames_behind_the_end_cost_nothing_and_change_nothing() -> None:
    torch.manual_seed(0)
    alone = {"before": torch.randn(1, 4, 3), "after": torch.randn(1, 4, 3), "stop": torch.randn(1, 4)}
    alone["astray"] = torch.rand(1)
    target = torch.randn(1, 4, 3)
    longer = {name: torch.cat([value, torch.randn(1, 2, *value.shape[2:])], 1) for name, value in alone.items()
              if value.ndim > 1} | {"astray": alone["astray"]}  # fmt: skip
    padded = torch.cat([target, torch.full((1, 2, 3), PAST)], 1)
    found, same = spectrogram_losses(alone, target), spectrogram_losses(longer, padded)
    torch.testing.assert_close(same[:, :4], found)
    assert not same[:, 4:].any()


def test_a_decoder_reads_the_last_frame_of_the_step_before() -> None:
    frames = torch.arange(12.0).view(6, 2)
    assert before_each(frames, 2).tolist() == [[0, 0], [2, 3], [6, 7]]


@pytest.mark.slow
def test_speecht5_learns_real_clips_by_heart(place: Path) -> None:
    """A tiny random model, eight telephone prompts: the distance of its spectrograms falls to a third."""
    from regraft.run import cache_root

    table = cache_root() / "materials" / "asterisk-en" / "train.csv"
    if not table.is_file():
        pytest.skip("asterisk-en is not on this machine: python -m materials asterisk-en")
    few = table.parent / "few.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    short = [line for line in lines[1:] if 0.8 < float(line.rsplit(",", 1)[1]) < 1.6][:10]
    few.write_text("\n".join([lines[0], *short]) + "\n", encoding="utf-8")
    words = sorted({word for line in short for word in line.split(",")[1].split()})
    reader = tiny_model(place / "reader", family="speecht5", words=words)
    try:
        asked = recipe(
            place, "speecht5", f"data={few}", f"model={reader}", "data.split={train: 0.8, validation: 0.1, test: 0.1}",
            "training.epochs=150", "strategy.learning_rate=3e-3", listener="none", speaker="none",
        )  # fmt: skip
        history = tune(asked).run.history()
    finally:
        few.unlink()
    losses = [event["loss"] for event in history if event["event"] == "step"]
    assert np.mean(losses[-10:]) < losses[0] / 3


# Who listens


def test_a_sound_is_no_distance_from_itself_and_little_from_one_that_is_slower() -> None:
    sound = np.concatenate([tone(0.3, pitch).values for pitch in (300, 900, 500)])
    slower = np.concatenate([tone(0.4, pitch).values for pitch in (300, 900, 500)])
    other = np.concatenate([tone(0.3, pitch).values for pitch in (700, 250, 1500)])
    assert distortion(sound, sound) == pytest.approx(0, abs=1e-6)
    assert distortion(sound, 0.1 * sound) < 0.5  # how loud it is does not count
    assert distortion(sound, slower) < distortion(sound, other) / 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 2), (4, 5)])
def test_the_way_of_warping_is_the_cheapest(shape: tuple[int, int]) -> None:
    apart = np.random.default_rng(0).random(shape)

    def ways(i: int, j: int) -> list[list[tuple[int, int]]]:
        if (i, j) == (0, 0):
            return [[(0, 0)]]
        before = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        return [[*way, (i, j)] for a, b in before if a >= 0 and b >= 0 for way in ways(a, b)]

    cheapest = min(ways(shape[0] - 1, shape[1] - 1), key=lambda way: sum(apart[cell] for cell in way))
    assert warped(apart) == pytest.approx(float(np.mean([apart[cell] for cell in cheapest])))


def test_a_voice_is_most_like_itself(place: Path) -> None:
    wanted = [Utterance("a", tone(1.0, 300)), Utterance("b", tone(1.0, 310))]
    listeners = Listeners("none", str(place / "knower"))
    same = listeners.judge(wanted, [tone(1.0, 300), tone(1.0, 310)])
    other = listeners.judge(wanted, [tone(1.0, 2500), tone(1.0, 2600)])
    assert all(same[:, 4] > 0.99)
    assert all(other[:, 4] < same[:, 4])
    assert list(same[:, 0]) == [None, None]


def test_whoever_is_to_listen_is_looked_for_before_anything_is_spent(place: Path) -> None:
    with pytest.raises(ResourceError, match="it is not on this machine yet|not a folder here|did not give it"):
        prepare(recipe(place, "vits", listener="nobody/there"))
    with pytest.raises(RecipeError, match="does not tell voices apart"):
        prepare(recipe(place, "vits", speaker=str(place / "whisper")))


@pytest.mark.parametrize(
    ("listener", "speaker", "decides", "told"),
    [
        ("whisper", "knower", "likeness", {"likeness", "similarity", "wer", "cer", "mcd"}),
        ("whisper", "none", "wer", {"wer", "cer", "mcd"}),
        ("none", "knower", "likeness", {"likeness", "similarity", "mcd"}),
        ("none", "none", "mcd", {"mcd"}),
    ],
)
def test_what_nobody_judges_is_undefined(
    place: Path, listener: str, speaker: str, decides: str, told: set[str]
) -> None:
    who = {
        "listener": listener if listener == "none" else str(place / listener),
        "speaker": speaker if speaker == "none" else str(place / speaker),
    }
    scores = tune(recipe(place, "vits", **who)).scores
    assert scores["primary"] == decides
    assert {name for name, score in scores["test"].items() if score["value"] is not None} == told


def test_the_untouched_voice_stands_beside_the_tuned_one(place: Path) -> None:
    scores = tune(recipe(place, "piper_vits", "evaluation.baselines=true", "name=baselines")).scores
    assert set(scores["baselines"]) == {"untouched"}
    assert scores["comparison"]["metric"] == "likeness"


# What is kept of speech


def test_a_wave_is_kept_in_whole_numbers_with_its_end() -> None:
    kept = whole_numbers([torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.5])], 5)
    assert kept.tolist() == [[0, 32767, -32767, NOTHING, NOTHING], [16384, *[NOTHING] * 4]]


@pytest.mark.parametrize("family", VOICES)
def test_a_text_is_always_spoken_alike(family: str, place: Path) -> None:
    tuned = tune(recipe(place, family, f"name=alike-{family}")).tuned
    alone = tuned.predict("good bad")[0]
    among = tuned.predict(["bad good bad good", "good bad", "bad"])[1]
    assert np.array_equal(alone["prediction"], among["prediction"])
    assert alone["rate"] == 8000
    assert alone["seconds"] == pytest.approx(len(alone["prediction"]) / 8000, abs=1e-3)


def test_a_long_text_is_spoken_sentence_by_sentence(place: Path) -> None:
    tuned = tune(recipe(place, "vits", "name=long")).tuned
    first, second = "good bad " * 20, "bad " * 20
    parts = [tuned.predict(text.strip() + ".")[0]["prediction"] for text in (first, second * 3)]
    whole = tuned.predict(f"{first.strip()}. {(second * 3).strip()}.")[0]["prediction"]
    pause = np.zeros(int(0.2 * 8000), np.float32)
    assert np.array_equal(whole, np.concatenate([parts[0], pause, parts[1]]))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two!", ["One. Two!"]),
        ("a" * 200 + ". " + "b" * 200 + ".", ["a" * 200 + ".", "b" * 200 + "."]),
        ("好" * 200 + "。" + "好" * 150, ["好" * 200 + "。", "好" * 150]),
        ("line\nline", ["line line"]),
        (" ".join(["word"] * 100), [" ".join(["word"] * 60), " ".join(["word"] * 40)]),
    ],
)
def test_a_text_is_cut_between_sentences(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts
    assert all(len(part) <= 301 for part in parts)


def test_a_spectrogram_becomes_a_wave_that_has_it() -> None:
    import transformers

    extractor: Any = transformers.SpeechT5FeatureExtractor()
    frames = frames_of(tone(1.0, 300).values, extractor, 2)
    again = frames_of(griffin_lim(frames, extractor).numpy(), extractor, 2)[: len(frames)]
    loud = frames > frames.max() - 2  # within 20 dB
    assert float((again - frames[: len(again)]).abs()[loud[: len(again)]].mean()) < 0.3


def test_the_command_line_writes_a_file_for_each_text(place: Path, capsys: Any, monkeypatch: Any) -> None:
    import soundfile

    run = tune(recipe(place, "vits", "name=spoken")).run
    sounds = place / "spoken"
    monkeypatch.setattr("sys.argv", ["regraft", "predict", str(run.folder), "good bad", "bad", "--sounds", str(sounds)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({line["prediction"] for line in told}) == 2
    for line in told:
        samples, rate = soundfile.read(line["prediction"])
        assert (rate, round(len(samples) / rate, 3)) == (line["rate"], line["seconds"])


def test_predictions_name_the_files_and_what_was_heard(place: Path) -> None:
    import pyarrow.parquet as pq

    run = tune(recipe(place, "vits", "name=files")).run
    rows = pq.read_table(run.predictions).to_pylist()
    assert rows
    for row in rows:
        assert (run.folder / row["prediction"]).is_file()
        assert Path(row["target"]).is_file()
        assert isinstance(row["heard"], str)
        assert 0 <= row["similarity"] <= 1.0001
    assert all(a["id"] != b["id"] for a, b in pairwise(rows))


def test_what_a_voice_takes_is_forecast(place: Path) -> None:
    """More test rows than are rehearsed, so that what the others take is reckoned."""
    from regraft.forecasting import foresee

    split = "data.split={train: 0.3, validation: 0.1, test: 0.6}"
    table = place / "many"
    if not table.exists():
        toy_sounds(table, kind="speech", sounds=200)
    prepared = foresee(prepare(recipe(place, "vits", split, f"data={table}")), always=True)
    assert prepared.plan.forecast is not None
    assert prepared.plan.forecast["seconds"] > 0
