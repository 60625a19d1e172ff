"""What a model hears, writes down and spells; how sounds are cut, padded and varied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regraft import Tuned, evaluate, make_recipe, prepare, tune
from regraft.data.augment.options import SoundAugmentation
from regraft.data.sounds import LooseSound, loose_sound
from regraft.data.spoken import spoken_form
from regraft.errors import DataError, RecipeError
from regraft.pretrained.hearing import speller
from regraft.recipe import ModelOptions, TaskOptions
from regraft.sources import make_rows
from regraft.tasks import Plain
from regraft.tasks._ctc import BLANK, SPACE, ctc, spelled
from regraft.tasks._sounds import cut_at_pauses, ear_of
from regraft.tasks._writing import IGNORED
from regraft.testing import LISTENERS, WORDS, tiny_model, toy_sounds

ASR = "automatic-speech-recognition"
RATE = 8000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    toy_sounds(folder / "transcripts", kind="transcripts", sounds=60)
    toy_sounds(folder / "classes", kind="classes", sounds=60)
    for family in LISTENERS:
        tiny_model(folder / family.replace(", ", "-"), family=family, words=WORDS)
    return folder


def recipe(place: Path, family: str, table: str = "transcripts", **options: Any) -> Any:
    return make_recipe(
        {
            "task": {"name": ASR if table == "transcripts" else "audio-classification", **options.get("task", {})},
            "data": str(place / table),
            "model": {"name": str(place / family.replace(", ", "-")), "head": options.get("head", "own")},
            "strategy": {"name": "full", "learning_rate": 3e-3, **options.get("strategy", {})},
            "training": {"epochs": options.get("epochs", 1), "batch_size": 8, "precision": "fp32"},
            "augmentation": options.get("augmentation", {}),
            "evaluation": {"baselines": False, "resamples": 100},
            "cache": options.get("cache", {}),
            "output": str(place / "runs"),
        }
    )


def tone(seconds: float, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(np.arange(int(seconds * RATE)))).astype(np.float32)


def test_the_loss_of_whisper_is_the_one_that_transformers_computes(place: Path) -> None:
    prepared = prepare(recipe(place, "whisper"))
    rows, model = prepared.rows, prepared.pretrained
    batch = rows.batch(range(4), prepared.task, prepared.answers, model.processor)
    with torch.no_grad():
        ours = prepared.loss.function(model.model(**batch.inputs), batch.target).sum() / batch.units
        theirs = model.model(input_features=batch.inputs["input_features"], labels=batch.target).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2, masked", "hubert"])
def test_the_loss_of_ctc_is_the_one_that_transformers_computes(family: str, place: Path) -> None:
    """One sound at a time, where padding plays no part."""
    prepared = prepare(recipe(place, family))
    model = prepared.pretrained.model
    model.config.ctc_loss_reduction = "sum"
    for index in range(4):
        batch = prepared.rows.batch([index], prepared.task, prepared.answers, prepared.pretrained.processor)
        with torch.no_grad():
            ours = prepared.loss.function(model(**batch.inputs), batch.target).sum()
            theirs = model(**batch.inputs, labels=batch.target[:, 1:]).loss
        assert float(ours) == pytest.approx(float(theirs), rel=1e-4)


def test_a_text_that_is_longer_than_its_sound_costs_nothing_and_breaks_nothing() -> None:
    logits = torch.zeros(2, 3, 5, requires_grad=True)
    target = torch.tensor([[3, 1, 2, 1, 2, 1], [3, 1, IGNORED, IGNORED, IGNORED, IGNORED]])
    losses = ctc({"logits": logits}, target, blank=0)
    assert losses.tolist()[0] == 0
    losses.sum().backward()
    assert bool(torch.isfinite(logits.grad).all())


def test_a_text_is_spelled_in_spoken_form() -> None:
    tokenizer = speller([BLANK, SPACE, *"adho'st"])
    assert tokenizer.convert_ids_to_tokens(spelled("That's, a HOT day!", tokenizer)) == list("that's|a|hot|da")


def test_a_vocabulary_of_capitals_is_spelled_in_capitals() -> None:
    tokenizer = speller([BLANK, SPACE, "A", "B"])
    assert tokenizer.convert_ids_to_tokens(spelled("a b", tokenizer)) == ["A", SPACE, "B"]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Don't stop, Mr. O’Neill!", "don't stop mr o'neill"),
        ("  'Quoted'  —  ﬁne ", "quoted fine"),
        ("你好，世界。", "你好 世界"),
        ("a1 b-c", "a1 b c"),
        ("!?", ""),
    ],
)
def test_the_spoken_form_of_a_text(text: str, form: str) -> None:
    assert spoken_form(text) == form


@pytest.mark.parametrize(
    ("family", "kind", "alike"),
    [("whisper", "window", False), ("wav2vec2", "samples", True), ("wav2vec2, masked", "samples", False)],
)
def test_how_a_model_hears_is_found_by_listening(family: str, kind: str, alike: bool, place: Path) -> None:
    prepared = prepare(recipe(place, family))
    ear = ear_of(prepared.pretrained.processor.feature_extractor, prepared.pretrained.config)
    assert (ear.kind, ear.alike) == (kind, alike)
    assert prepared.task.max_seconds == (2.0 if family == "whisper" else 30.0)


def test_sounds_that_cannot_be_padded_are_computed_with_their_like(place: Path) -> None:
    tuned = tune(recipe(place, "wav2vec2")).tuned
    prepared = prepare(recipe(place, "wav2vec2"))
    encoded = make_rows(prepared.splits.train, tuned.task, tuned.answers, tuned.pretrained).encoded
    alone = np.concatenate([tuned.logits([row]) for row in encoded])
    assert np.array_equal(tuned.logits(encoded, batch_size=64), alone, equal_nan=True)


def test_sounds_of_equal_length_are_stored_though_they_cannot_be_padded(place: Path, tmp_path: Path) -> None:
    import soundfile

    folder = tmp_path / "equal"
    for label in ("high", "low"):
        (folder / label).mkdir(parents=True)
        for number in range(30):
            samples = tone(0.5) * (1 if label == "high" else 0.1) + number * 1e-4
            soundfile.write(folder / label / f"{number}.wav", samples, RATE)
    asked = recipe(place, "wav2vec2", "classes", strategy={"name": "linear-probe"}, epochs=2)
    outcome = tune(asked.model_copy(update={"data": asked.data.model_copy(update={"train": str(folder)})}))
    decided = next(event for event in outcome.run.history() if event["event"] == "execution")
    assert decided["from_rows"]


def test_a_recording_that_is_too_long_is_a_bad_row(place: Path) -> None:
    with pytest.raises(DataError, match=r"rows cannot be learned from:[\s\S]*lasts .* s; at most 0.3 are read"):
        prepare(recipe(place, "whisper", task={"max_seconds": 0.3}))


def test_more_seconds_than_the_model_hears_are_refused(place: Path) -> None:
    with pytest.raises(RecipeError, match="the model hears 2 s at a time"):
        prepare(recipe(place, "whisper", task={"max_seconds": 10}))


def test_a_long_sound_is_cut_at_its_pauses() -> None:
    parts = [
        tone(0.8),
        np.zeros(int(0.3 * RATE), np.float32),
        tone(0.7),
        np.zeros(int(0.3 * RATE), np.float32),
        tone(0.6),
    ]
    samples = np.concatenate(parts)
    found = cut_at_pauses(LooseSound(samples, RATE, 1, 0.5, 0.0), 1.2)
    assert np.array_equal(np.concatenate([part.values for part in found]), samples)
    assert all(part.seconds <= 1.2 for part in found)
    assert [abs(part.values[0]) < 0.01 for part in found[1:]] == [True] * (len(found) - 1)


def test_a_long_recording_is_written_down_piece_by_piece(place: Path) -> None:
    tuned = tune(recipe(place, "whisper", epochs=2)).tuned.writing(max_new_tokens=3)
    pause = np.zeros(int(0.4 * RATE), np.float32)
    short, long = tone(1.5), np.concatenate([tone(1.5), pause, tone(1.5), pause, tone(1.5)])
    one, several = (tuned.predict((samples, RATE))[0]["prediction"] for samples in (short, long))
    assert len(several.split()) >= 2 * len(one.split())


def test_a_transcript_is_shown_as_it_comes(place: Path) -> None:
    tuned = tune(recipe(place, "whisper", epochs=2)).tuned.writing(max_new_tokens=3)
    said = (tone(1.0), RATE)
    assert "".join(tuned.speak(said)).strip() == tuned.predict(said)[0]["prediction"]


def test_a_long_recording_is_shown_piece_by_piece_too(place: Path) -> None:
    tuned = tune(recipe(place, "whisper", epochs=2)).tuned.writing(max_new_tokens=3)
    said = (np.concatenate([tone(1.5), np.zeros(int(0.4 * RATE), np.float32), tone(1.5)]), RATE)
    assert "".join(tuned.speak(said)).split() == tuned.predict(said)[0]["prediction"].split()


def test_what_is_spelled_does_not_come_in_pieces(place: Path) -> None:
    tuned = tune(recipe(place, "wav2vec2")).tuned
    with pytest.raises(RecipeError, match="does not come in pieces"):
        tuned.speak((tone(1.0), RATE))


def test_a_long_sound_has_no_single_class(place: Path) -> None:
    tuned = tune(recipe(place, "whisper", "classes")).tuned
    with pytest.raises(RecipeError, match=r"a sound lasts 3.0 s; the model was tuned on at most 2"):
        tuned.predict((tone(3.0), RATE))


def test_a_sound_may_be_given_by_path_or_by_samples(place: Path) -> None:
    tuned = Tuned.load(tune(recipe(place, "wav2vec2, masked", "classes")).run.folder)
    file = next((place / "classes").rglob("*.flac"))
    import soundfile

    samples, rate = soundfile.read(file, dtype="float32")
    by_path, by_samples = tuned.predict([str(file), (samples, rate)])
    assert by_path["probabilities"] == pytest.approx(by_samples["probabilities"], abs=1e-5)


@pytest.mark.parametrize("family", ["whisper", "wav2vec2, masked"])
def test_a_view_is_a_pure_function_of_seed_number_and_sound(family: str, place: Path) -> None:
    prepared = prepare(recipe(place, family, augmentation={"policy": "strong"}))
    task, rows = prepared.task, prepared.rows
    encoded = rows.encoded
    plain = Plain(rows.examples, encoded, rows.values, prepared.answers, prepared.pretrained)
    options = SoundAugmentation(policy="strong")
    views, again, other = (task.views(plain, options, seed=seed, number=2) for seed in (0, 0, 1))
    heard = [task.inputs.collate([rows[3]], prepared.pretrained.processor) for rows in (views, again, other)]
    name = next(iter(heard[0]))
    assert torch.equal(heard[0][name], heard[1][name])
    assert heard[0][name].shape != heard[2][name].shape or not torch.equal(heard[0][name], heard[2][name])
    assert task.inputs.key(views[3]) == task.inputs.key(again[3]) != task.inputs.key(other[3])
    assert task.inputs.key(views[3]) != task.inputs.key(encoded[3])


def test_speed_is_refused_where_lengths_must_stay(place: Path) -> None:
    with pytest.raises(RecipeError, match=r"augmentation.speed changes lengths"):
        prepare(recipe(place, "wav2vec2", augmentation={"speed": [0.9, 1.1]}))


def test_a_stored_encoder_gives_the_weights_that_an_unstored_one_gives(place: Path) -> None:
    states = []
    for store in ("always", "never"):
        asked = recipe(place, "whisper", strategy={"freeze": ["encoder"]}, cache={"store": store}, epochs=2)
        states.append(tune(asked).tuned.pretrained.model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_stored_views_give_the_weights_that_unstored_ones_give(place: Path) -> None:
    states = []
    for store in ("always", "never"):
        augmentation = {"policy": "light", "views": 2}
        asked = recipe(
            place, "whisper", "classes", strategy={"name": "linear-probe"}, cache={"store": store}, epochs=4,
            augmentation=augmentation,
        )  # fmt: skip
        states.append(tune(asked).tuned.pretrained.model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_tones_are_told_apart(place: Path) -> None:
    scores = tune(recipe(place, "wav2vec2, masked", "classes", epochs=4)).scores
    assert scores["test"]["accuracy"]["value"] > 0.8


def test_tones_are_spelled(place: Path) -> None:
    outcome = tune(recipe(place, "wav2vec2, masked", head="graft", epochs=30))
    assert outcome.scores["test"]["cer"]["value"] < 0.5


def test_a_text_model_does_not_hear(place: Path, tmp_path: Path) -> None:
    tiny_model(tmp_path / "bert", words=WORDS)
    with pytest.raises(RecipeError, match="feature extractor cannot be opened"):
        prepare(recipe(place, "whisper").model_copy(update={"model": recipe(place, "x").model.model_copy(
            update={"name": str(tmp_path / "bert")})}))  # fmt: skip


def test_what_is_no_sound_is_said() -> None:
    with pytest.raises(ValueError, match="a sound is"):
        loose_sound([1, 2, 3])


def test_a_language_that_a_model_cannot_be_told_is_refused(place: Path) -> None:
    with pytest.raises(RecipeError, match=r"task.language = 'en': this model is told no language"):
        prepare(recipe(place, "whisper", task={"language": "en", "max_seconds": 2.0}))
    values = recipe(place, "whisper", task={"language": "xx"}).model_copy(
        update={"model": ModelOptions(name="whisper-tiny.en")}
    )
    with pytest.raises(RecipeError, match=r"task.language = 'xx'"):
        prepare(values)
    english = values.model_copy(update={"task": TaskOptions(name=ASR, language="en")})
    with pytest.raises(RecipeError, match="this model hears English only"):
        prepare(english)


def test_a_table_is_read_from_the_folder_that_the_run_read_from(place: Path, tmp_path: Path, capsys: Any) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes((place / "transcripts" / "metadata.csv").read_bytes())
    own = recipe(place, "whisper", task={"max_seconds": 2.0})
    data = own.data.model_copy(update={"train": str(table), "images": str(place / "transcripts")})
    run = tune(own.model_copy(update={"data": data})).run
    lines = table.read_text().splitlines()[:4]
    table.write_text("\n".join(lines) + "\n")
    assert evaluate(run.folder, data=str(table))["rows"] == 3
