"""Sounds: listened to whole before anything is learnt from them, read as one channel at the rate that a model wants.

WAV, FLAC, Ogg (Vorbis and Opus), MP3 and AIFF, told by their content and not by their name. Files are decoded in
blocks, so that a long one takes no more memory than a short one. soundfile and soxr are imported when the first sound
is opened. Of a damaged MP3 its decoder may write a line to stderr, which no setting keeps it from.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.data.containers import FRAME, READ, Kind, foreign, kind, mp3_length, require_whole
from regraft.errors import DataError, ResourceError
from regraft.fingerprint import digest

MOST_SECONDS = 600  # of a sound: models read 30 s or so, and ten minutes are 30,000 of their frames of 20 ms
MOST_SAMPLES = 100_000_000  # in all channels, so that what is packed small is not decoded for long
MOST_CHANNELS = 8
RATES = (4_000, 192_000)  # Hz; below is no speech, above no recorder

_BLOCK = 1 << 16  # frames that are decoded at a time
_SILENT = 1e-4  # from the lowest sample to the highest, of full scale 1: what dither makes of silence
_LOUDEST = 100.0  # of full scale 1; whole numbers that were saved as floating-point ones are beyond that
_FULL = 0.99  # from here on samples that are equal to their neighbours are clipped
_UNKNOWN = 1 << 62  # frames; so many are what libsndfile says where a header does not
_PADDING = 4 * FRAME  # samples that encoders of MP3 add at the beginning and the end
_FORMATS = {"WAV": {"WAV", "WAVEX"}, "FLAC": {"FLAC"}, "Ogg": {"OGG"}, "MP3": {"MP3", "FLAC"}, "AIFF": {"AIFF"}}

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """A file that has been decoded once, whole, without fault.

    What it is worth as an input is its ``content``, whatever its name and place.

    Attributes:
        rate: samples a second of each channel, in the file.
        frames: samples of each channel.
        peak: the largest distance from 0 of a sample; 1 is full scale.
        clipped: the share of the samples that lie in flat runs of three or more at full scale.
    """

    path: str
    sha256: str
    rate: int
    frames: int
    channels: int
    peak: float
    clipped: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.rate

    @property
    def content(self) -> str:
        """What stands for the sound in an example's id."""
        return self.sha256

    def samples(self, rate: int) -> Samples:
        """float32 [n], the mean of the channels at ``rate`` Hz; a new array each time.

        Raises:
            DataError: the file is gone, or is not the one that was listened to.
        """
        try:
            with _opened(Path(self.path)) as (file, opened):
                found = _resampled(map(_mono, _blocks(opened)), opened.samplerate, rate)
                sha256 = _sha256(file)
        except ValueError as error:
            raise DataError(f"{self.path}: {error}", fix="the file was whole before; put it back") from None
        if sha256 != self.sha256:
            raise DataError(
                f"{self.path} has changed since it was listened to", fix="start again, with files that stay as they are"
            )
        return found


@dataclass(frozen=True, eq=False)
class LooseSound:
    """A sound that is in no file: what a Sound says, of samples float32 [n]. ``channels`` were mixed into them."""

    values: Samples
    rate: int
    channels: int
    peak: float
    clipped: float

    @property
    def frames(self) -> int:
        """How many samples there are."""
        return len(self.values)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.rate

    @cached_property
    def content(self) -> str:
        """What stands for the sound in an example's id."""
        return digest([self.rate, hashlib.sha256(self.values.tobytes()).hexdigest()])

    def samples(self, rate: int) -> Samples:
        """float32 [n] at ``rate`` Hz; a new array each time."""
        return _resampled([self.values], self.rate, rate)


def open_sound(path: Path) -> Sound:
    """Decode the whole of a file once.

    Raises:
        ValueError: it cannot be read, is damaged, silent or too long; in one line, such as "is truncated: ...".
        ResourceError: soundfile is not installed.
    """
    with _opened(path) as (file, opened):
        frames, peak, clipped = _heard(_blocks(opened))
        return Sound(str(path), _sha256(file), opened.samplerate, frames, opened.channels, peak, clipped)


