"""What a recipe can ask of the augmentation of images, sounds and texts. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("a range begins with the smaller number")
    return ends


Share = Annotated[float, Field(ge=0, le=1)]
Alpha = Annotated[float, Field(ge=0, le=100)]
_Decibels = Annotated[float, Field(ge=-40, le=100)]
_Factor = Annotated[float, Field(ge=0.5, le=2)]
# Not strict: in YAML a range is a list.
Decibels = Annotated[tuple[_Decibels, _Decibels], Field(strict=False), AfterValidator(_rising)]
Factors = Annotated[tuple[_Factor, _Factor], Field(strict=False), AfterValidator(_rising)]

NO_NOISE = 100.0  # dB; from this signal-to-noise ratio on none is added

# What a policy for images turns on where a recipe says nothing else: flip, crop, colour.
_POLICIES = {"none": (0.0, 1.0, 0.0), "light": (0.5, 0.5, 0.2), "trivial": (0.5, 0.5, 0.0), "rand": (0.5, 0.5, 0.0)}


@dataclass(frozen=True)
class ImageAugmentation:
    """How training images are varied. What is left out of flip, crop and colour is as the policy has it.

    Options:
        policy: none, light (flip, crop, colour), trivial (TrivialAugment: one more operation), rand (several).
        flip: the share of the images that are mirrored left to right; 0 where a mirror image means something else.
        flip_vertical: the share of the images that are turned upside down.
        crop: the smallest share of the area that a random crop keeps; 1 is no crop.
        rotate: turned by up to so many degrees.
        colour: how much brightness, contrast and saturation vary (0.2: 80 to 120 %); the hue turns by a quarter of it.
        blur: the largest standard deviation of a Gaussian blur, in pixels.
        noise: the largest standard deviation of Gaussian noise; an image has values in 0 to 1.
        erase: the share of the images that a grey rectangle is drawn over (random erasing).
        mixup: the alpha of MixUp, which blends two images and their targets; 0 is off, 0.2 is usual.
        cutmix: the alpha of CutMix, which pastes a part of one image into another; 0 is off, 1 is usual.
        mosaic: the share of the images that are put together from four (detection and segmentation).
        magnitude: of rand's operations, 0 to 30.
        operations: of rand, for each image.
        geometry: with false, no pixel moves: for targets that depend on where things are.
        views: so many views of each example exist and take turns, and can be stored; null for a new one each epoch.
    """

    policy: Literal["none", "light", "trivial", "rand"] = "none"
    flip: Share | None = None
    flip_vertical: Share = 0.0
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    colour: Share | None = None
    blur: Annotated[float, Field(ge=0, le=20)] = 0.0
    noise: Share = 0.0
    erase: Share = 0.0
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0
    mosaic: Share = 0.0
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    operations: Annotated[int, Field(ge=1, le=8)] = 2
    geometry: bool = True
    views: Annotated[int, Field(ge=1)] | None = None

    @property
    def settled(self) -> ImageAugmentation:
        """The same with nothing left open: the policy's values filled in, and no movement where geometry is off."""
        flip, crop, colour = _POLICIES[self.policy]
        whole = replace(
            self,
            flip=flip if self.flip is None else self.flip,
            crop=crop if self.crop is None else self.crop,
            colour=colour if self.colour is None else self.colour,
        )
        return whole if self.geometry else replace(whole, flip=0.0, flip_vertical=0.0, crop=1.0, rotate=0.0, mosaic=0.0)

    @property
    def mixes(self) -> bool:
        """Whether several examples are put together."""
        return max(self.mixup, self.cutmix, self.settled.mosaic) > 0

    @property
    def off(self) -> bool:
        """Whether every image stays as it is."""
        whole = self.settled
        changed = (whole.flip, whole.flip_vertical, whole.rotate, whole.colour, whole.blur, whole.noise, whole.erase)
        return self.policy not in {"trivial", "rand"} and not any(changed) and whole.crop == 1 and not self.mixes

    def view(self, epoch: int) -> int:
        """The number of the view that an epoch (from 0) sees."""
        return epoch if self.views is None else epoch % self.views


@dataclass(frozen=True)
class _Sounding:
    """What a policy for sounds turns on where a recipe says nothing else."""

    noise: tuple[float, float] = (NO_NOISE, NO_NOISE)
    gain: tuple[float, float] = (0.0, 0.0)
    shift: float = 0.0
    speed: tuple[float, float] = (1.0, 1.0)
    frequency_masks: int = 0
    time_masks: int = 0


_SOUNDING = {
    "none": _Sounding(),
    "light": _Sounding(noise=(15, 40), gain=(-6, 6), shift=0.1, frequency_masks=1, time_masks=1),
    "strong": _Sounding((5, 30), (-12, 12), shift=0.25, speed=(0.9, 1.1), frequency_masks=2, time_masks=2),
}


