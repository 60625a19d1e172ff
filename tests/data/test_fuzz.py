"""Whatever the bytes are: examples, or an error of ours that names file and row. Nothing else escapes."""

from __future__ import annotations

import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regraft.data import BadRow, Example, read_examples, stream_examples
from regraft.errors import DataError, RecipeError
from tests.data.samples import COLUMNS, options_for

GOOD_CSV = 'text,label\nfine film,1\n"a, b",0\n"two\nlines",1\n"say ""hi""",0\n很好看,1\nlast,0\n'
GOOD_JSON = "".join(
    json.dumps({"text": f"film {i} é", "label": i % 2, "more": [i, {"a": None}]}) + "\n" for i in range(8)
)
BIG = "x" * 10_000_000

# name, bytes, and with on_bad_rows=skip: the rows that are good and those that are bad, or None for an error.
CORPUS: list[tuple[str, str, str | bytes, tuple[list[int], list[int]] | None]] = [
    ("good", "csv", GOOD_CSV, ([2, 3, 4, 6, 7, 8], [])),
    ("good", "jsonl", GOOD_JSON, (list(range(1, 9)), [])),
    ("byte order mark", "csv", "\ufeff" + GOOD_CSV, ([2, 3, 4, 6, 7, 8], [])),
    ("byte order mark", "jsonl", "\ufeff" + GOOD_JSON, (list(range(1, 9)), [])),
    ("byte order mark only", "csv", "\ufeff", None),
    ("half a byte order mark", "csv", b"\xef\xbb" + GOOD_CSV.encode(), None),
    ("UTF-16", "csv", GOOD_CSV.encode("utf-16"), ([2, 3, 4, 6, 7, 8], [])),
    ("UTF-16 BE without mark", "csv", GOOD_CSV.encode("utf-16-be"), ([2, 3, 4, 6, 7, 8], [])),
    ("UTF-16 cut in a character", "csv", GOOD_CSV.encode("utf-16")[:-1], None),
    ("UTF-16 with a lone surrogate", "csv", GOOD_CSV.encode("utf-16") + b"\x00\xd8\n\x00", None),
    ("UTF-16", "jsonl", GOOD_JSON.encode("utf-16"), (list(range(1, 9)), [])),
    ("GB 18030", "csv", GOOD_CSV.encode("gb18030"), None),
    ("Latin 1", "jsonl", '{"text": "é", "label": 1}'.encode("latin-1"), None),
    ("surrogate in UTF-8", "csv", b"text,label\n\xed\xa0\x80,1\n", None),
    ("overlong UTF-8", "csv", b"text,label\n\xc0\x80,1\n", None),
    ("NUL in a cell", "csv", "text,label\nfine film,1\na longer\0film,0\n", ([2], [3])),
    ("NUL in the header", "csv", "te\0xt,label\nfine film,1\n", None),
    ("NULs only", "csv", b"\0" * 5000, None),
    ("NULs only", "jsonl", b"\0" * 5000, None),
    ("NULs only", "parquet", b"\0" * 5000, None),
    ("ragged", "csv", "text,label\none\na,b,c\nfine,1\n,,,,\n", ([4], [2, 3, 5])),
    ("ragged header", "csv", "text\nfine,1\n", None),
    ("unterminated quote", "csv", 'text,label\nfine,1\n"open,1\nfine,0\nfine,1\n', ([2, 4, 5], [3])),
    ("unterminated quote in the last row", "csv", 'text,label\nfine,1\n"open,1', ([2], [3])),
    ("unterminated quote in the header", "csv", '"text,label\nfine,1\n', None),
    ("quotes only", "csv", '"' * 9999, None),
    ("text after a quote", "csv", 'text,label\n"a" b,1\nfine,1\n', ([3], [2])),
    ("duplicate column", "csv", "text,text,label\na,b,1\n", None),
    ("column without name", "csv", ",text,label\n0,fine,1\n", None),
    ("no header", "csv", "fine film,1\nbad film,0\n", None),
    ("header only", "csv", "text,label\n", None),
    ("header only without line end", "csv", "text,label", None),
    ("wrong header", "csv", "alpha,beta,gamma\na,b,c\n", None),
    ("delimiters only", "csv", ",,,,\n,,,,\n", None),
    ("empty", "csv", "", None),
    ("empty", "jsonl", "", None),
    ("empty", "parquet", "", None),
    ("blank lines", "csv", "\n\n \n\r\n", None),
    ("blank lines", "jsonl", "\n\n \n\r\n", None),
    ("blank lines between", "csv", "\n\ntext,label\n\nfine,1\n\n\nbad,0\n\n", ([5, 8], [])),
    ("CR line ends", "csv", "text,label\rfine,1\r\rbad\rgood,1", ([2, 5], [4])),
    ("mixed line ends", "csv", "text,label\r\nfine,1\rgood,0\nbad\r\n\r\nlast,1", ([2, 3, 6], [4])),
    ("Unicode line ends", "csv", "text,label\nfine\u2028film\x0b\x0c\x1c\x85,1\nlast,1\n", ([2, 3], [])),
    ("10 MB cell", "csv", f"text,label\n{BIG},1\nfine,1\n", ([3], [2])),
    ("10 MB cell in quotes", "csv", f'text,label\n"{BIG}",1\nfine,1\n', ([3], [2])),
    ("10 MB header", "csv", f"{BIG},label\nfine,1\n", None),
    ("10 MB of columns", "csv", ",".join(map(str, range(1_000_000))) + "\nfine,1\n", None),
    ("10 MB of delimiters", "csv", "text,label\n" + "," * 10_000_000 + "\nfine,1\n", ([3], [2])),
    ("10 MB cell", "jsonl", json.dumps({"text": BIG}) + "\n" + GOOD_JSON, (list(range(2, 10)), [1])),
    ("empty label", "csv", "text,label\nfine,1\nfine, \n", ([2], [3])),
    ("all rows bad", "csv", "text,label\nfine,\n,1\n", None),
    (
        "mixed types",
        "jsonl",
        '{"text":"a","label":1}\n{"text":2,"label":1}\n{"text":"b","label":[1]}\n',
        ([1], [2, 3]),
    ),
    (
        "nulls",
        "jsonl",
        '{"text":null,"label":1}\n{"text":"a","label":null}\n{"text":"a","label":1}\n',
        ([3], [1, 2]),
    ),
    ("not JSON", "jsonl", "text,label\nfine,1\n", None),
    ("one JSON array", "jsonl", '[{"text": "a", "label": 1}]', None),
    (
        "an indented array",
        "jsonl",
        '[\n  {"text": "a", "label": 1},\n  {"text": "b", "label": 0}\n]\n',
        ([3], [1, 2, 4]),
    ),
    ("scalars", "jsonl", 'null\n1\n"a"\ntrue\n{"text":"a","label":1}', ([5], [1, 2, 3, 4])),
    (
        "nested",
        "jsonl",
        GOOD_JSON + '{"text":' + "[" * 99 + "]" * 99 + ',"label":1}',
        (list(range(1, 9)), [9]),
    ),
    ("nested without end", "jsonl", GOOD_JSON + '{"a":' * 200_000, (list(range(1, 9)), [9])),
    ("nested arrays first", "jsonl", "[" * 200_000 + "\n" + GOOD_JSON, (list(range(2, 10)), [1])),
    (
        "nested in a column nobody reads",
        "jsonl",
        '{"text":"a","label":1,"x":' + "[" * 99 + "]" * 99 + "}",
        ([1], []),
    ),
    (
        "not finite",
        "jsonl",
        GOOD_JSON + '{"text":NaN}\n{"text":Infinity}\n{"text":1e999}\n',
        (list(range(1, 9)), [9, 10, 11]),
    ),
    (
        "huge numbers",
        "jsonl",
        GOOD_JSON + '{"text":"a","label":' + "9" * 10_000 + "}",
        (list(range(1, 9)), [9]),
    ),
    ("large numbers", "jsonl", '{"text":"a","label":' + "9" * 299 + "}", ([1], [])),
    (
        "huge exponents",
        "jsonl",
        GOOD_JSON + '{"text":"a","label":1e' + "9" * 5000 + "}",
        (list(range(1, 9)), [9]),
    ),
    ("lone surrogates", "jsonl", GOOD_JSON + '{"text":"\\ud83d","label":1}', (list(range(1, 9)), [9])),
    (
        "lone surrogates in keys",
        "jsonl",
        GOOD_JSON + '{"text":{"\\udc00":1},"label":1}',
        (list(range(1, 9)), [9]),
    ),
    ("double keys", "jsonl", GOOD_JSON + '{"text":"a","label":1,"label":0}', (list(range(1, 9)), [9])),
    ("empty objects", "jsonl", "{}\n{}\n", None),
    ("empty keys", "jsonl", '{"":1,"text":"a","label":1}', ([1], [])),
    ("parquet in name only", "parquet", GOOD_CSV, None),
    ("parquet's marks only", "parquet", b"PAR1PAR1", None),
    ("parquet with a footer of 4 GB", "parquet", b"PAR1" + b"\0" * 100 + b"\xff\xff\xff\xff" + b"PAR1", None),
    ("parquet called csv", "csv", b"PAR1\x15\x04\x15\xd0\xff\x00text,label", None),
    ("gzip called csv", "csv", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03KI,I\x04\x00", None),
]
Outcome = tuple[list[Example], list[BadRow]] | DataError | RecipeError


def assert_names_file_and_row(error: Exception, path: str) -> None:
    message = str(error)
    assert Path(path).name in message
    assert re.search(r"\brow [1-9]\d*\b", message), message
    assert len(message) < 20_000


def outcome(path: str, *, on_bad_rows: str, columns: dict[str, str] | None = None) -> Outcome:
    """What becomes of a file; anything but examples or our errors fails the test."""
    try:
        options = options_for(path, on_bad_rows=on_bad_rows, columns=columns or {})
        examples, bad, _ = read_examples(path, COLUMNS, options)
    except (DataError, RecipeError) as error:
        assert_names_file_and_row(error, path)
        return error
    assert all(row.file == path and row.row >= 1 and row.reason for row in bad)
    assert all(example.inputs["text"].strip() and example.target for example in examples)
    return examples, bad


def check(path: str) -> str:
    """Read a file in every way; "examples", "bad rows" or the name of the error."""
    lenient, strict = (outcome(path, on_bad_rows=way) for way in ("skip", "error"))
    if isinstance(lenient, RecipeError | DataError):
        assert isinstance(strict, type(lenient))
        return type(lenient).__name__
    examples, bad = lenient
    if bad:
        assert f"{len(bad)} of {len(examples) + len(bad)} rows" in str(strict)
        assert f"row {bad[0].row}" in str(strict)
    else:
        assert strict == lenient
    streamed = list(stream_examples(path, COLUMNS, options_for(path), targets=True))
    assert [item for item in streamed if isinstance(item, Example)] == examples
    assert [item for item in streamed if isinstance(item, BadRow)] == bad
    return "bad rows" if bad else "examples"


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [row[1:] for row in CORPUS],
    ids=[f"{row[0]} ({row[1]})" for row in CORPUS],
)
def test_the_written_corpus(
    write: Callable[[str, str | bytes], str],
    kind: str,
    content: str | bytes,
    expected: tuple[list[int], list[int]] | None,
) -> None:
    path = write(f"corpus.{kind}", content)
    check(path)
    found = outcome(path, on_bad_rows="skip")
    if expected is None:
        assert isinstance(found, DataError)
    else:
        assert not isinstance(found, DataError | RecipeError), str(found)
        assert ([example.row for example in found[0]], [row.row for row in found[1]]) == expected


