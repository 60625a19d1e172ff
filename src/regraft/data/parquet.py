"""Parquet. The only file of the room that imports pyarrow."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from regraft.data.cells import Row, broken, checked
from regraft.data.example import BadRow

_BATCH = 256  # rows
# What pyarrow raises on damaged bytes: its own tree, and Python's errors from what cannot be decoded.
_DAMAGE = (
    pa.ArrowException,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    MemoryError,
    AttributeError,
)


def parquet_header(path: Path, *, file: str) -> list[str]:
    """The names of the columns."""
    with _opened(path, file) as table, _damage(file, 1):
        return [str(name) for name in table.schema_arrow.names]


def parquet_rows(path: Path, *, file: str, only: Collection[str] | None) -> Iterator[Row | BadRow]:
    """The rows, numbered from 1. Columns that are not wanted are not read."""
    row = 1
    names = None if only is None else list(only)
    with _opened(path, file) as table:
        with _damage(file, row):
            batches = table.iter_batches(_BATCH, columns=names, use_threads=False)
        while True:
            with _damage(file, row):
                batch = next(batches, None)
                if batch is None:
                    return
                found = list(_rows_of(batch))
            for values in found:
                if isinstance(values, str):
                    yield BadRow(file, row, None, values)
                else:
                    yield checked(values, only, file=file, row=row)
                row += 1


def _rows_of(batch: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch; one whose cells have no value in Python is what is wrong with it."""
    names = batch.schema.names
    for index in range(batch.num_rows):
        try:
            cells = [column[index].as_py() for column in batch.columns]
        except (pa.ArrowException, ValueError, ArithmeticError) as error:
            yield f"holds a value that cannot be read: {str(error)[:200]}"
        else:
            yield {name: _plain(cell) for name, cell in zip(names, cells, strict=True)}


def _plain(cell: Any) -> Any:
    """A cell as JSON could say it: NaN is how tables write "nothing here", dates are text."""
    if isinstance(cell, float) and math.isnan(cell):
        return None
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    return cell


@contextmanager
def _opened(path: Path, file: str) -> Iterator[Any]:
    with _damage(file, 1):
        table = pq.ParquetFile(path, page_checksum_verification=True)
    try:
        yield table
    finally:
        table.close()


@contextmanager
def _damage(file: str, row: int) -> Iterator[None]:
    """Turn whatever pyarrow says of damaged bytes into one message."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise broken(
            file,
            row,
            f"is not parquet, or is damaged: {reason}",
            fix="write the file again, or save it as csv or jsonl",
        ) from None
