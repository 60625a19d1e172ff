"""How training examples were varied: the sheet of augmented images or sounds that the run left, or texts in words."""

from __future__ import annotations

import io

from regraft.errors import ResourceError
from regraft.report.album import data_uri
from regraft.report.blocks import Block, Note, Picture, Section, Table
from regraft.report.material import Material
from regraft.report.words import shortened
from regraft.run import read_json

PLACE = 72
_WIDEST = 1000  # pixels
_QUALITY = 80
_LONGEST = 300  # characters of a text


def render(material: Material) -> Section | None:
    if material.run.augmented_texts.is_file():
        return Section("augmented", "How were the texts varied?", [_in_words(material)])
    file = material.run.augmented
    if not file.is_file():
        return None
    what = "recordings" if material.of_sounds else "images"
    seen = "heard them, low tones at the bottom and time to the right" if material.of_sounds else "saw them"
    sentence = f"Training {what} as the model {seen}, varied anew each time."
    try:
        source, width, height = _packed(file.read_bytes())
        block: Block = Picture(sentence, source, width, height, f"a sheet of augmented training {what}")
    except ImportError:
        block = Note(
            'The sheet of samples needs Pillow, which is not installed (pip install "regraft[vision]").', "warn"
        )
    except Exception as error:  # Pillow raises many kinds on bytes that are damaged
        block = Note(f"augmented.png cannot be read: {error}", tone="warn")
    return Section("augmented", f"How were the {what} varied?", [block])


def _in_words(material: Material) -> Block:
    """Each text beside its views."""
    try:
        examples = read_json(material.run.augmented_texts)["examples"]
        rows = [
            [shortened(example["text"], _LONGEST) if place == 0 else "", shortened(view, _LONGEST)]
            for example in examples
            for place, view in enumerate(example["views"])
        ]
    except (ResourceError, KeyError, TypeError) as error:
        return Note(f"augmented.json cannot be read: {error}", tone="warn")
    sentence = "Training texts in the tokens that the model read, varied anew each time."
    return Table(sentence, ["As it is", "Varied"], rows, numeric=2)


def _packed(content: bytes) -> tuple[str, int, int]:
    """The sheet as WebP, which keeps what is see-through and is a tenth as large; its width and height."""
    from PIL import Image, features
    from PIL.PngImagePlugin import PngImageFile

    sheet = PngImageFile(io.BytesIO(content)).convert("RGBA")
    sheet.thumbnail((_WIDEST, 20 * _WIDEST), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    if features.check("webp"):
        sheet.save(packed, "WEBP", quality=_QUALITY)
    else:
        sheet.save(packed, "PNG", optimize=True)
    return data_uri(packed.getvalue()), sheet.width, sheet.height
