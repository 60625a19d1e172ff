"""Text files: which encoding, and the physical lines with their exact numbers."""

from __future__ import annotations

import codecs
import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from regraft.data.cells import LONGEST_LINE, broken, shown
from regraft.errors import DataError, RecipeError

_SAMPLE = 1 << 16  # bytes

_BOMS = (  # UTF-32 first: its mark begins with the one of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Lines:
    """The physical lines of a text file, counted from 1; those since the last mark can be taken back.

    Taking back is what makes a quote that never closes cost one row and not the rest of the file.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self.row = 0
        self._lines = lines
        self._again: deque[str] = deque()
        self._kept: list[str] = []
        self._length = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._length > LONGEST_LINE:
            raise StopIteration
        line = self._again.popleft() if self._again else next(self._lines)
        self.row += 1
        self._kept.append(line)
        self._length += len(line)
        return line

    def mark(self) -> int:
        """Forget the lines given so far; the number of the line that comes next."""
        self._kept.clear()
        self._length = 0
        return self.row + 1

    def blank(self) -> bool:
        """Whether nothing but space was given since the mark."""
        return not any(line.strip() for line in self._kept)

    def rewind(self, *, keep: int) -> None:
        """Take back what was given since the mark, but for the first ``keep`` lines."""
        back = self._kept[keep:]
        self._again.extendleft(reversed(back))
        self.row -= len(back)


def open_lines(path: Path, *, file: str, encoding: str | None) -> Iterator[str]:
    """The physical lines of a text file, with their ends: LF, CR LF or CR.

    Raises:
        RecipeError: the named encoding does not exist.
        DataError: the file is empty, or a line cannot be decoded or is absurdly long; the message names its
        row.
    """
    known = known_encoding(encoding) if encoding else detect_encoding(path, file=file)
    row, blank = 0, True
    try:
        with path.open(encoding=known, newline="") as opened:
            while line := opened.readline(LONGEST_LINE + 1):
                row += 1
                if len(line) > LONGEST_LINE:
                    raise _too_long(file, row)
                line = line.removeprefix("\ufeff") if row == 1 else line
                blank = blank and not line.strip()
                yield line
    except UnicodeError:
        raise _undecodable(path, file, known, chosen=encoding is not None) from None
    except (OSError, MemoryError) as error:
        raise broken(file, row + 1, f"cannot be read: {error}") from None
    if blank:
        raise broken(file, 1, "the file is empty", fix="the first line names the columns, each further line is a row")


def known_encoding(name: str) -> str:
    """``name``, if Python can decode text with it.

    Raises:
        RecipeError: it cannot.
    """
    try:
        io.TextIOWrapper(io.BytesIO(b""), encoding=name).read()
    except (LookupError, ValueError):
        raise RecipeError(
            f"data.encoding = {shown(name)} is not an encoding",
            fix="examples: utf-8, utf-16, gb18030, latin-1, cp1252",
        ) from None
    return name


def detect_encoding(path: Path, *, file: str) -> str:
    """UTF-8 or UTF-16: by the byte order mark, else by where the NUL bytes are."""
    try:
        with path.open("rb") as opened:
            sample = opened.read(_SAMPLE)
    except OSError as error:
        raise broken(file, 1, f"cannot be read: {error.strerror or error}") from None
    marked = next((name for mark, name in _BOMS if sample.startswith(mark)), None)
    return marked or _unmarked_utf16(sample) or "utf-8-sig"


def _unmarked_utf16(sample: bytes) -> str | None:
    """UTF-16, where the NULs lie on one side of the byte pairs and are not strays in a damaged UTF-8 file.

    They are no strays where most pairs have one (Latin text), where line ends have one (any text), or where
    the bytes could not be UTF-8 anyway.
    """
    pairs = len(sample) // 2
    low, high = sample[0::2].count(0), sample[1::2].count(0)
    if not max(low, high) or min(low, high) > 0.3 * max(low, high):
        return None
    ends = sum(sample.count(end) for end in (b"\n", b"\r"))
    paired = sum(sample.count(end + b"\0" if high > low else b"\0" + end) for end in (b"\n", b"\r"))
    enough = 0.7 * pairs if _is_utf8(sample) else 0.01 * pairs
    if max(low, high) < enough and not 0 < ends <= 2 * paired:
        return None
    return "utf-16-le" if high > low else "utf-16-be"


def _is_utf8(sample: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _too_long(file: str, row: int) -> DataError:
    return broken(
        file,
        row,
        f"the line has more than {LONGEST_LINE:,} characters",
        fix="is it a table with one row a line? (data.encoding says how its text is encoded)",
    )


def _undecodable(path: Path, file: str, encoding: str, *, chosen: bool) -> DataError:
    name = encoding.removesuffix("-sig").upper()
    fix = "name the encoding it has, for example data.encoding=gb18030 (Chinese) or cp1252 (Western European)"
    if chosen:
        fix = f"data.encoding={encoding} does not fit: leave it out to have it found, or name another"
    return broken(file, _undecodable_row(path, encoding), f"the text is not {name}", fix=fix)


def _undecodable_row(path: Path, encoding: str) -> int:
    """The line of the first byte that cannot be decoded: by blocks, then by bytes in the last block."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    ends = 0
    with path.open("rb") as opened:
        while block := opened.read(_SAMPLE):
            before = decoder.getstate()
            try:
                ends += decoder.decode(block).count("\n")
            except UnicodeError:
                decoder.setstate(before)
                return ends + _ends_before_failure(decoder, block) + 1
    return ends + 1


def _ends_before_failure(decoder: io.IncrementalNewlineDecoder, block: bytes) -> int:
    ends = 0
    for position in range(len(block)):
        try:
            ends += decoder.decode(block[position : position + 1]).count("\n")
        except UnicodeError:
            break
    return ends + (decoder.getstate()[1] & 1)  # the flag of a CR that still waits for its LF
