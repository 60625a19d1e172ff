"""How the training images or recordings were varied: the sheet of augmented samples that the run left."""

from __future__ import annotations

import io

from regraft.report.album import data_uri
from regraft.report.blocks import Block, Note, Picture, Section
from regraft.report.material import Material

PLACE = 72
_WIDEST = 1000  # pixels
_QUALITY = 80


def render(material: Material) -> Section | None:
    file = material.run.folder / "augmented.png"
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
