"""Decode G.722 at 64 kbit/s: a byte of codewords becomes two samples of 16 kHz.

ITU-T Recommendation G.722, "7 kHz audio-coding within 64 kbit/s", https://www.itu.int/rec/T-REC-G.722, whose tables
and integer arithmetic are followed bit for bit; the names in brackets below are its blocks. Each byte holds six bits
for the band below 4 kHz and two for that above; either band is ADPCM with a predictor of its own.

A decoder is a recursion, so time cannot be vectorised: many clips are decoded side by side, both bands at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int32]

RATE = 16_000  # samples a second

_CHUNK = 800  # bytes of each clip that are decoded at a time, so that little memory is taken

# What a codeword stands for, in units of the step: [QM6] for what is heard of the lower band, [QM4] for its predictor,
# [QM2] for the upper band. A code and its mirror image differ in sign.
_SIX_POSITIVE = (
    *(24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000),
    *(5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728),
)
_SIX = (*4 * (-136,), *(-level for level in _SIX_POSITIVE), *_SIX_POSITIVE, 432, 136, -432, -136)
_FOUR_POSITIVE = (20456, 12896, 8968, 6288, 4240, 2584, 1200)
_FOUR = (0, *(-level for level in _FOUR_POSITIVE), *_FOUR_POSITIVE, 0)
_TWO = (-7408, -1616, 7408, 1616)

# What a codeword adds to the logarithm of the step: [WL, RL42] and [WH, RH2].
_GROWTH = (-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60)
_GROWTH_UPPER = (798, -214, 798, -214)
_MOST = (18432, 22528)
_SHIFT = (8, 10)  # the step is _ROOTS[five bits of the logarithm] shifted by its upper bits less this
_STEP = (32, 8)

# [ILB]: 2048 times the 32nd roots of two.
_ROOTS = (
    *(2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834),
    *(2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008),
)

# [RECA, RECB]: the receiving quadrature mirror filter, every second coefficient of 24, which mirror each other.
_MIRROR = (3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11)


def decode(clips: Sequence[bytes]) -> list[NDArray[np.int16]]:
    """Each clip as samples of 16 kHz, two a byte."""
    order = sorted(range(len(clips)), key=lambda index: -len(clips[index]))  # so that those that go on come first
    parts: list[list[NDArray[np.int16]]] = [[np.zeros((0, 2), np.int16)] for _ in clips]
    state = State.start(len(clips))
    for start in range(0, max(map(len, clips), default=0), _CHUNK):
        pieces = [clips[index][start : start + _CHUNK] for index in order if len(clips[index]) > start]
        state = state.first(len(pieces))
        bands = _bands(_side_by_side(pieces), state)
        for column, piece in enumerate(pieces):
            parts[order[column]].append(bands[: len(piece), :, column])
    return [_joined(np.concatenate(bands)) for bands in parts]


def _side_by_side(pieces: Sequence[bytes]) -> NDArray[np.uint8]:
    """[steps, pieces], of which the first is the longest; after the end of a shorter one come zeros."""
    codes = np.zeros((len(pieces[0]), len(pieces)), np.uint8)
    for column, piece in enumerate(pieces):
        codes[: len(piece), column] = np.frombuffer(piece, np.uint8)
    return codes


def _bands(codes: NDArray[np.uint8], state: State) -> NDArray[np.int16]:
    """Both bands of codes [steps, clips]: [steps, 2, clips], from -16384 to 16383. The state goes on."""
    lower, upper = codes & 63, codes >> 6
    predicting = np.stack([np.array(_FOUR, np.int32)[lower >> 2], np.array(_TWO, np.int32)[upper]], axis=1)
    heard = np.stack([np.array(_SIX, np.int32)[lower], np.array(_TWO, np.int32)[upper]], axis=1)
    growth = np.stack([np.array(_GROWTH, np.int32)[lower >> 2], np.array(_GROWTH_UPPER, np.int32)[upper]], axis=1)
    found = np.zeros(heard.shape, np.int16)
    for step in range(len(codes)):
        found[step] = _limited(state.predicted + (heard[step] * state.step >> 15), 16383, -16384)  # [LIMIT]
        state.advance(predicting[step], growth[step])
    return found


@dataclass
class State:
    """What the decoders of both bands and of all clips remember; the last axis of each array is the clips.

    Attributes:
        step: [2, clips], and ``logarithm``, what it is a power of two of.
        predicted: [2, clips], the next value, of which ``by_zeros`` is the part that the differences tell.
        zeros: [6, 2, clips], coefficients of the last six ``differences``, newest first.
        first_pole: [2, clips], the coefficient of the last ``value``; ``second_pole`` is that of the one before.
        partial: [2, clips], the last sum of a difference and ``by_zeros``; ``partial_before`` is the one before.
    """

    step: Numbers
    logarithm: Numbers
    predicted: Numbers
    by_zeros: Numbers
    zeros: Numbers
    differences: Numbers
    first_pole: Numbers
    second_pole: Numbers
    value: Numbers
    partial: Numbers
    partial_before: Numbers

    @classmethod
    def start(cls, clips: int) -> State:
        """As the Recommendation resets it."""
        empty = {field.name: np.zeros((2, clips), np.int32) for field in fields(cls)}
        six = {name: np.zeros((6, 2, clips), np.int32) for name in ("zeros", "differences")}
        step = np.repeat(np.array(_STEP, np.int32)[:, None], clips, axis=1)
        return cls(**{**empty, **six, "step": step})

    def first(self, clips: int) -> State:
        """The state of the first clips alone."""
        return State(**{field.name: getattr(self, field.name)[..., :clips] for field in fields(self)})

    def advance(self, levels: Numbers, growth: Numbers) -> None:
        """Take in what one codeword stands for: [2, clips] each."""
        difference = levels * self.step >> 15  # [INVQAL, INVQAH]
        self.logarithm = _limited((self.logarithm * 127 >> 7) + growth, _TOP, 0)  # [LOGSCL, LOGSCH]
        self.step = _step(self.logarithm)
        value = _saturated(self.predicted + difference)  # [RECONS]
        partial = _saturated(self.by_zeros + difference)  # [PARREC]
        self._adapt_poles(partial)
        self._adapt_zeros(difference)
        by_poles = self.first_pole * _saturated(2 * value) >> 15  # [FILTEP]
        by_poles += self.second_pole * _saturated(2 * self.value) >> 15
        terms = self.zeros * _saturated(2 * self.differences) >> 15
        self.by_zeros = _saturated(np.add.reduce(terms, dtype=np.int32))  # [FILTEZ]
        self.predicted = _saturated(_saturated(by_poles) + self.by_zeros)  # [PREDIC]
        self.value = value
        self.partial, self.partial_before = partial, self.partial

    def _adapt_poles(self, partial: Numbers) -> None:
        """[UPPOL2, UPPOL1]: towards the signs that the last sums have in common, within what is stable."""
        same, same_before = _agreement(partial, self.partial), _agreement(partial, self.partial_before)
        turned = np.minimum(-same * _saturated(4 * self.first_pole), 32767)
        second = 128 * same_before + (turned >> 7) + (self.second_pole * 32512 >> 15)
        self.second_pole = _limited(second, 12288, -12288)
        most = 15360 - self.second_pole
        self.first_pole = _limited(192 * same + (self.first_pole * 32640 >> 15), most, -most)

    def _adapt_zeros(self, difference: Numbers) -> None:
        """[UPZERO]: towards the signs that a difference has in common with those before."""
        grown = _agreement(difference, self.differences) * (128 * (difference != 0).astype(np.int32))
        self.zeros = _saturated((self.zeros * 32640 >> 15) + grown)
        self.differences = np.concatenate([difference[None], self.differences[:-1]])


_TOP = np.array(_MOST, np.int32)[:, None]
_BASE = np.array(_SHIFT, np.int32)[:, None]
_TABLE = np.array(_ROOTS, np.int32)


def _step(logarithm: Numbers) -> Numbers:
    """[SCALEL, SCALEH]."""
    shift = _BASE - (logarithm >> 11)
    root = _TABLE[logarithm >> 6 & 31]
    step: Numbers = ((root << np.maximum(-shift, 0)) >> np.maximum(shift, 0)) << 2
    return step


def _agreement(values: Numbers, others: Numbers) -> Numbers:
    """1 where two numbers have the same sign, that of 0 being plus, and -1 where they have not."""
    return (values ^ others) >> 31 | 1


def _saturated(values: Numbers) -> Numbers:
    return _limited(values, 32767, -32768)


def _limited(values: Numbers, most: Numbers | int, least: Numbers | int) -> Numbers:
    """What np.clip gives, several times quicker on arrays as small as these."""
    limited: Numbers = np.maximum(np.minimum(values, most), least)
    return limited


def _joined(bands: NDArray[np.int16]) -> NDArray[np.int16]:
    """The two bands [steps, 2] as one signal of twice as many samples."""
    if not len(bands):
        return np.zeros(0, np.int16)
    wide = bands.astype(np.int64)
    mirror = np.array(_MIRROR)
    first = np.convolve(wide[:, 0] - wide[:, 1], mirror)[: len(wide)]
    second = np.convolve(wide[:, 0] + wide[:, 1], mirror[::-1])[: len(wide)]
    both = np.stack([first, second], axis=1).reshape(-1) >> 11
    joined: NDArray[np.int16] = np.clip(both, -32768, 32767).astype(np.int16)
    return joined
