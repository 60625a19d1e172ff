"""JSON lines: one object a line."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from regraft.data.cells import Row, broken, checked, shown
from regraft.data.example import BadRow
from regraft.data.text import open_lines
from regraft.recipe import DataOptions

_PEEKED = 200  # rows; a key that no row before has is no column


def json_header(path: Path, options: DataOptions, *, file: str) -> list[str]:
    """The keys of the first rows, in the order in which they appear."""
    with closing(_objects(path, options, file=file)) as objects:
        peeked = list(islice(objects, _PEEKED))
    if all(isinstance(value, str) for _, value in peeked):
        row, reason = peeked[0]  # there is one: an empty file has raised
        raise broken(file, row, str(reason), fix=f"none of the first {len(peeked)} rows can be used")
    return list(dict.fromkeys(key for _, value in peeked if isinstance(value, dict) for key in value))


def json_rows(path: Path, options: DataOptions, *, file: str, only: Collection[str] | None) -> Iterator[Row | BadRow]:
    """The rows, numbered by their line. A key that a row lacks is a cell of None."""
    for row, value in _objects(path, options, file=file):
        if isinstance(value, str):
            yield BadRow(file, row, None, value)
        else:
            yield checked(value, only, file=file, row=row)


def _objects(path: Path, options: DataOptions, *, file: str) -> Generator[tuple[int, dict[str, Any] | str]]:
    """The number of each line that is not blank, and its object or what is wrong with it."""
    for row, line in enumerate(open_lines(path, file=file, encoding=options.encoding), start=1):
        if not line.strip():
            continue
        try:
            yield row, _object(line)
        except json.JSONDecodeError as error:
            yield row, f"is not valid JSON: {error.msg} at character {error.colno}"
        except RecursionError:
            yield row, "is nested too deep"
        except ValueError as error:
            yield row, str(error)


def _object(line: str) -> dict[str, Any]:
    value = _DECODER.decode(line.strip())
    if not isinstance(value, dict):
        kind = {list: "a list", str: "text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
        raise ValueError(f'is {kind}; expected is one object a line, such as {{"text": "..."}}')
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"has the key {shown(twice)} twice")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"contains {text[:40]}, which is not a finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > 301:
        raise ValueError("contains a number of more than 300 digits")
    return int(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_int=_whole, parse_constant=_finite)
