"""One sample, augmented: a pure function, and nothing that lies in the picture is left behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from regraft.data.augment.geometry import mirrored, moved, rotation, shear, shift, zoom
from regraft.data.augment.image import augment
from regraft.data.augment.options import ImageAugmentation
from regraft.data.augment.policies import LOOKS, MOVES, USUAL, WIDE, WIDE_FOR_OBJECTS, Reach, chosen, reach
from regraft.data.augment.sample import GREY, Sample, resized, window
from regraft.data.masks import IGNORE
from tests.data.augment.pictures import colourful, edges, rectangle, same

EVERYTHING = ImageAugmentation(
    policy="rand", flip=0.5, flip_vertical=0.5, crop=0.4, rotate=20, colour=0.4, blur=1.5, noise=0.1, erase=0.5
)
ALONE = {
    "flip": ImageAugmentation(flip=1.0),
    "flip_vertical": ImageAugmentation(flip_vertical=1.0),
    "crop": ImageAugmentation(crop=0.5),
    "rotate": ImageAugmentation(rotate=30.0),
    "colour": ImageAugmentation(colour=0.4),
    "blur": ImageAugmentation(blur=3.0),
    "noise": ImageAugmentation(noise=0.2),
    "erase": ImageAugmentation(erase=1.0),
    "light": ImageAugmentation(policy="light"),
    "trivial": ImageAugmentation(policy="trivial"),
    "rand": ImageAugmentation(policy="rand"),
}
SIZE = (72, 96)
MOVED = {
    "turned": rotation(25, SIZE),
    "turned back": rotation(-70, SIZE),
    "slanted": shear(0.3, 0, SIZE),
    "slanted down": shear(0, -0.3, SIZE),
    "shifted": shift(0.11, -0.2),
    "enlarged": zoom(0.25, 0.3, 0.8, 0.75),
    "turned and enlarged": zoom(0.2, 0.1, 0.9, 0.9) @ rotation(15, SIZE),
    **{f"{name} {sign}": move(sign, WIDE, SIZE) for name, move in MOVES.items() for sign in (-1.0, 1.0)},
}


class _Views(Dataset[Sample]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, place: int) -> Sample:
        return augment(colourful(seed=place), EVERYTHING, key=(7, 3, f"example {place}"))


@pytest.fixture
def one_more_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("options", ALONE.values(), ids=ALONE)
def test_the_same_key_gives_the_same_bits(options: ImageAugmentation) -> None:
    sample = colourful()
    assert same(augment(sample, options, key=(1, 2, "a")), augment(sample, options, key=(1, 2, "a")))


@pytest.mark.parametrize("key", [(2, 2, "a"), (1, 3, "a"), (1, 2, "b")])
def test_another_key_gives_another_picture(key: tuple[int, int, str]) -> None:
    sample = colourful()
    options = ImageAugmentation(policy="light")
    assert not torch.equal(augment(sample, options, key=(1, 2, "a")).image, augment(sample, options, key=key).image)


def test_workers_give_the_same_bits() -> None:
    here = _Views()
    loader = DataLoader(here, batch_size=None, num_workers=2)
    assert all(same(found, here[place]) for place, found in enumerate(loader))


@pytest.mark.parametrize("options", [*ALONE.values(), EVERYTHING], ids=[*ALONE, "everything"])
def test_the_number_of_threads_changes_no_bit(options: ImageAugmentation, request: pytest.FixtureRequest) -> None:
    sample = colourful((224, 224))
    before = [augment(sample, options, key=(0, view, "a")) for view in range(6)]
    request.getfixturevalue("one_more_thread")
    assert all(same(found, augment(sample, options, key=(0, view, "a"))) for view, found in enumerate(before))


@pytest.mark.parametrize("options", [*ALONE.values(), EVERYTHING], ids=[*ALONE, "everything"])
def test_how_the_pixels_lie_in_memory_changes_no_bit(options: ImageAugmentation) -> None:
    sample = colourful((64, 80))
    other = replace(sample, image=sample.image.permute(1, 2, 0).contiguous().permute(2, 0, 1))
    for view in range(4):
        assert same(augment(sample, options, key=(0, view, "a")), augment(other, options, key=(0, view, "a")))


def test_global_random_states_are_untouched() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for view in range(10):
        augment(colourful(), EVERYTHING, key=(0, view, "a"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_the_sample_itself_is_untouched() -> None:
    sample = colourful()
    for view in range(10):
        augment(sample, EVERYTHING, key=(0, view, "a"))
    assert same(sample, colourful())


def test_where_all_is_off_nothing_changes() -> None:
    assert same(augment(colourful(), ImageAugmentation(), key=(0, 0, "a")), colourful())


@pytest.mark.parametrize(("vertical", "axis"), [(False, 2), (True, 1)])
def test_a_mirror_image_is_exact(vertical: bool, axis: int) -> None:
    sample = colourful()
    assert torch.equal(mirrored(sample, upside_down=vertical).image, sample.image.flip(axis))


@pytest.mark.parametrize("name", ["flip", "flip_vertical", "crop", "rotate"])
@pytest.mark.parametrize("view", range(4))
def test_boxes_follow_what_is_bright(name: str, view: int) -> None:
    _check_box(augment(rectangle(), ALONE[name], key=(0, view, "a")))


@pytest.mark.parametrize("name", MOVED)
def test_boxes_follow_every_matrix(name: str) -> None:
    _check_box(moved(rectangle(), MOVED[name]))


@pytest.mark.parametrize("name", MOVED)
def test_masks_follow_every_matrix(name: str) -> None:
    _check_mask(moved(rectangle(), MOVED[name]))


@pytest.mark.parametrize("name", ["flip", "flip_vertical", "crop", "rotate"])
@pytest.mark.parametrize("view", range(4))
def test_masks_follow_what_is_bright(name: str, view: int) -> None:
    _check_mask(augment(rectangle(), ALONE[name], key=(0, view, "a")))


@pytest.mark.parametrize("size", [(72, 96), (51, 51), (40, 121)])
def test_boxes_of_any_shape_of_image_follow_a_turn(size: tuple[int, int]) -> None:
    _check_box(moved(rectangle(size), rotation(33, size)))


def test_a_turn_keeps_angles_where_an_image_is_not_square() -> None:
    wide = rectangle((60, 120), (0.45, 0.4, 0.55, 0.6))
    turned = moved(wide, rotation(90, (60, 120)))
    assert wide.boxes is not None
    torch.testing.assert_close(turned.boxes, wide.boxes, atol=0.01, rtol=0)


def test_a_shift_by_whole_pixels_is_exact() -> None:
    sample = colourful((24, 32))
    found = moved(sample, shift(5 / 32, -3 / 24))
    assert found.mask is not None
    assert sample.mask is not None
    torch.testing.assert_close(found.image[:, :-3, 5:], sample.image[:, 3:, :-5], atol=1e-5, rtol=0)
    assert torch.equal(found.mask[:-3, 5:], sample.mask[3:, :-5])


def test_half_a_turn_is_two_mirrors() -> None:
    sample = colourful((24, 31))
    found, twice = moved(sample, rotation(180, (24, 31))), mirrored(mirrored(sample), upside_down=True)
    torch.testing.assert_close(found.image, twice.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.boxes, twice.boxes)


def test_a_turn_goes_against_the_clock() -> None:
    right = rectangle((60, 60), (0.7, 0.45, 0.9, 0.55))
    top, bottom, *_ = edges(moved(right, rotation(90, (60, 60))).image[0] > 0.75)
    assert bottom <= 20
    assert top >= 4


def test_what_comes_from_outside_is_grey_and_ignored() -> None:
    found = moved(rectangle(), shift(0.25, 0))
    assert found.mask is not None
    assert bool((found.image[:, :, :24] == GREY).all())
    assert bool((found.mask[:, :24] == IGNORE).all())
    assert not bool((found.mask[:, 24:] == IGNORE).any())


def test_a_crop_brings_nothing_from_outside() -> None:
    for view in range(20):
        found = augment(rectangle(), ALONE["crop"], key=(0, view, "a"))
        assert found.mask is not None
        assert not bool((found.mask == IGNORE).any())


def test_a_crop_keeps_at_least_the_share_of_the_area() -> None:
    """A box of the whole image becomes larger than the image; how much is told by a small one in the middle."""
    for view in range(50):
        found = augment(rectangle(box=(0.4, 0.4, 0.6, 0.6)), ImageAugmentation(crop=0.5), key=(0, view, "a"))
        if found.boxes is None or not len(found.boxes):
            continue
        (left, top, right, bottom) = found.boxes[0, 1:].tolist()
        if min(left, top) > 0 and max(right, bottom) < 1:
            assert 0.97 < (right - left) * (bottom - top) / 0.04 < 2.1


@pytest.mark.parametrize(("kept", "boxes"), [(0.26, 1), (0.24, 0)])
def test_a_box_is_dropped_where_less_than_a_quarter_is_left(kept: float, boxes: int) -> None:
    sample = Sample(torch.zeros(3, 100, 100), torch.tensor([[0, 0.4, 0.4, 0.8, 0.8]]))
    found = moved(sample, shift(0.6 - 0.4 * kept, 0))
    assert found.boxes is not None
    assert len(found.boxes) == boxes


@pytest.mark.parametrize(("pixels", "boxes"), [(1.2, 1), (0.8, 0)])
def test_a_box_is_dropped_where_it_is_thinner_than_a_pixel(pixels: float, boxes: int) -> None:
    sample = Sample(torch.zeros(3, 100, 100), torch.tensor([[0, 0.4, 0.4, 0.4 + pixels / 100, 0.8]]))
    found = moved(sample, shift(0.1, 0))
    assert found.boxes is not None
    assert len(found.boxes) == boxes


def test_boxes_are_cut_at_the_edge() -> None:
    sample = Sample(torch.zeros(3, 100, 100), torch.tensor([[3, 0.5, 0.5, 0.9, 0.9]]))
    found = moved(sample, shift(0.3, 0.2))
    torch.testing.assert_close(found.boxes, torch.tensor([[3, 0.8, 0.7, 1.0, 1.0]]))


def test_a_box_that_is_erased_is_dropped() -> None:
    small = torch.tensor([[0, 0.49, 0.49, 0.51, 0.51]])
    found = [augment(Sample(torch.zeros(3, 100, 100), small), ALONE["erase"], key=(0, view, "a")) for view in range(60)]
    hidden = [bool((each.image[0, 49:51, 49:51] == GREY).all()) for each in found]
    assert any(hidden)
    assert [len(each.boxes) == 0 for each in found if each.boxes is not None] == hidden


def test_what_is_erased_is_ignored_in_the_mask() -> None:
    found = augment(rectangle(), ALONE["erase"], key=(0, 0, "a"))
    assert found.mask is not None
    assert torch.equal(found.mask == IGNORE, found.image[0] == GREY)
    assert 0.01 < float((found.mask == IGNORE).float().mean()) < 0.22


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("reached", [WIDE, USUAL], ids=["wide", "usual"])
@pytest.mark.parametrize("strength", [-1.0, 1.0])
@pytest.mark.parametrize("size", [(24, 31), (1, 1), (2, 9)])
def test_every_look_stays_an_image(name: str, reached: Reach, strength: float, size: tuple[int, int]) -> None:
    _check_image(LOOKS[name](colourful(size).image, strength, reached), size)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("reached", [WIDE, WIDE_FOR_OBJECTS, USUAL], ids=["wide", "objects", "usual"])
@pytest.mark.parametrize("strength", [-1.0, 1.0])
@pytest.mark.parametrize("size", [(24, 31), (1, 1), (2, 9)])
def test_every_move_stays_a_sample(name: str, reached: Reach, strength: float, size: tuple[int, int]) -> None:
    _check_sample(moved(colourful(size), MOVES[name](strength, reached, size)), size)


@pytest.mark.parametrize("name", [name for name in LOOKS if name not in {"identity", "solarize", "posterize"}])
def test_looks_are_gentle_where_a_picture_is_flat(name: str) -> None:
    flat = torch.full((3, 9, 9), 0.5)
    if name == "brightness":
        torch.testing.assert_close(LOOKS[name](flat, 0.4, USUAL), flat * (1 + 0.4 * USUAL.enhance))
    else:
        torch.testing.assert_close(LOOKS[name](flat, 0.4, USUAL), flat, atol=0.003, rtol=0)


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_every_operation_is_drawn_about_equally_often(policy: str) -> None:
    options = ImageAugmentation(policy=policy, operations=2)
    names = [name for view in range(1500) for name, _ in chosen(options, (0, view, "a"))]
    counts = {name: names.count(name) * 14 / len(names) for name in [*MOVES, *LOOKS]}
    assert len(counts) == 14
    assert min(counts.values()) > 0.6
    assert max(counts.values()) < 1.4


def test_trivial_draws_one_operation_of_any_strength() -> None:
    drawn = [chosen(ImageAugmentation(policy="trivial"), (0, view, "a")) for view in range(400)]
    assert {len(each) for each in drawn} == {1}
    assert len({abs(strength) for [(_, strength)] in drawn}) == 31


def test_objects_are_turned_less() -> None:
    options = ImageAugmentation(policy="trivial")
    assert (reach(options, objects=False).turn, reach(options, objects=True).turn) == (135, 30)


def test_rand_draws_several_operations_of_one_strength() -> None:
    options = ImageAugmentation(policy="rand", operations=3, magnitude=15)
    drawn = chosen(options, (0, 0, "a"))
    assert [abs(strength) for _, strength in drawn] == [0.5] * 3


@pytest.mark.parametrize("options", [EVERYTHING, *ALONE.values()], ids=["everything", *ALONE])
def test_without_geometry_nothing_moves(options: ImageAugmentation) -> None:
    sample = colourful()
    still = replace(options, geometry=False, erase=0.0)
    for view in range(20):
        found = augment(sample, still, key=(0, view, "a"))
        assert same(replace(found, image=sample.image), sample)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    policy=st.sampled_from(["none", "light", "trivial", "rand"]),
    view=st.integers(0, 10**6),
    magnitude=st.integers(0, 30),
    strengths=st.tuples(*[st.floats(0, 1)] * 5),
)
@settings(max_examples=150, deadline=None)
def test_any_size_and_any_options_give_a_sample(
    height: int, width: int, policy: str, view: int, magnitude: int, strengths: tuple[float, ...]
) -> None:
    turn, strong, soft, loud, erase = strengths
    options = ImageAugmentation(
        policy=policy,  # type: ignore[arg-type]
        flip=0.5,
        crop=max(0.05, 1 - turn),
        rotate=180 * turn,
        colour=strong,
        blur=20 * soft**3,
        noise=loud,
        erase=erase,
        magnitude=magnitude,
        operations=3,
    )
    _check_sample(augment(colourful((height, width)), options, key=(0, view, "a")), (height, width))


@pytest.mark.parametrize("size", [(5, 7), (100, 90), (1, 1), (33, 47)])
def test_resized_keeps_boxes_and_fits_the_mask(size: tuple[int, int]) -> None:
    found = resized(colourful(), size)
    _check_sample(found, size)
    torch.testing.assert_close(found.boxes, colourful().boxes)


def test_a_window_shows_a_part_with_its_boxes() -> None:
    sample = rectangle((72, 96))
    found = window(sample, 20, 30, (40, 50))
    _check_box(found)
    _check_mask(found)


def test_no_boxes_stay_no_boxes() -> None:
    sample = replace(colourful(), boxes=torch.zeros(0, 5))
    for view in range(10):
        found = augment(sample, EVERYTHING, key=(0, view, "a"))
        assert found.boxes is not None
        assert found.boxes.shape == (0, 5)


def _check_box(found: Sample) -> None:
    height, width = found.size
    assert found.boxes is not None
    assert len(found.boxes) == 1
    label, left, top, right, bottom = found.boxes[0].tolist()
    seen = edges(found.image[0] > 0.51)
    assert label == 2
    assert (top * height, bottom * height, left * width, right * width) == pytest.approx(seen, abs=1.5)


def _check_mask(found: Sample) -> None:
    """The mask of the rectangle is where it is bright, but for pixels at its edge."""
    assert found.mask is not None
    assert found.mask.dtype == torch.uint8
    differ = (found.mask == 1) != (found.image[0] > 0.51)
    top, bottom, left, right = edges(found.image[0] > 0.51)
    assert int(differ.sum()) <= (bottom - top + right - left) / 2 + 2


def _check_sample(found: Sample, size: tuple[int, int]) -> None:
    _check_image(found.image, size)
    assert found.mask is not None
    assert found.mask.shape == size
    assert set(found.mask.unique().tolist()) <= {0, 1, 2, IGNORE}
    assert found.boxes is not None
    assert found.boxes.shape[1:] == (5,)
    assert found.boxes.dtype == torch.float32
    corners = found.boxes[:, 1:]
    assert bool(((corners >= 0) & (corners <= 1)).all())
    assert bool((corners[:, 2:] > corners[:, :2]).all())
    assert set(found.boxes[:, 0].tolist()) <= {0.0, 1.0}


def _check_image(image: torch.Tensor, size: tuple[int, int]) -> None:
    assert image.dtype == torch.float32
    assert image.shape == (3, *size)
    assert bool(((image >= 0) & (image <= 1)).all())