def parquet(compression: str, version: str, *, dictionary: bool) -> bytes:
    table = pa.table(
        {
            "text": [f"a fine film {place}" for place in range(50)],
            "label": [str(place % 2) for place in range(50)],
            "number": list(range(50)),
            "list": [["a"], None] * 25,
        }
    )
    target = io.BytesIO()
    pq.write_table(
        table,
        target,
        compression=compression,
        data_page_version=version,
        use_dictionary=dictionary,
        row_group_size=20,
    )
    return target.getvalue()


def seeds() -> list[tuple[str, bytes]]:
    """Good files of every kind, to be mutated."""
    texts = [content for _, _, content, good in CORPUS if good and len(content) < 5000]
    kinds = [kind for _, kind, content, good in CORPUS if good and len(content) < 5000]
    text_files = [(k, c if isinstance(c, bytes) else c.encode()) for k, c in zip(kinds, texts, strict=True)]
    tables = [
        ("parquet", parquet(compression, version, dictionary=dictionary))
        for compression in ("none", "snappy", "zstd", "gzip")
        for version in ("1.0", "2.0")
        for dictionary in (True, False)
    ]
    wide = ("tsv", "\n".join(["id\ttext\tlabel", *(f"{i}\tfilm {i}\t{i % 2}" for i in range(30))]).encode())
    return [*text_files, wide, *tables]


