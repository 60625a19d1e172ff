"""Two texts side by side: what is marked, in any script, and how much differs."""

from __future__ import annotations

import random

import jiwer
import pytest

from regraft.report.blocks import Span
from regraft.report.differences import aligned, compare, cut


def marked(spans: list[Span]) -> list[str]:
    return [span.text for span in spans if span.differs]


@pytest.mark.parametrize(
    ("true", "told", "in_truth", "in_answer"),
    [
        ("the cat sat", "the dog sat", ["cat"], ["dog"]),
        ("the big cat sat", "the sat", ["big cat"], []),
        ("Set {host} now", "Set host now", ["{", "}"], []),
        ("猫が好きです", "犬が好きです", ["猫"], ["犬"]),
        ("مرحبا بالعالم الجميل", "مرحبا العالم الجميل", ["بالعالم"], ["العالم"]),
        ("สวัสดีครับ", "สวัสดีค่ะ", ["ครับ"], ["ค่ะ"]),
        ("हिन्दी में", "हिंदी में", ["हिन्दी"], ["हिंदी"]),
        ("ok 👩‍👩‍👧", "ok 👩‍👩‍👦", ["👩‍👩‍👧"], ["👩‍👩‍👦"]),
        ("", "all of it", [], ["all of it"]),
        ("same", "same", [], []),
        ("", "", [], []),
    ],
)
def test_what_differs_is_marked(true: str, told: str, in_truth: list[str], in_answer: list[str]) -> None:
    found = compare(true, told)
    assert (marked(found.true), marked(found.told)) == (in_truth, in_answer)
    assert "".join(span.text for span in found.true) == true
    assert "".join(span.text for span in found.told) == told


def test_words_that_moved_are_common() -> None:
    found = compare("MH Z14A carbon dioxide", "carbon dioxide MH Z14A")
    assert (found.apart, found.longest, found.share) == (2, 4, 0.5)


def test_of_what_is_spoken_case_and_signs_do_not_count() -> None:
    found = compare("Press 5, please.", "press five please", spoken=True)
    assert marked(found.true) == ["5"]
    assert found.exchanged == [("5", "five")]
    assert (found.apart, found.wanted) == (1, 3)
    assert compare("'Don’t go!'", "don't go", spoken=True).apart == 0


def test_errors_are_those_of_the_word_error_rate() -> None:
    draw = random.Random(0)
    for _ in range(60):
        true, told = (" ".join(draw.choices("abcd", k=draw.randint(1, 12))) for _ in range(2))
        said = jiwer.process_words(true, told)
        assert compare(true, told, spoken=True).apart == said.substitutions + said.deletions + said.insertions


def test_pairs_cover_both_in_order() -> None:
    pairs = aligned("kitten", "sitting", exchange=1)
    assert [i for i, _ in pairs if i is not None] == list(range(6))
    assert [j for _, j in pairs if j is not None] == list(range(7))
    assert sum(i is None or j is None or "kitten"[i] != "sitting"[j] for i, j in pairs) == 3


def test_a_very_long_text_is_compared_in_part() -> None:
    found = compare("word " * 5000, "word " * 4000 + "other")
    assert found.cut
    assert found.apart == 0


def test_marked_text_is_cut_to_a_length() -> None:
    found = cut([Span("one "), Span("two", True), Span(" three")], 6)
    assert found == [Span("one "), Span("t…", True)]
    assert cut([Span("one")], 3) == [Span("one")]
