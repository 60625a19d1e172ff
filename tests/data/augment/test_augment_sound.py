"""One sound, augmented: a pure function of samples, options and key; and what each option asks for is what is heard."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from regraft import extensions
from regraft.data.augment.options import NO_NOISE, SoundAugmentation
from regraft.data.augment.sound import augment, gain, noise, shift, spec_augment, speed
from regraft.errors import RecipeError
from tests.data.sounds import RATE, Samples, chirp

EVERYTHING = SoundAugmentation(noise=(5, 20), gain=(-6, 6), shift=0.1, speed=(0.9, 1.1))
MASKS = SoundAugmentation(frequency_masks=2, time_masks=2)
ALONE = {
    "noise": SoundAugmentation(noise=(5, 20)),
    "gain": SoundAugmentation(gain=(-6, 6)),
    "shift": SoundAugmentation(shift=0.1),
    "speed": SoundAugmentation(speed=(0.9, 1.1)),
    "light": SoundAugmentation(policy="light"),
    "strong": SoundAugmentation(policy="strong"),
    "everything": EVERYTHING,
}
KEY = (1, 2, "a")


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean()))


def features(frames: int = 200, bands: int = 80) -> torch.Tensor:
    return torch.randn(frames, bands, generator=torch.Generator().manual_seed(0))


class _Views(Dataset[Samples]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, place: int) -> Samples:
        return augment(chirp(seed=place), RATE, EVERYTHING, key=(7, 3, f"example {place}"))


@pytest.fixture
def one_more_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    yield
    torch.set_num_threads(before)


# A pure function.


@pytest.mark.parametrize("options", ALONE.values(), ids=ALONE)
def test_the_same_key_gives_the_same_bits(options: SoundAugmentation) -> None:
    first, second = (augment(chirp(1), RATE, options, key=KEY) for _ in range(2))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("key", [(2, 2, "a"), (1, 3, "a"), (1, 2, "b")])
@pytest.mark.parametrize("options", ALONE.values(), ids=ALONE)
def test_another_key_gives_another_sound(options: SoundAugmentation, key: tuple[int, int, str]) -> None:
    assert not np.array_equal(augment(chirp(1), RATE, options, key=KEY), augment(chirp(1), RATE, options, key=key))


@pytest.mark.parametrize("key", [(2, 2, "a"), (1, 3, "a"), (1, 2, "b")])
def test_another_key_gives_other_masks(key: tuple[int, int, str]) -> None:
    assert torch.equal(spec_augment(features(), MASKS, key=KEY), spec_augment(features(), MASKS, key=KEY))
    assert not torch.equal(spec_augment(features(), MASKS, key=KEY), spec_augment(features(), MASKS, key=key))


def test_workers_give_the_same_bits() -> None:
    here = _Views()
    for place, found in enumerate(DataLoader(here, batch_size=None, num_workers=2)):
        np.testing.assert_array_equal(found, here[place])


def test_the_number_of_threads_changes_no_bit(request: pytest.FixtureRequest) -> None:
    before = augment(chirp(2), RATE, EVERYTHING, key=KEY), spec_augment(features(), MASKS, key=KEY)
    request.getfixturevalue("one_more_thread")
    np.testing.assert_array_equal(before[0], augment(chirp(2), RATE, EVERYTHING, key=KEY))
    assert torch.equal(before[1], spec_augment(features(), MASKS, key=KEY))


def test_how_samples_lie_in_memory_changes_no_bit() -> None:
    samples = chirp(1)
    apart = np.stack([samples, samples], axis=1)[:, 0]
    np.testing.assert_array_equal(
        augment(samples, RATE, EVERYTHING, key=KEY), augment(apart, RATE, EVERYTHING, key=KEY)
    )


def test_global_random_states_are_untouched() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for view in range(5):
        augment(chirp(), RATE, EVERYTHING, key=(0, view, "a"))
        spec_augment(features(), MASKS, key=(0, view, "a"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_what_is_given_is_untouched() -> None:
    samples, given = chirp(), features()
    for view in range(5):
        augment(samples, RATE, EVERYTHING, key=(0, view, "a"))
        spec_augment(given, MASKS, key=(0, view, "a"))
    np.testing.assert_array_equal(samples, chirp())
    assert torch.equal(given, features())


def test_where_all_is_off_nothing_changes() -> None:
    np.testing.assert_array_equal(augment(chirp(), RATE, SoundAugmentation(), key=KEY), chirp())
    assert torch.equal(spec_augment(features(), SoundAugmentation(), key=KEY), features())


@pytest.mark.parametrize("length", [1, 2, 3, 17])
def test_a_very_short_sound_stays_one(length: int) -> None:
    for view in range(20):
        found = augment(chirp()[:length], RATE, EVERYTHING, key=(0, view, "a"))
        assert len(found) > 0
        assert np.isfinite(found).all()


# What is heard.


@pytest.mark.parametrize("pink", [False, True])
@pytest.mark.parametrize("amount", [1, 2, 1001, 8192])
def test_noise_is_as_loud_as_asked_for(pink: bool, amount: int) -> None:
    quiet = np.zeros(amount, np.float32)
    added = np.concatenate([noise(quiet, 0.1, RATE, pink=pink, seed=seed) for seed in range(8000 // amount + 1)])
    assert level(added) == pytest.approx(0.1, rel=0.05)


def test_the_ratio_of_signal_and_noise_is_within_the_range() -> None:
    ratios = []
    for view in range(20):
        added = augment(chirp(1), RATE, SoundAugmentation(noise=(5, 20)), key=(0, view, "a")) - chirp(1)
        ratios.append(20 * np.log10(level(chirp(1)) / level(added)))
    assert 4.8 < min(ratios) < 9
    assert 16 < max(ratios) < 20.2


@pytest.mark.parametrize(("pink", "slope"), [(False, 0), (True, -10)])
def test_pink_noise_falls_by_10_db_each_decade(pink: bool, slope: float) -> None:
    added = noise(np.zeros(1 << 17, np.float32), 1, RATE, pink=pink, seed=0)
    power = np.square(np.abs(np.fft.rfft(added)))
    bands = [power[start : 2 * start].mean() for start in (1 << 12, 1 << 15)]
    assert 10 * np.log10(bands[1] / bands[0]) == pytest.approx(slope * np.log10(8), abs=0.5)


def test_noise_fills_the_silence_that_a_shift_leaves() -> None:
    options = SoundAugmentation(noise=(10, 10), shift=0.1)
    assert all(np.abs(augment(chirp(), RATE, options, key=(0, view, "a"))).min() > 0 for view in range(5))


def test_silence_gets_no_noise() -> None:
    assert not augment(np.zeros(100, np.float32), RATE, SoundAugmentation(noise=(5, 5)), key=KEY).any()


@pytest.mark.parametrize(("decibels", "factor"), [(20, 10), (-20, 0.1), (0, 1), (6.0206, 2)])
def test_a_gain_of_so_many_decibels_is_a_factor(decibels: float, factor: float) -> None:
    np.testing.assert_allclose(gain(chirp(), decibels), chirp() * factor, rtol=1e-5)


@pytest.mark.parametrize("places", [0, 1, -1, 700, -700])
def test_a_shift_moves_silence_in_and_keeps_the_length(places: int) -> None:
    moved, silence = shift(chirp(), places), np.zeros(abs(places), np.float32)
    parts = [silence, chirp()[: 4000 - places]] if places > 0 else [chirp()[-places:], silence]
    np.testing.assert_array_equal(moved, np.concatenate(parts))


@pytest.mark.parametrize("places", [10_000, -10_000])
def test_half_of_a_sound_stays_whatever_the_shift(places: int) -> None:
    assert np.count_nonzero(shift(np.ones(999, np.float32), places)) == 500


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.973, 2.0])
def test_speed_changes_length_and_pitch(factor: float) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    played = speed(tone, factor, RATE)
    assert len(played) == pytest.approx(RATE / factor, abs=1)
    assert np.abs(np.fft.rfft(played)).argmax() * RATE / len(played) == pytest.approx(1000 * factor, rel=0.002)


def test_only_speed_changes_the_length() -> None:
    lengths = {name: len(augment(chirp(), RATE, options, key=KEY)) for name, options in ALONE.items()}
    assert {name for name, length in lengths.items() if length != 4000} == {"speed", "strong", "everything"}


# Masks.


@pytest.mark.parametrize(("options", "axis"), [({"frequency_masks": 1}, 1), ({"time_masks": 1}, 0)])
def test_a_mask_hides_a_part_as_wide_as_asked_for_at_most(options: dict[str, int], axis: int) -> None:
    given, widths = features(), []
    asked = SoundAugmentation(frequency_width=0.25, time_width=0.25, **options)  # type: ignore[arg-type]
    for view in range(100):
        found = spec_augment(given, asked, key=(0, view, "a"))
        hidden = (found != given).all(dim=1 - axis).nonzero().flatten().tolist()
        assert hidden == list(range(hidden[0], hidden[-1] + 1)) if hidden else True
        assert torch.count_nonzero(found != given) == len(hidden) * given.shape[1 - axis]
        widths.append(len(hidden))
    size = given.shape[axis]
    assert min(widths) < 0.03 * size
    assert 0.22 * size < max(widths) <= 0.25 * size


def test_what_is_hidden_is_the_mean() -> None:
    found = spec_augment(features() + 7, MASKS, key=KEY)
    hidden = found[found != features() + 7]
    assert len(hidden.unique()) == 1
    assert hidden[0] == pytest.approx(float((features() + 7).mean()), rel=1e-5)


def test_features_may_lie_either_way() -> None:
    upright = spec_augment(features(), MASKS, key=KEY)
    assert torch.equal(spec_augment(features().T.contiguous(), MASKS, key=KEY, time=1).T, upright)


def test_padding_stays_as_it_is() -> None:
    padded = torch.cat((features(120), torch.full((80, 80), -9.0)))
    for view in range(20):
        found = spec_augment(padded, MASKS, key=(0, view, "a"), frames=120)
        assert torch.equal(found[120:], padded[120:])
        assert torch.equal(found[:120], spec_augment(features(120), MASKS, key=(0, view, "a")))


@pytest.mark.parametrize("shape", [(0, 80), (1, 80), (200, 1)])
def test_features_of_any_size_are_fine(shape: tuple[int, int]) -> None:
    for view in range(10):
        assert spec_augment(torch.ones(shape), MASKS, key=(0, view, "a")).shape == shape


# Options.


def test_all_is_off_unless_asked_for() -> None:
    assert SoundAugmentation().off


@pytest.mark.parametrize("asked", [*ALONE.values(), MASKS], ids=[*ALONE, "masks"])
def test_one_option_turns_it_on(asked: SoundAugmentation) -> None:
    assert not asked.off


@pytest.mark.parametrize(
    "asked",
    [
        *({"noise": (NO_NOISE, NO_NOISE)}, {"gain": (0, 0)}, {"speed": (1, 1)}, {"shift": 0}),
        *({"frequency_masks": 2, "frequency_width": 0.0}, {"time_masks": 2, "time_width": 0.0}),
    ],
    ids=str,
)
def test_an_option_that_changes_nothing_is_off(asked: dict[str, Any]) -> None:
    assert SoundAugmentation(**asked).off


def test_an_option_goes_before_the_policy() -> None:
    settled = SoundAugmentation(policy="strong", speed=(1, 1), time_masks=0).settled
    assert (settled.speed, settled.time_masks, settled.frequency_masks, settled.gain) == ((1, 1), 0, 2, (-12, 12))


def test_views_take_turns() -> None:
    assert [SoundAugmentation(views=3).view(epoch) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert [SoundAugmentation().view(epoch) for epoch in range(3)] == [0, 1, 2]


def test_a_range_is_a_list_in_a_recipe() -> None:
    built = extensions.build("augmentation", SoundAugmentation, {"noise": [5, 20], "speed": [0.9, 1.1]})
    assert built == SoundAugmentation(noise=(5, 20), speed=(0.9, 1.1))


@pytest.mark.parametrize(
    "asked",
    [
        *({"noise": [20, 5]}, {"noise": 10}, {"noise": [5]}, {"noise": [5, 101]}, {"gain": ["low", "high"]}),
        *({"speed": [0, 1]}, {"speed": [0.9, 3]}, {"speed": [True, True]}, {"shift": -1}, {"policy": "rand"}),
        *({"views": 0}, {"time_masks": -1}, {"time_masks": 1.5}, {"frequency_width": 2}, {"flip": 0.5}),
        {"gain": [float("nan"), 1]},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        extensions.build("augmentation", SoundAugmentation, asked)


def test_every_option_is_explained() -> None:
    said = SoundAugmentation.__doc__ or ""
    assert [field.name for field in fields(SoundAugmentation) if f"\n        {field.name}: " not in said] == []