def loose_sound(value: Any) -> LooseSound:
    """A sound from Python: ``(samples, rate)``, or ``{"array": samples, "sampling_rate": rate}``.

    Samples are [n] or [n, channels]; floating-point ones have 1 as full scale, whole ones what their type can hold.

    Raises:
        ValueError: it is none, or one that :func:`open_sound` would refuse.
    """
    if isinstance(value, dict) and {"array", "sampling_rate"} <= set(value):
        value = value["array"], value["sampling_rate"]
    if not isinstance(value, tuple) or len(value) != 2 or isinstance(value[1], bool) or not isinstance(value[1], int):
        raise ValueError(f"is {type(value).__name__}; a sound is (samples, rate), the rate a whole number of Hz")
    samples, rate = _floats(np.asarray(value[0])), value[1]
    _require_sensible(rate, samples.shape[1], len(samples))
    _, peak, clipped = _heard([samples])
    return LooseSound(_mono(samples), rate, samples.shape[1], peak, clipped)


def playable(samples: Samples, rate: int, *, forms: Sequence[str] = ("FLAC", "WAV")) -> bytes:
    """Samples [n] as a file that browsers play, 16 bits each: of some forms the smallest.

    Raises:
        ResourceError: soundfile is not installed.
    """
    soundfile = _soundfile()
    whole = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    packed = []
    for form in forms:
        file = io.BytesIO()
        soundfile.write(file, whole, rate, format=form, subtype="PCM_16")
        packed.append(file.getvalue())
    return min(packed, key=len)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[FileIO, Any]]:
    """A file and libsndfile's view of it: its header is read and is sensible, its samples are not decoded."""
    soundfile = _soundfile()
    try:
        if not path.is_file():
            raise ValueError(f"is {'not a file' if path.exists() else 'not there'}: {path}")
        with path.open("rb", buffering=0) as file:
            found = _known(file.read(16))
            require_whole(file, found)
            file.seek(0)  # libsndfile takes the place that a file stands at for its beginning
            with _plain_reasons():
                opened = soundfile.SoundFile(file.fileno(), closefd=False)
            # soundfile seeks after every block unless it cannot: slow, and decoders begin anew with other roundings.
            opened.seekable = lambda: False
            with opened:
                if opened.format not in _FORMATS[found]:
                    raise ValueError(f"is damaged: it begins like {found}, and goes on like {opened.format}")
                _require_sensible(opened.samplerate, opened.channels, opened.frames)
                if opened.format == "MP3":
                    _require_told(file, opened)
                yield file, opened
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None


def _known(start: bytes) -> Kind:
    """The kind of a sound that begins like this."""
    if not start:
        raise ValueError("is empty")
    if other := foreign(start):
        raise ValueError(f"is {other}, which is not read; save it as WAV or FLAC")
    found = kind(start)
    if found is None:
        raise ValueError(f"is no sound that can be read: it begins with {start!r}, and read are {READ}")
    return found


def _require_sensible(rate: int, channels: int, frames: int) -> None:
    """What is said of a sound is what sounds are like; how many frames it has may be unknown."""
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"has a rate of {rate:,} Hz; read are {RATES[0]:,} to {RATES[1]:,}")
    if channels > MOST_CHANNELS:
        raise ValueError(f"has {channels:,} channels; at most {MOST_CHANNELS} are read")
    if frames >= _UNKNOWN:
        return
    if frames > MOST_SECONDS * rate:
        raise ValueError(f"is longer than {MOST_SECONDS} s ({frames / rate:,.0f} s); cut it into parts")
    if frames * channels > MOST_SAMPLES:
        raise ValueError(
            f"has {frames * channels / 1e6:.0f} million samples in {channels} channels;"
            f" at most {MOST_SAMPLES / 1e6:.0f} million are read"
        )


def _require_told(file: FileIO, opened: Any) -> None:
    """An MP3 is as long as libsndfile takes it for: it is not cut, and no other was joined to it."""
    place = file.tell()
    counted = mp3_length(file)
    file.seek(place)  # libsndfile reads on from where it was
    if counted is None:
        return
    there, told = counted
    said, found = (frames / opened.samplerate for frames in (opened.frames, there))
    if there > opened.frames + _PADDING:
        raise ValueError(f"says that it ends after {said:.2f} s, and goes on to {found:.2f} s; save it again")
    if told and there + 2 * FRAME < opened.frames:
        raise ValueError(f"is truncated or damaged: it ends after {found:.2f} s of the {said:.2f} s that it tells of")


