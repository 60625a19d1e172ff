"""Several samples in one: who, how much of each, and where everything is then."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.data.augment.mixing import cutmix, mixup, mosaic, partner
from regraft.data.augment.sample import Sample
from regraft.data.masks import IGNORE
from tests.data.augment.pictures import colourful, edges, rectangle, same


def test_mixup_blends_by_the_share_it_tells() -> None:
    a, b = colourful(seed=1), colourful(seed=2)
    for view in range(10):
        found, share = mixup(a, b, (0, view, "a"), 1.0)
        torch.testing.assert_close(found.image, share * a.image + (1 - share) * b.image)
        assert 0 <= share <= 1


def test_mixup_keeps_the_boxes_of_both() -> None:
    a, b = colourful(seed=1), rectangle((33, 47))
    found, _ = mixup(a, b, (0, 0, "a"), 1.0)
    assert found.boxes is not None
    assert found.boxes[:, 0].tolist() == [0, 1, 2]


def test_mixup_has_the_mask_of_the_larger_share() -> None:
    a, b = colourful(seed=1), colourful(seed=2)
    for view in range(10):
        found, share = mixup(a, b, (0, view, "a"), 1.0)
        larger = a if share >= 0.5 else b
        assert found.mask is larger.mask


@pytest.mark.parametrize(("alpha", "spread"), [(0.1, 0.4), (1.0, 0.28), (8.0, 0.12)])
def test_shares_are_drawn_from_beta(alpha: float, spread: float) -> None:
    """Its standard deviation is 1 / (2 sqrt(2 alpha + 1))."""
    tiny = Sample(torch.zeros(3, 1, 1))
    shares = torch.tensor([mixup(tiny, tiny, (0, view, "a"), alpha)[1] for view in range(800)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(shares.std()) == pytest.approx(1 / (2 * (2 * alpha + 1) ** 0.5), abs=0.03)
    assert float(shares.std()) == pytest.approx(spread, abs=0.08)


def test_cutmix_tells_the_share_of_pixels() -> None:
    black, white = Sample(torch.zeros(3, 31, 45)), Sample(torch.ones(3, 31, 45))
    for view in range(30):
        found, share = cutmix(black, white, (0, view, "a"), 1.0)
        assert float((found.image[0] == 0).double().mean()) == pytest.approx(share)


def test_cutmix_pastes_picture_and_mask_alike() -> None:
    a, b = colourful(seed=1), colourful(seed=2)
    assert a.mask is not None
    assert b.mask is not None
    for view in range(10):
        found, _ = cutmix(a, b, (0, view, "a"), 1.0)
        pasted = (found.image == b.image).all(0) & ~(a.image == b.image).all(0)
        assert found.mask is not None
        assert torch.equal(found.mask, torch.where(pasted, b.mask, a.mask))


def test_cutmix_keeps_the_boxes_that_are_seen() -> None:
    """A box of white, and one on black that it may hide: both are where their colours are."""
    left = Sample(torch.zeros(3, 60, 60), torch.tensor([[0, 0.0, 0.3, 0.4, 0.6]]))
    left.image[0, 18:36, 0:24] = 1
    right = Sample(torch.full((3, 60, 60), 0.5), torch.tensor([[1, 0.5, 0.2, 0.9, 0.8]]))
    right.image[1, 12:48, 30:54] = 1
    counts = set()
    for view in range(40):
        found, _ = cutmix(left, right, (0, view, "a"), 1.0)
        assert found.boxes is not None
        labels = found.boxes[:, 0].tolist()
        for label, channel, whole in ((0, 0, 18 * 24), (1, 1, 36 * 24)):
            seen = found.image[channel] == 1
            assert (label in labels) == (int(seen.sum()) >= 0.25 * whole)
            if label in labels:
                box = found.boxes[labels.index(label), 1:].tolist()
                top, bottom, start, end = edges(seen)
                assert box == pytest.approx([start / 60, top / 60, end / 60, bottom / 60], abs=1e-5)
        counts.add(len(labels))
    assert counts == {0, 1, 2} or counts == {1, 2}


def test_another_size_is_brought_to_the_first() -> None:
    a, b = colourful((30, 40)), colourful((50, 20))
    assert mixup(a, b, (0, 0, "a"), 1.0)[0].size == (30, 40)
    assert cutmix(a, b, (0, 0, "a"), 1.0)[0].size == (30, 40)


def test_mosaic_has_the_four_in_its_corners() -> None:
    shades = [0.1, 0.3, 0.6, 0.9]
    plain = [Sample(torch.full((3, 40, 56), shade)) for shade in shades]
    for view in range(10):
        found = mosaic(plain, (0, view, "a")).image[0]
        corners = [found[0, 0], found[0, -1], found[-1, 0], found[-1, -1]]
        assert [round(float(corner), 4) for corner in corners] == shades
        rows, columns = (found[:, 0] < 0.5).sum(), (found[0] < 0.2).sum()
        assert 10 <= int(rows) <= 30
        assert 14 <= int(columns) <= 42


def test_mosaic_places_boxes_where_the_objects_are() -> None:
    """One of the four has a white rectangle: its box is around what is bright."""
    empty = Sample(torch.zeros(3, 72, 96), torch.zeros(0, 5), torch.zeros(72, 96, dtype=torch.uint8))
    found_any = 0
    for view in range(40):
        four = [empty] * 4
        four[view % 4] = rectangle()
        found = mosaic(four, (0, view, "a"))
        assert found.boxes is not None
        assert found.mask is not None
        if len(found.boxes):
            found_any += 1
            top, bottom, left, right = edges(found.image[0] > 0.5)
            box = [left / 96, top / 72, right / 96, bottom / 72]
            assert found.boxes[0, 1:].tolist() == pytest.approx(box, abs=1.5 / 72)
            differ = (found.mask == 1) != (found.image[0] > 0.5)
            assert int(differ.sum()) <= (bottom - top + right - left) + 2
    assert found_any > 30


def test_mixing_is_a_pure_function() -> None:
    a, b = colourful(seed=1), colourful(seed=2)
    before = torch.get_rng_state()
    for mix in (mixup, cutmix):
        assert same(mix(a, b, (0, 1, "a"), 0.4)[0], mix(a, b, (0, 1, "a"), 0.4)[0])
        assert not same(mix(a, b, (0, 1, "a"), 0.4)[0], mix(a, b, (0, 2, "a"), 0.4)[0])
    assert same(mosaic([a, b, a, b], (0, 1, "a")), mosaic([a, b, a, b], (0, 1, "a")))
    assert torch.equal(before, torch.get_rng_state())
    assert same(a, colourful(seed=1))


def test_a_partner_is_another() -> None:
    ids = ["a", "b", "c"]
    drawn = {partner((0, view, "a"), ids) for view in range(50)}
    assert drawn == {1, 2}
    assert partner((0, 0, "a"), ["a"]) == 0


def test_partners_of_a_mosaic_differ_by_turn() -> None:
    ids = [str(number) for number in range(1000)]
    assert len({partner((0, 0, "0"), ids, turn=turn) for turn in range(3)}) == 3


@given(
    sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=4, max_size=4), view=st.integers(0, 9999)
)
@settings(max_examples=80, deadline=None)
def test_any_sizes_can_be_mixed(sizes: list[tuple[int, int]], view: int) -> None:
    four = [colourful(size) for size in sizes]
    key = (0, view, "a")
    for found in (mosaic(four, key), mixup(*four[:2], key, 0.2)[0], cutmix(*four[:2], key, 1.0)[0]):
        assert found.size == sizes[0]
        assert found.boxes is not None
        assert found.mask is not None
        assert found.mask.shape == sizes[0]
        assert set(found.mask.unique().tolist()) <= {0, 1, 2, IGNORE}
        assert bool(((found.image >= 0) & (found.image <= 1)).all())
        assert bool(((found.boxes[:, 1:] >= 0) & (found.boxes[:, 1:] <= 1.0001)).all())
