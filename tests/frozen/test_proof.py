"""The proof and the key: what must not slip through."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regraft.frozen import Tap, depth_taps, features
from regraft.frozen.proof import Difference, Seen, difference
from regraft.recipe import CacheOptions
from tests.frozen.families import case

ONE = torch.ones(2)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_gradient_that_is_not_a_number_is_never_proved(names: tuple[str, str]) -> None:
    broken = dict(zip(names, (ONE, ONE * torch.nan), strict=True))
    found = difference(Seen([ONE], ONE.sum(), dict.fromkeys(names, ONE)), Seen([ONE], ONE.sum(), broken))
    assert not found.within(Difference(1.0, 1.0, 1.0))


def test_a_gradient_that_is_missing_counts() -> None:
    found = difference(Seen([ONE], ONE.sum(), {"a": ONE, "b": ONE}), Seen([ONE], ONE.sum(), {"a": ONE}))
    assert not found.within(Difference(0.5, 0.5, 0.5))


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5 encoder", "vit"])
def test_every_weight_below_a_tap_is_in_its_key_and_none_above(family: str, tmp_path: Path) -> None:
    subject = case(family, tmp_path).subject
    tap = Tap(2)
    before = subject.key(tap)
    below = {*subject.anatomy.stem, *subject.anatomy.blocks[0], *subject.anatomy.blocks[1]}
    for name, parameter in subject.model.named_parameters():
        with torch.no_grad():
            parameter.add_(1)
        assert (subject.key(tap) != before) is (name in below), name
        with torch.no_grad():
            parameter.sub_(1)
        before = subject.key(tap)


def test_the_probe_of_an_encoder_decoder_looks_at_its_encoder(tmp_path: Path) -> None:
    given = case("t5", tmp_path)
    subject = given.subject
    (found,) = features(subject, given.encoded, depth_taps(subject)[-1:], CacheOptions(store="never"), root=tmp_path)
    inputs = subject.batch(given.encoded[:1])
    alone = subject.model.base_model.get_encoder()(**inputs).last_hidden_state.mean(1)
    torch.testing.assert_close(torch.from_numpy(found[:1]), alone, rtol=0, atol=1e-5)
    key = subject.key(depth_taps(subject)[-1])
    with torch.no_grad():
        next(iter(subject.model.base_model.decoder.block[0].parameters())).add_(1)
    assert subject.key(depth_taps(subject)[-1]) == key