@dataclass(frozen=True)
class SoundAugmentation:
    """How training sounds are varied. What is left out is as the policy has it; a range is its two ends.

    Options:
        policy: none, light (noise, gain, shift, one mask each way), strong (more of these, and speed).
        noise: signal-to-noise ratios in dB of white or pink noise that is added: 5 is loud, 40 faint, 100 is none.
        gain: how many dB louder; below 0 is quieter. Nothing is cut at full scale.
        shift: moved by up to so many seconds earlier or later, at most by half of the sound; silence fills up.
        speed: factors of playing it faster, which moves its pitch too; 0.9 to 1.1 is usual.
        frequency_masks: so many bands of frequencies are hidden from the model (SpecAugment).
        frequency_width: the widest of them, as a share of all bands.
        time_masks: so many stretches of time are hidden from the model (SpecAugment).
        time_width: the longest of them, as a share of the sound.
        views: so many views of each example exist and take turns, and can be stored; null for a new one each epoch.
    """

    policy: Literal["none", "light", "strong"] = "none"
    noise: Decibels | None = None
    gain: Decibels | None = None
    shift: Annotated[float, Field(ge=0, le=60)] | None = None
    speed: Factors | None = None
    frequency_masks: Annotated[int, Field(ge=0, le=20)] | None = None
    frequency_width: Share = 0.2
    time_masks: Annotated[int, Field(ge=0, le=20)] | None = None
    time_width: Share = 0.1
    views: Annotated[int, Field(ge=1)] | None = None

    @property
    def settled(self) -> SoundAugmentation:
        """The same with nothing left open: the policy's values filled in."""
        policy = asdict(_SOUNDING[self.policy])
        return replace(self, **{name: value for name, value in policy.items() if getattr(self, name) is None})

    @property
    def off(self) -> bool:
        """Whether every sound stays as it is."""
        whole, still = self.settled, _SOUNDING["none"]
        hidden = (whole.frequency_masks and whole.frequency_width) or (whole.time_masks and whole.time_width)
        noisy = whole.noise is not None and whole.noise[0] < NO_NOISE
        moved = (whole.gain, whole.shift, whole.speed) != (still.gain, still.shift, still.speed)
        return not (hidden or noisy or moved)

    def view(self, epoch: int) -> int:
        """The number of the view that an epoch (from 0) sees."""
        return epoch if self.views is None else epoch % self.views


# What a policy for texts turns on where a recipe says nothing else. EDA advises to change a twentieth of the words of
# few examples, a tenth of those of 5,000 or more (Wei and Zou 2019, arXiv 1901.11196, table 3). Hiding tokens: Shen et
# al. 2020, token cutoff, arXiv 2009.13818.
_WORDING: dict[str, dict[str, float]] = {
    "none": {"word_dropout": 0.0, "swaps": 0.0, "casing": 0.0, "typos": 0.0, "token_dropout": 0.0},
    "light": {"word_dropout": 0.05, "swaps": 0.05, "casing": 0.1, "typos": 0.02, "token_dropout": 0.0},
    "strong": {"word_dropout": 0.1, "swaps": 0.1, "casing": 0.2, "typos": 0.05, "token_dropout": 0.1},
}


@dataclass(frozen=True)
class TextAugmentation:
    """How training texts are varied. What is left out is as the policy has it.

    Options:
        policy: none, light (words dropped, swapped, misspelt, in another case), strong (twice that, and hidden tokens).
        word_dropout: the share of the words that are left out.
        swaps: the share of the words that change places with the next one.
        casing: the share of the texts in lower, UPPER or Title Case, or with another first letter.
        typos: the share of the words in which a letter is wrong, doubled, missing or transposed.
        token_dropout: the share of the tokens that are hidden from the model.
        masked_words: the share of the words that the model's own masked-LM head replaces.
        candidates: a word is replaced by one of so many that are likeliest there.
        paraphrases: a column with other wordings of each text; a view has one of them, or the text itself.
        back_translation: two models, there and back: what they make of a text is another wording of it.
        views: so many views of each example exist and take turns, and can be stored; null for a new one each epoch.
    """

    policy: Literal["none", "light", "strong"] = "none"
    word_dropout: Share | None = None
    swaps: Share | None = None
    casing: Share | None = None
    typos: Share | None = None
    token_dropout: Share | None = None
    masked_words: Share = 0.0
    candidates: Annotated[int, Field(ge=1, le=1000)] = 10
    paraphrases: Annotated[str, Field(min_length=1)] | None = None
    back_translation: Annotated[tuple[str, str], Field(strict=False)] | None = None
    views: Annotated[int, Field(ge=1)] | None = None

    @property
    def settled(self) -> TextAugmentation:
        """The same with nothing left open: the policy's values filled in."""
        policy: dict[str, Any] = dict(_WORDING[self.policy])
        return replace(self, **{name: value for name, value in policy.items() if getattr(self, name) is None})

    @property
    def reworded(self) -> bool:
        """Whether texts have other wordings."""
        return self.paraphrases is not None or self.back_translation is not None

    @property
    def off(self) -> bool:
        """Whether every text stays as it is."""
        whole = self.settled
        return not (self.masked_words or self.reworded or any(getattr(whole, name) for name in _WORDING["none"]))