TOKENS = [
    *(
        b'"',
        b'""',
        b",",
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"{",
        b"}",
        b"[[",
    ),
    *(
        b"\\ud800",
        b"NaN",
        b"1e999",
        b"null",
        b"-",
        b"9" * 400,
        b"PAR1",
        b"\x80",
        b"\xed\xa0\x80",
        b"\xe2\x80\xa8",
        b"\x1a",
    ),
]


def mutate(content: bytes, draw: random.Random) -> bytes:
    """A few changes: bytes set, bits flipped, pieces cut, doubled or put in, the end cut off."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 4, 16])):
        near_end = draw.random() < 0.2  # where parquet keeps its footer
        place = draw.randrange(max(0, len(changed) - 600) if near_end else 0, len(changed) + 1)
        length = draw.choice([1, 2, 3, 8, 64])
        match draw.randrange(7):
            case 0:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 1 if place < len(changed):
                changed[place] ^= 1 << draw.randrange(8)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case 4 | 5:
                changed[place:place] = draw.choice(TOKENS)
            case _ if draw.random() < 0.3:
                del changed[place:]
    return bytes(changed)


def fuzz(folder: Path, files: int, *, seed: int) -> Counter[str]:
    draw, good = random.Random(seed), seeds()
    outcomes: Counter[str] = Counter()
    for _ in range(files):
        kind, content = draw.choice(good)
        path = folder / f"mutated.{kind}"
        path.write_bytes(mutate(content, draw))
        outcomes[check(str(path))] += 1
    return outcomes


def test_a_thousand_mutated_files(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, 1000, seed=0)
    assert sum(outcomes.values()) == 1000
    assert min(outcomes[kind] for kind in ("examples", "bad rows", "DataError")) > 50, outcomes


@pytest.mark.slow
def test_five_thousand_mutated_files(tmp_path: Path) -> None:
    assert sum(fuzz(tmp_path, 5000, seed=1).values()) == 5000


FAULTS = {
    "csv": [
        "ragged",
        "too,many,cells",
        '"open',
        'a "b",',
        ",1",
        "fine,",
        "a\0b,1",
        '"a" b,1',
        f"{'x' * 1_000_001},1",
    ],
    "jsonl": [
        "{",
        "[]",
        '{"text": "a"}',
        '{"text": "\\ud800", "label": 1}',
        '{"text": NaN}',
        "[" * 5000,
        '"' * 3,
    ],
}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_with_skip_the_good_rows_remain_and_the_bad_ones_are_counted_exactly(tmp_path: Path, kind: str) -> None:
    draw = random.Random(7)
    for _ in range(50):
        faulty = set(draw.sample(range(2, 62), draw.randrange(1, 12)))
        good = '{"text": "fine", "label": 1}' if kind == "jsonl" else "fine,1"
        first = good if kind == "jsonl" else "text,label"
        lines = [first, *(draw.choice(FAULTS[kind]) if row in faulty else good for row in range(2, 62))]
        path = tmp_path / f"faulty.{kind}"
        path.write_text("\n".join(lines))
        found = outcome(str(path), on_bad_rows="skip")
        assert isinstance(found, tuple), str(found)
        expected = set(range(1 if kind == "jsonl" else 2, 62)) - faulty
        assert {example.row for example in found[0]} == expected
        assert [row.row for row in found[1]] == sorted(faulty)
