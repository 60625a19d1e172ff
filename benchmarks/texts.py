"""The two workloads of the benchmarks, from the packaged sentences of VADER; the same tables on every machine.

long: consecutive sentences of one product review or one editorial, joined. An id in the tables is the number of the
document and that of the sentence in it, so sentences of one document stand in its order. How many words a text should
have is drawn from a log-normal distribution, sentences are added until it has them, and what is left at the end of a
document is a text of its own. That gives 1,596 texts to train on, of 99 tokens in the mean, a median of 86, and a long
tail that is cut at 256 (3.5 % reach it). A text is positive if the mean score of its sentences is above 0. All texts
of a document are on one side.

short: the movie sentences as they are.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

WORKLOADS = ("long", "short")

_WORDS_MEDIAN, _WORDS_SPREAD = 70, 0.8  # of the log-normal distribution that a text's words are drawn from
_FEWEST_WORDS = 5  # less is a heading or a signature
_TEST_SHARE = 0.2

Text = tuple[str, str]  # text, label
Sentence = tuple[str, float]  # text, score


def write_tables(workload: str, folder: Path, *, material: Path, rows: int, test_rows: int) -> None:
    """Write ``train.csv`` and ``test.csv`` with the columns text and label; fewer rows if there are no more.

    Args:
        material: the folder with the tables of VADER.
    """
    train, test = _long(material) if workload == "long" else _short(material)
    _write(folder / "train.csv", train[:rows])
    _write(folder / "test.csv", test[:test_rows])


def _long(material: Path) -> tuple[list[Text], list[Text]]:
    documents = [document for name in ("amazon", "nyt") for document in _documents(material / f"{name}.csv")]
    chance = random.Random(0)
    chance.shuffle(documents)
    cut = round(len(documents) * _TEST_SHARE)
    test = [text for document in documents[:cut] for text in _joined(document, chance)]
    train = [text for document in documents[cut:] for text in _joined(document, chance)]
    chance.shuffle(train)
    chance.shuffle(test)
    return train, test


def _short(material: Path) -> tuple[list[Text], list[Text]]:
    texts = [(text, _label(score)) for _, text, score in _sentences(material / "movie.csv")]
    random.Random(0).shuffle(texts)
    cut = round(len(texts) * _TEST_SHARE)
    return texts[cut:], texts[:cut]


def _documents(path: Path) -> Iterable[list[Sentence]]:
    """The sentences of each document, in order."""
    documents: defaultdict[str, list[Sentence]] = defaultdict(list)
    for key, text, score in _sentences(path):
        documents[key.split("_")[0]].append((text, score))
    return documents.values()


def _sentences(path: Path) -> Iterator[tuple[str, str, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["id"], row["text"], float(row["score"])


def _joined(document: Iterable[Sentence], chance: random.Random) -> Iterator[Text]:
    part: list[Sentence] = []
    wanted = _words_wanted(chance)
    for sentence in document:
        part.append(sentence)
        if _words(part) >= wanted:
            yield _text(part)
            part, wanted = [], _words_wanted(chance)
    if _words(part) >= _FEWEST_WORDS:
        yield _text(part)


def _words_wanted(chance: random.Random) -> float:
    return _WORDS_MEDIAN * chance.lognormvariate(0, _WORDS_SPREAD)


def _words(part: Sequence[Sentence]) -> int:
    return sum(len(text.split()) for text, _ in part)


def _text(part: Sequence[Sentence]) -> Text:
    return " ".join(text.strip() for text, _ in part), _label(fmean(score for _, score in part))


def _label(score: float) -> str:
    return "positive" if score > 0 else "negative"


def _write(path: Path, texts: Iterable[Text]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "label"))
        writer.writerows(texts)
