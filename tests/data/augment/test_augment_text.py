"""Augmentation of texts: pure functions that leave what is no word alone, and never leave nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft import extensions
from regraft.data.augment.options import TextAugmentation
from regraft.data.augment.text import augment, drop_tokens, drop_words, misspell, recase, swap_words
from regraft.errors import RecipeError

KEY = (1, 2, "a")
EVERYTHING = TextAugmentation(word_dropout=0.5, swaps=0.5, casing=0.5, typos=0.5)
FILM = "the film was neither good nor bad but rather long"
CHINESE = "这部电影真的很好看我喜欢它的故事"
SHARES = st.sampled_from([0.0, 0.05, 0.5, 1.0])
_ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
# Texts as a table gives them: not empty, without surrounding space.
TEXTS = st.builds(lambda first, rest: f"{first}{rest}".strip(), st.sampled_from("aß7.好🙂"), _ANY)


def chance(seed: int = 0) -> Any:
    return Random(seed).random


@given(TEXTS, SHARES, SHARES, SHARES, SHARES, st.integers(0, 1 << 40))
def test_no_text_becomes_empty_and_all_can_be_written(text, dropped, swapped, cased, typos, number):
    options = TextAugmentation(word_dropout=dropped, swaps=swapped, casing=cased, typos=typos)
    varied = augment(text, options, key=(0, number, "a"))
    assert varied.strip()
    varied.encode()


@given(TEXTS, st.integers(0, 1 << 40))
def test_the_same_key_gives_the_same_text(text, number):
    options = TextAugmentation(policy="strong")
    assert augment(text, options, key=(0, number, "a")) == augment(text, options, key=(0, number, "a"))


@given(TEXTS)
def test_what_is_off_changes_nothing(text):
    assert augment(text, TextAugmentation(), key=KEY) == text


@given(TEXTS, st.integers(0, 99))
def test_a_swap_keeps_every_letter(text, seed):
    assert Counter(swap_words(text, 0.5, chance(seed))) == Counter(text)


@given(TEXTS, st.integers(0, 99))
def test_dropping_leaves_the_order_of_the_words_that_stay(text, seed):
    rest = iter(text)
    assert all(letter in rest for letter in drop_words(text, 0.5, chance(seed)))


def test_keys_that_differ_anywhere_give_different_texts():
    keys = [(1, 2, "a"), (2, 2, "a"), (1, 3, "a"), (1, 2, "b"), (1, 2, "a", "text_pair")]
    assert len({augment(FILM, EVERYTHING, key=key) for key in keys}) == len(keys)


def test_one_option_does_not_move_what_another_one_draws():
    with_typos = augment(FILM, TextAugmentation(word_dropout=0.3, typos=0.0), key=KEY)
    assert augment(FILM, TextAugmentation(word_dropout=0.3, casing=0.0, swaps=0.0), key=KEY) == with_typos
    both = augment(FILM, TextAugmentation(word_dropout=0.3, typos=1.0), key=KEY)
    assert len(both.split()) == len(with_typos.split())


@pytest.mark.parametrize("text", [FILM, CHINESE])
def test_shares_are_kept(text):
    words = list(text) if text == CHINESE else text.split()
    left = sum(len(drop_words(text, 0.2, chance(seed)).replace(" ", "")) for seed in range(500)) / 500
    assert left / len("".join(words)) == pytest.approx(0.8, abs=0.03)


def test_words_are_dropped_with_the_space_behind_them():
    found = {drop_words("one two three", 0.5, chance(seed)) for seed in range(200)}
    assert found == {"one two three", "one two", "one three", "two three", "one", "two", "three"}


def test_words_change_places_with_their_neighbours_and_no_word_twice():
    assert swap_words("a b, c  d e", 1.0, chance()) == "b, a d  c e"
    assert swap_words("alone", 1.0, chance()) == "alone"


def test_of_chinese_each_character_is_a_word():
    assert swap_words("好电影abc", 1.0, chance()) == "电好abc影"
    assert 0 < len(drop_words(CHINESE, 0.5, chance())) < len(CHINESE)


@pytest.mark.parametrize("text", [CHINESE, "とても良い映画でした", "정말 좋은 영화", "فيلم جيد جدا", "अच्छी फिल्म"])
def test_scripts_without_capitals_have_neither_typos_nor_case(text):
    assert {recase(misspell(text, 1.0, chance(seed)), 1.0, chance(seed)) for seed in range(40)} == {text}


def test_a_typo_is_a_key_beside_it_or_a_letter_doubled_missing_or_transposed():
    found = {misspell("Was", 1.0, chance(seed)) for seed in range(600)}
    assert found == {
        *("Qas", "Eas", "Aas", "Sas", "Wss", "Wqs", "Wws", "Wzs", "Waa", "Wad", "Waw", "Wae", "Waz", "Wax"),
        *("WWas", "Waas", "Wass", "as", "Ws", "Wa", "aWs", "Wsa"),
    }


@pytest.mark.parametrize("text", ["a I 7", "2001", "B2B", ":-)", "…", "x"])
def test_single_letters_and_digits_are_not_misspelt(text):
    assert {misspell(text, 1.0, chance(seed)) for seed in range(40)} == {text}


def test_other_alphabets_have_typos_too():
    assert {misspell("Привет", 1.0, chance(seed)) for seed in range(90)} >= {"ривет", "ПППривет"[1:], "рПивет"}


def test_the_cases_of_a_text():
    found = {recase("don't stop, McFly", 1.0, chance(seed)) for seed in range(60)}
    assert found == {"don't stop, mcfly", "DON'T STOP, MCFLY", "Don't Stop, Mcfly", "Don't stop, McFly"}


@given(st.lists(st.integers(0, 9), max_size=30), SHARES, st.integers(0, 99))
def test_special_tokens_are_never_hidden_and_never_all_others(tokens, share, seed):
    special = frozenset({0, 1})
    dropped = drop_tokens(tokens, special, share, chance(seed))
    assert all(tokens[place] not in special for place in dropped)
    assert len(dropped) < max(1, sum(token not in special for token in tokens))


# Options


def test_nothing_is_the_default():
    assert TextAugmentation().off


@pytest.mark.parametrize(
    "asked",
    [
        *({"policy": "light"}, {"policy": "strong"}, {"word_dropout": 0.1}, {"swaps": 0.1}, {"casing": 0.1}),
        *({"typos": 0.1}, {"token_dropout": 0.1}, {"masked_words": 0.1}, {"paraphrases": "other"}),
        {"back_translation": ["there", "back"]},
    ],
    ids=str,
)
def test_one_option_turns_it_on(asked):
    assert not extensions.build("augmentation", TextAugmentation, asked).off


def test_an_option_goes_before_the_policy():
    settled = TextAugmentation(policy="light", typos=0.0).settled
    assert (settled.typos, settled.word_dropout) == (0.0, 0.05)


@pytest.mark.parametrize(
    "asked",
    [
        *({"policy": "trivial"}, {"typos": 1.5}, {"swaps": -0.1}, {"views": 0}, {"candidates": 0}, {"flip": 0.5}),
        *({"back_translation": ["there"]}, {"back_translation": "there"}, {"paraphrases": ""}, {"casing": True}),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(asked):
    with pytest.raises(RecipeError):
        extensions.build("augmentation", TextAugmentation, asked)


def test_every_option_is_explained():
    said = TextAugmentation.__doc__ or ""
    assert [field.name for field in fields(TextAugmentation) if f"\n        {field.name}: " not in said] == []
