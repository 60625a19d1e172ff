"""Files of sounds as they are packed: of which kind one is, and whether all that its header promises is there.

libsndfile reads what there is of a file that was cut off, and of an MP3 or Ogg that goes on longer than it says only
the beginning, both without a word. So lengths are compared here. Layouts are those of the RIFF and AIFF specifications,
RFC 3533 (Ogg) and ISO/IEC 11172-3 and 13818-3 (the headers of MPEG audio frames).
"""

from __future__ import annotations

import os
from typing import BinaryIO, Literal

Kind = Literal["WAV", "FLAC", "Ogg", "MP3", "AIFF"]

READ = "WAV, FLAC, Ogg, MP3 and AIFF"
FRAME = 1152  # samples of the longest frame of an MP3

_FOREIGN = (  # place, bytes there, and the kind that they are a sign of, which people have and which is not read
    (4, b"ftyp", "MP4 or M4A (AAC)"),
    (0, b"ADIF", "AAC"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "WMA"),
    (0, b"#!AMR", "AMR"),
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"RF64", "RF64"),
    (0, b"BW64", "BW64"),
    (0, b"riff.\x91\xcf\x11", "Wave64"),
    (0, b"NIST_1A", "NIST SPHERE"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"MThd", "MIDI, which holds notes and no sound"),
    (8, b"AVI ", "AVI"),
)
_UNFINISHED = 0x7F000000  # bytes; so much, or more, is what writers say that cannot go back to mend the header
_SLOPPY = 64  # bytes that may be missing: some writers count their header among the samples
_CHUNKS = 1000  # of a WAV or AIFF that are looked at
_MOST_MP3 = 32_000_000  # bytes that are looked at: 13 minutes at the highest bitrate
_LONGEST_PAGE = 27 + 255 + 255 * 255  # bytes of Ogg
_BITRATES = {  # kbit/s of layer III by the index in a frame's header
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)  # Hz of MPEG 1; half of them of MPEG 2, a quarter of 2.5


def kind(start: bytes) -> Kind | None:
    """The kind of sound that a file holds, by its first 16 bytes."""
    if start[:4] in {b"RIFF", b"RIFX"} and start[8:12] == b"WAVE":
        return "WAV"
    if start[:4] == b"FORM" and start[8:12] in {b"AIFF", b"AIFC"}:
        return "AIFF"
    if start.startswith(b"fLaC"):
        return "FLAC"
    if start.startswith(b"OggS"):
        return "Ogg"
    return "MP3" if start.startswith(b"ID3") or _is_frame(start) else None


def foreign(start: bytes) -> str | None:
    """What a sound of a kind is called that people have and that is not read."""
    if len(start) > 1 and start[0] == 0xFF and start[1] & 0xF6 == 0xF0:  # ADTS
        return "AAC"
    return next((name for place, sign, name in _FOREIGN if start[place:].startswith(sign)), None)


def require_whole(file: BinaryIO, kind: Kind) -> None:
    """Whether the file is as long as its headers say, as far as they can be read: FLAC's decoder sees for itself.

    Raises:
        ValueError: it is not.
    """
    if kind == "WAV":
        file.seek(0)
        _require_chunk(file, b"data", "big" if file.read(4) == b"RIFX" else "little")
    elif kind == "AIFF":
        _require_chunk(file, b"SSND", "big")
    elif kind == "Ogg":
        _require_page(file)


def mp3_length(file: BinaryIO) -> tuple[int, bool] | None:
    """How many samples the frames of an MP3 hold, and whether one of them tells so; None where there is no frame.

    Only headers are read. Counting ends where no frame follows, as before the tags at the end.
    """
    data = _after_tag(file)
    place = total = 0
    told = False
    while header := _frame(data[place : place + 4]):
        length, samples = header
        if place + length > len(data):
            break
        tells = not place and any(sign in data[: min(64, length)] for sign in (b"Xing", b"Info", b"VBRI"))
        told, total, place = told or tells, total + samples * (not tells), place + length
    return (total, told) if place else None


def _require_chunk(file: BinaryIO, name: bytes, order: Literal["big", "little"]) -> None:
    """The chunk that holds the samples is all there. Where it is not found, libsndfile looks for it in other ways."""
    size, place = os.fstat(file.fileno()).st_size, 12
    for _ in range(_CHUNKS):
        file.seek(place)
        header = file.read(8)
        if len(header) < 8:
            return
        declared, there = int.from_bytes(header[4:], order), size - place - 8
        if header[:4] == name:
            break
        place += 8 + declared + declared % 2
    else:
        return
    if declared == 0 < there:
        raise ValueError(
            f"says that it holds no samples, and {there:,} bytes follow: its recording was not finished; save it again"
        )
    if there + _SLOPPY < declared < _UNFINISHED:
        raise ValueError(f"is truncated: {there:,} of its {declared:,} bytes of samples are there")


def _require_page(file: BinaryIO) -> None:
    """The last page of an Ogg is all there, and belongs to the stream that begins it."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    first = file.read(27)
    file.seek(max(0, size - 2 * _LONGEST_PAGE))
    tail = file.read(2 * _LONGEST_PAGE)
    place = tail.rfind(b"OggS")
    if place < 0:
        return
    page = tail[place:]
    segments = page[26] if len(page) > 26 else 0
    if len(page) < 27 + segments or len(page) < 27 + segments + sum(page[27 : 27 + segments]):
        raise ValueError("is truncated: its last page is cut off")
    if page[14:18] != first[14:18]:
        raise ValueError("holds several streams, of which one would be read; save it as one")


def _after_tag(file: BinaryIO) -> bytes:
    """What follows an ID3v2 tag, whose length is given in bytes of 7 bits."""
    file.seek(0)
    tag = file.read(10)
    length = 0
    if tag.startswith(b"ID3"):
        for byte in tag[6:]:
            length = length << 7 | byte & 0x7F
        length += 10
    file.seek(length)
    return file.read(_MOST_MP3)


def _is_frame(start: bytes) -> bool:
    """Whether bytes begin like a frame of MPEG audio, of any layer."""
    return (
        len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0 and start[1] & 6 != 0 and start[1] & 0x18 != 8
    )


def _frame(header: bytes) -> tuple[int, int] | None:
    """Bytes and samples of a frame of layer III."""
    if len(header) < 4 or not _is_frame(header) or header[1] & 6 != 2:
        return None
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if bitrate in {0, 15} or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] >> (0 if first else 1 if version == 2 else 2)
    samples = FRAME if first else FRAME // 2
    return samples // 8 * _BITRATES[first][bitrate] * 1000 // hertz + (header[2] >> 1 & 1), samples
