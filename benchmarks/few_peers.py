"""Peers that learn a subset of few labels, in a process of their own: ``python -m benchmarks.few_peers PEER FOLDER``.

logistic  scikit-learn's logistic regression, as it comes (C = 1), on what the frozen encoder says: of a text, the mean
          of its tokens' vectors, divided by its length, as sentence-transformers does with MiniLM; of an image, the
          pooled features.
trainer   transformers' Trainer with its own settings: three epochs, 5e-5 falling to 0, batches of 8, everything trains.
          The head is AutoModelFor...Classification's; where a model has no weights for BERT's pooler, as e5 here, that
          is new too. Images are prepared as in transformers' example for image classification: a random crop and flip
          to learn from, and to be judged the short side at the model's size and the middle.

``seconds`` are those of learning: features of the training rows and the regression, or Trainer's training. Not in it:
imports, opening the model, and the test rows. Nothing of regraft is used.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.subset import Row, Subset, answer, read_rows, read_subset

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    _Cut = Callable[[Image, int], Image]

_BATCH = 32  # of what is only computed
_AREA, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random crop: torchvision's own


def main(peer: str, folder: Path) -> None:
    """Learn the folder's training rows and answer its test rows."""
    {"logistic": _logistic, "trainer": _trainer}[peer](folder, read_subset(folder))


# Logistic regression


def _logistic(folder: Path, subset: Subset) -> None:
    from sklearn.linear_model import LogisticRegression

    train, test = read_rows(folder, "train"), read_rows(folder, "test")
    features = _image_features(subset) if subset.images else _text_features(subset)
    begun = time.perf_counter()
    probe = LogisticRegression(max_iter=1000).fit(features(train), [label for _, label in train])
    seconds = time.perf_counter() - begun
    answer(probe.predict(features(test)).tolist(), test, seconds)


def _text_features(subset: Subset) -> Callable[[Sequence[Row]], np.ndarray]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(subset.model).eval(), AutoTokenizer.from_pretrained(subset.model)
    longest = _longest(Path(subset.model), tokenizer)

    @torch.inference_mode()
    def features(rows: Sequence[Row]) -> np.ndarray:
        order = sorted(range(len(rows)), key=lambda place: len(rows[place][0]))
        found = torch.empty(len(rows), model.config.hidden_size)
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            texts = [rows[place][0] for place in places]
            batch = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            found[places] = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(found, dim=-1).numpy()

    return features


def _longest(model: Path, tokenizer: Any) -> int:
    """In tokens, where sentence-transformers cuts texts."""
    settings = model / "sentence_bert_config.json"
    if settings.exists():
        return int(json.loads(settings.read_text(encoding="utf-8"))["max_seq_length"])
    return int(tokenizer.model_max_length)


def _image_features(subset: Subset) -> Callable[[Sequence[Row]], np.ndarray]:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    model, processor = AutoModel.from_pretrained(subset.model).eval(), AutoImageProcessor.from_pretrained(subset.model)

    @torch.inference_mode()
    def features(rows: Sequence[Row]) -> np.ndarray:
        found = []
        for start in range(0, len(rows), _BATCH):
            images = [_opened(subset, path) for path, _ in rows[start : start + _BATCH]]
            found.append(model(**processor(images, return_tensors="pt")).pooler_output.flatten(1))
        return torch.cat(found).numpy()

    return features


def _opened(subset: Subset, path: str) -> Image:
    from PIL import Image

    with Image.open(Path(subset.images, path)) as image:
        return image.convert("RGB")


# transformers' Trainer


def _trainer(folder: Path, subset: Subset) -> None:
    from transformers import Trainer, TrainingArguments, set_seed

    train, test = read_rows(folder, "train"), read_rows(folder, "test")
    names = sorted(subset.counts)
    set_seed(subset.seed)
    parts = _image_parts if subset.images else _text_parts
    made = parts(subset, names, train, test)
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place, seed=subset.seed, use_cpu=True, save_strategy="no", report_to="none", disable_tqdm=True
        )
        trainer = Trainer(
            model=made.model, args=arguments, train_dataset=made.train, processing_class=made.processing_class
        )
        begun = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begun
        chosen = trainer.predict(made.test).predictions.argmax(-1)
    answer([names[place] for place in chosen], test, seconds)


@dataclass(frozen=True)
class _Parts:
    """What Trainer is given, and the rows that it is asked about."""

    model: Any
    train: Any
    test: Any
    processing_class: Any = None  # pads texts


def _options(names: Sequence[str]) -> dict[str, Any]:
    numbers = {name: number for number, name in enumerate(names)}
    return {"label2id": numbers, "id2label": dict(enumerate(names))}


def _text_parts(subset: Subset, names: list[str], train: Sequence[Row], test: Sequence[Row]) -> _Parts:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(subset.model)
    model = AutoModelForSequenceClassification.from_pretrained(subset.model, **_options(names))

    def encoded(rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [{**tokenizer(text, truncation=True), "label": names.index(label)} for text, label in rows]

    return _Parts(model, encoded(train), encoded(test), tokenizer)


def _image_parts(subset: Subset, names: list[str], train: Sequence[Row], test: Sequence[Row]) -> _Parts:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained(subset.model)
    model = AutoModelForImageClassification.from_pretrained(
        subset.model, ignore_mismatched_sizes=True, **_options(names)
    )
    learned, asked = (
        _Images(subset, rows, names, processor, cut) for rows, cut in ((train, varied_crop), (test, middle_crop))
    )
    return _Parts(model, learned, asked)


class _Images:
    """Rows as Trainer takes them; ``cut`` may draw another part each time that one is read."""

    def __init__(self, subset: Subset, rows: Sequence[Row], names: list[str], processor: Any, cut: _Cut) -> None:
        self.subset, self.rows, self.names, self.processor = subset, rows, names, processor
        self.side, self.cut = int(processor.size["shortest_edge"]), cut

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        import numpy as np
        import torch

        path, label = self.rows[place]
        pixels = np.asarray(self.cut(_opened(self.subset, path), self.side), np.float32) / 255
        mean, deviation = (np.float32(value) for value in (self.processor.image_mean, self.processor.image_std))
        values = torch.from_numpy((pixels - mean) / deviation).permute(2, 0, 1)
        return {"pixel_values": values, "labels": self.names.index(label)}


def varied_crop(image: Image, side: int) -> Image:
    """A random part of 8 to 100 % of the area and 3:4 to 4:3, as ``side`` pixels squared, flipped or not."""
    from PIL import Image as pictures

    box = next((box for box in (_box(image) for _ in range(10)) if box), (0, 0, *image.size))
    part = image.resize((side, side), pictures.Resampling.BILINEAR, box=box)
    return part.transpose(pictures.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


def _box(image: Image) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of a part; None if what was drawn does not fit."""
    area = image.width * image.height * random.uniform(*_AREA)
    ratio = _RATIO[0] * (_RATIO[1] / _RATIO[0]) ** random.random()  # uniform in its logarithm
    width, height = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
    if not (0 < width <= image.width and 0 < height <= image.height):
        return None
    left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
    return left, top, left + width, top + height


def middle_crop(image: Image, side: int) -> Image:
    """The short side to ``side`` pixels, and the square in the middle."""
    from PIL import Image as pictures

    scale = side / min(image.size)
    width, height = (round(length * scale) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    whole = image.resize((width, height), pictures.Resampling.BILINEAR)
    return whole.crop((left, top, left + side, top + side))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
