"""Hashes depend on content and on nothing else; what is drawn from them looks random."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.fingerprint import digest, draw, example_id, file_sha256, tensors_sha256, uniform


def test_the_order_of_keys_does_not_matter() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert example_id({"text": "a", "text_pair": "b"}) == example_id({"text_pair": "b", "text": "a"})


@pytest.mark.parametrize(("one", "other"), [
    ({"text": "a"}, {"text": "b"}), ({"text": "ab", "text_pair": "c"}, {"text": "a", "text_pair": "bc"}),
    ({"text": "1"}, {"text": 1}), ({"text": "é"}, {"text": "e\u0301"}), ({"text": "a"}, {"text": "a "}),
])  # fmt: skip
def test_other_inputs_have_another_id(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert example_id(one) != example_id(other)


def test_an_id_stays_what_it_is() -> None:
    """A split, an order and a checkpoint depend on it: to change it is to break runs that were begun."""
    assert example_id({"text": "A film to remember."}) == EXPECTED_ID
    assert draw("order", 0, 1, "x") == EXPECTED_DRAW


EXPECTED_ID = "d03795620638d617399b44de51745658"
EXPECTED_DRAW = 95058303415016451


def test_half_a_surrogate_pair_has_an_id() -> None:
    assert len(example_id({"text": "\ud800"})) == 32


def test_what_is_drawn_depends_on_every_part() -> None:
    assert len({draw(*parts) for parts in [(0,), (1,), ("0",), (0, 0), (0, 1), (1, 0), ((0, 1),)]}) == 7


def test_what_is_drawn_is_even() -> None:
    drawn = [uniform("test", number) for number in range(20_000)]
    assert 0 <= min(drawn) < 0.001
    assert 0.999 < max(drawn) < 1
    assert statistics.mean(drawn) == pytest.approx(0.5, abs=0.01)
    assert statistics.pstdev(drawn) == pytest.approx(12**-0.5, abs=0.01)


def test_a_file_is_hashed_as_sha256sum_does(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_tensors_are_hashed_by_every_bit() -> None:
    tensor = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    same = tensors_sha256({"a": tensor})
    assert tensors_sha256({"a": tensor.t().contiguous().t()}) == same  # however it lies in memory
    assert tensors_sha256({"a": tensor.clone().requires_grad_()}) == same
    flipped = tensor.clone()
    flipped.view(torch.int32)[0, 0] ^= 1
    others = [{"b": tensor}, {"a": tensor.t()}, {"a": tensor.reshape(4)}, {"a": tensor.double()}, {"a": flipped},
              {"a": tensor, "b": tensor}, {}]  # fmt: skip
    assert len({same, *map(tensors_sha256, others)}) == len(others) + 1


def test_zero_and_minus_zero_differ() -> None:
    assert tensors_sha256({"a": torch.tensor(0.0)}) != tensors_sha256({"a": torch.tensor(-0.0)})


@pytest.mark.parametrize("tensor", [torch.tensor(3), torch.zeros(0), torch.ones(2, dtype=torch.bfloat16),
                                    torch.tensor([True]), torch.zeros(2, 0, 3)])  # fmt: skip
def test_every_kind_of_tensor_is_hashed(tensor: torch.Tensor) -> None:
    assert len(tensors_sha256({"a": tensor})) == 64