def _blocks(opened: Any) -> Iterator[Samples]:
    """All samples, some frames at a time: float32 [n, channels], each block in the place of the one before.

    Raises:
        ValueError: there are fewer than the header says, or too many.
    """
    declared, rate, read = opened.frames, opened.samplerate, 0
    block = np.empty((_BLOCK, opened.channels), np.float32)
    while read < declared:  # and no further: a tag may follow that a decoder takes for damage
        with _plain_reasons("is truncated or damaged"):
            found = opened.read(out=block[: min(_BLOCK, declared - read)])
        if not len(found):
            break
        read += len(found)
        if declared >= _UNKNOWN:
            _require_sensible(rate, opened.channels, read)
        yield found
    if read < declared < _UNKNOWN and opened.format != "MP3":  # which may not tell its length
        told = f"it ends after {read / rate:.2f} s of the {declared / rate:.2f} s that it tells of"
        raise ValueError(f"is truncated or damaged: {told}")


def _heard(blocks: Iterable[Samples]) -> tuple[int, float, float]:
    """Frames, peak and the clipped share of blocks [n, channels].

    Raises:
        ValueError: there is nothing to hear.
    """
    frames = samples = flat = 0
    peak, low, high = 0.0, math.inf, -math.inf
    for block in filter(len, blocks):
        loud = np.abs(block)
        most = float(loud.max(initial=0))
        if not math.isfinite(most):
            raise ValueError("holds samples that are not finite")
        mixed = _mono(block)
        peak, low, high = max(peak, most), min(low, float(mixed.min())), max(high, float(mixed.max()))
        flat += _flat(loud) if most >= _FULL else 0
        frames, samples = frames + len(block), samples + block.size
    if not frames:
        raise ValueError("is empty: it holds no samples")
    if peak > _LOUDEST:
        raise ValueError(f"has samples up to {peak:.6g}, where 1 is full scale; divide them and save it again")
    if high - low <= _SILENT:
        cancelled = peak > _SILENT > max(high, -low)
        raise ValueError("is silent" + (" as the mean of its channels: they cancel each other" if cancelled else ""))
    return frames, peak, flat / samples


def _flat(loud: Samples) -> int:
    """How many absolute values [n, channels] lie in runs of three or more that are equal, at full scale."""
    full = np.minimum(loud, 1)
    same = (full[1:] == full[:-1]) & (full[1:] >= _FULL)
    inner = same[1:] & same[:-1]
    flat = np.zeros(full.shape, bool)
    for shift in range(3):
        flat[shift : shift + len(inner)] |= inner
    return int(np.count_nonzero(flat))


def _mono(block: Samples) -> Samples:
    """The mean of the channels [n, channels], as a new array [n]."""
    return block[:, 0].copy() if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _resampled(blocks: Iterable[Samples], old: int, new: int) -> Samples:
    """Blocks [n] as one array at another rate. Where they are cut makes no difference."""
    nothing = np.empty(0, np.float32)
    if new == old:
        return np.concatenate([nothing, *blocks])
    try:
        import soxr
    except ImportError:
        raise _not_installed("soxr") from None
    stream = soxr.ResampleStream(old, new, 1, dtype="float32", quality="HQ")
    parts = [stream.resample_chunk(block) for block in blocks]
    return np.concatenate([*parts, stream.resample_chunk(nothing, last=True)])


def _floats(samples: NDArray[Any]) -> Samples:
    """Samples of any type as float32 [n, channels]."""
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.dtype.kind not in "fiu":
        raise ValueError(f"is {samples.dtype} {list(samples.shape)}; samples are numbers [n] or [n, channels]")
    if samples.shape[1] > MOST_CHANNELS >= samples.shape[0]:
        raise ValueError(f"has samples {list(samples.shape)}; they are [n, channels]: turn them round")
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold is not finite
            return samples.astype(np.float32)
    half = 1 << (8 * samples.dtype.itemsize - 1)
    return ((samples.astype(np.float64) - (half if samples.dtype.kind == "u" else 0)) / half).astype(np.float32)


def _sha256(file: FileIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _plain_reasons(problem: str = "is damaged, or of a kind that cannot be read") -> Iterator[None]:
    """Whatever libsndfile and soundfile raise on bytes as one ValueError."""
    try:
        yield
    except MemoryError:
        raise ValueError("takes more memory than there is, or its header is damaged") from None
    except Exception as error:
        said = " ".join(str(getattr(error, "error_string", error)).split()).removeprefix("Error : ").rstrip(".")[:150]
        raise ValueError(f"{problem}: {said or type(error).__name__}") from None


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: it is there without libsndfile
        raise _not_installed("soundfile") from None
    return soundfile


def _not_installed(package: str) -> ResourceError:
    return ResourceError(f"sounds need {package}, which is not installed", fix='pip install "regraft[audio]"')
