"""Inputs that are images: decoded by whoever needs them, brought to the size of the model, varied in training.

Of an example only the reference is held. Pixels are read when a batch is made, so workers do it, and nothing is read
where the model does not look (``blank``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from regraft.data.augment.options import ImageAugmentation
from regraft.data.example import Column
from regraft.errors import RecipeError
from regraft.fingerprint import digest, draw
from regraft.tasks._contract import Answers, Batch, Encoded, Inputs, Plain, Task
from regraft.tasks._views import View, Views

if TYPE_CHECKING:
    from regraft.data.augment.sample import Sample

_SYNONYMS = ("file_name", "filename", "file", "path", "image_path", "image_file", "img", "picture", "photo",
             "图片", "图像", "照片", "文件名", "路径")  # fmt: skip
_PATCH = 16  # pixels; the side of what counts as one unit of ``training.max_tokens``
_ROOM = 1.15  # images are made smaller before they are varied, to so many times the size that is read
_LONGEST = 32  # times as long as high: what an image has beyond that is cut
_ENLARGED = 2.0  # times; beyond that a note is due
_BILINEAR = 2

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Canvas:
    """The size that all images of a run are brought to, and by whom.

    ``fit``: "processor" where the model's own image processor does it; "stretch" to the size whatever the shape, so
    that places in the image keep their share of it; "crop" the middle after the shorter side was fitted.
    ``processor`` is the digest of its settings: what decides the pixels.
    """

    height: int
    width: int
    fit: Literal["processor", "stretch", "crop"]
    processor: str

    @property
    def units(self) -> int:
        """How many patches of 16 x 16 pixels it has."""
        return -(-self.height // _PATCH) * -(-self.width // _PATCH)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True)
class ImageInputs(Inputs):
    """An image.

    Args:
        image_size: the side in pixels; None for what the model's processor makes.
        stretch: whether the whole image is fitted, so that boxes and masks keep their places.
        marks: what of an example's value moves with its pixels: ``boxes`` [m, 5] or a ``mask`` [height, width].
    """

    wanted: ClassVar[str] = "the path of an image, an image"

    image_size: int | None = None
    stretch: bool = False
    marks: Callable[[Any, Canvas], dict[str, Tensor]] | None = None

    def is_one(self, value: Any) -> bool:
        return isinstance(value, str | Path) or hasattr(value, "pixels") or hasattr(value, "__array_interface__")

    def given(self, column: Column, value: Any) -> Any:
        if isinstance(value, str | Path):
            assert column.opens is not None
            return column.opens(Path(column.parse(str(value))).expanduser())
        return value if hasattr(value, "pixels") else loose_picture(value)

    def columns(self) -> tuple[Column, ...]:
        from regraft.data.pictures import open_picture

        return (Column("image", "input", parse_path, _SYNONYMS, opens=open_picture),)

    def encode(self, inputs: Sequence[Mapping[str, Any]], processor: Any, config: Any) -> list[Encoded]:  # noqa: ARG002
        canvas = self.canvas(processor)
        return [{"image": values["image"], "canvas": canvas} for values in inputs]

    def length(self, encoded: Encoded) -> int:
        return int(encoded["canvas"].units)

    def limit(self, processor: Any, config: Any) -> int:  # noqa: ARG002
        return self.canvas(processor).units

    def remarks(self, encoded: Sequence[Encoded], processor: Any, config: Any) -> list[str]:  # noqa: ARG002
        if not encoded:
            return []
        canvas = encoded[0]["canvas"]
        sides = sorted(min(row["image"].height, row["image"].width) for row in encoded)
        middle, read = sides[len(sides) // 2], min(canvas.size)
        told = f"images are read at {canvas.width} x {canvas.height} pixels"
        if middle * _ENLARGED <= read:
            return [f"{told}; half of them have a side of {middle} or less, so that most of what is computed is empty"]
        return [told]

    def collate(self, encoded: Sequence[Encoded], processor: Any, *, size: int | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        """pixel_values, fp32 [n, 3, height, width]."""
        return self.finished([self.seen(row, processor) for row in encoded], encoded[0]["canvas"], processor)

    def key(self, encoded: Encoded) -> bytes:
        """What the image, the canvas, the view and the images mixed into it are."""
        view = encoded.get("view")
        others = [row["image"].content for row in encoded.get("others", ())]
        # Where marks move along, some policies move less: another picture.
        how = None if view is None else [_digest(view.options), view.seed, view.number, others, self.marks is None]
        canvas = encoded["canvas"]
        parts = [encoded["image"].content, canvas.height, canvas.width, canvas.fit, canvas.processor, how]
        return bytes.fromhex(digest(parts))[:16]

    def blank(self, encoded: Sequence[Encoded], processor: Any) -> dict[str, Tensor]:  # noqa: ARG002
        """pixel_values of zeros that take no memory."""
        height, width = encoded[0]["canvas"].size
        return {"pixel_values": torch.zeros(()).expand(len(encoded), 3, height, width)}

    def canvas(self, processor: Any) -> Canvas:
        """The size that all images are brought to: measured on one that is wide and one that is high."""
        settings = digest([processor.to_dict(), type(processor).__qualname__, version("pillow")])
        if self.image_size is not None:
            fit: Literal["stretch", "crop"] = "stretch" if self.stretch else "crop"
            return Canvas(self.image_size, self.image_size, fit, settings)
        if getattr(processor, "do_resize", True) is False:
            raise RecipeError("the model's processor leaves images as large as they are", fix="set task.image_size")
        shapes = [_processed([np.zeros(shape, np.uint8)], processor).shape[2:] for shape in ((64, 96, 3), (96, 64, 3))]
        if shapes[0] == shapes[1]:
            return Canvas(shapes[0][0], shapes[0][1], "stretch" if self.stretch else "processor", settings)
        side = min(shapes[0])
        return Canvas(side, side, "stretch", settings)

    def seen(self, row: Encoded, processor: Any) -> Pixels:
        """The pixels of an example in the view that it stands for, uint8 [height, width, 3]."""
        if row.get("view") is None:
            return fitted(row["image"].pixels(), row["canvas"], processor)
        return to_pixels(self.drawn(row, processor).sample.image)

    def drawn(self, row: Encoded, processor: Any, *, blank: bool = False) -> Drawn:
        """An example in its view with what moves along, mixed with others where the view says so.

        Args:
            blank: whether the pixels do not matter; the marks move all the same.
        """
        from regraft.data.augment.image import cutmix, mixup, mosaic, resized

        view: View = row["view"]
        options, key = view.options, view.key(row["image"].content)
        found, others = self._sample(row, processor, blank=blank), row.get("others", ())
        if not others:
            return Drawn(found, row["value"])
        beside = [self._sample(other, processor, blank=blank) for other in others]
        if len(others) > 1:
            return Drawn(mosaic([found, *beside], key), row["value"])
        second = resized(beside[0], found.size)
        if options.mixup and (not options.cutmix or draw("mixing", *key) % 2):
            mixed, share = mixup(found, second, key, options.mixup)
        else:
            mixed, share = cutmix(found, second, key, options.cutmix)
        return Drawn(mixed, row["value"], share, others[0]["value"])

    def _sample(self, row: Encoded, processor: Any, *, blank: bool) -> Sample:
        """One example in its view, by itself."""
        from regraft.data.augment.image import augment
        from regraft.data.augment.sample import Sample

        canvas, view, picture = row["canvas"], row["view"], row["image"]
        marks = {} if self.marks is None else self.marks(row["value"], canvas)
        size = _varied_size(picture, canvas) if canvas.fit == "processor" else canvas.size
        if blank and not marks:
            return Sample(torch.zeros(()).expand(3, *size))
        pixels = np.zeros((*size, 3), np.uint8) if blank else picture.pixels()
        pixels = _smaller(pixels, size) if canvas.fit == "processor" else fitted(pixels, canvas, processor)
        sample = Sample(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, **marks)
        return augment(sample, view.options, key=view.key(picture.content))

    def finished(self, images: Sequence[Pixels], canvas: Canvas, processor: Any) -> dict[str, Tensor]:
        """Images as the model takes them, by its own processor."""
        return {"pixel_values": _processed(images, processor, resize=canvas.fit == "processor")}


class ImageTask(Task):
    """What the tasks on images share: varied views, and targets that move along."""

    looks_first: ClassVar[bool] = True  # heads of these families differ in what of the backbone they use
    augmentation: ClassVar[type[Any] | None] = ImageAugmentation
    default_model: ClassVar[str] = "efficientnet-lite0"
    readout_head: ClassVar[Literal["own", "mean", "graft"]] = "own"

    @property
    def inputs(self) -> ImageInputs:
        raise NotImplementedError

    def views(self, plain: Plain, options: Any, *, seed: int, number: int) -> Sequence[Encoded]:
        return MixedViews(plain.encoded, options.settled, seed, number, plain.values)

    def augmentation_of(self, options: Any) -> Any:
        if options.settled.mosaic:
            raise RecipeError(
                "augmentation.mosaic puts several images into one", fix="it is for detection and segmentation"
            )
        return options

    def batch(
        self,
        encoded: Sequence[Encoded],
        values: Sequence[Any],
        answers: Answers,
        processor: Any,
        *,
        size: int | None = None,  # noqa: ARG002
        blank: bool = False,
    ) -> Batch:
        inputs = self.inputs
        view = encoded[0].get("view")
        if view is None or (blank and not view.options.mixes and inputs.marks is None):
            given = inputs.blank(encoded, processor) if blank else inputs.collate(encoded, processor)
            return Batch(given, self.target(encoded, values, answers), len(values))
        drawn = [inputs.drawn(row, processor, blank=blank) for row in encoded]
        if blank:
            given = inputs.blank(encoded, processor)
        else:
            given = inputs.finished([to_pixels(each.sample.image) for each in drawn], encoded[0]["canvas"], processor)
        return Batch(given, self.target_of(drawn, answers), len(values))

    def sheet(self, rows: Sequence[Encoded], answers: Answers, processor: Any, *, columns: int) -> bytes:
        """What training will see of some examples in their views, as a PNG file: with their boxes and masks.

        Args:
            columns: pictures beside one another.
        """
        import io

        from regraft.data.augment.sheet import sheet

        samples = [self.inputs.drawn(row, processor).sample for row in rows]
        file = io.BytesIO()
        sheet(samples, answers.names, columns=columns, background=0).save(file, format="PNG")
        return file.getvalue()

    def target_of(self, drawn: Sequence[Drawn], answers: Answers) -> Tensor:
        """The targets of examples in their views: mixed as the images are."""
        right = self._soft([each.value for each in drawn], answers)
        if all(each.other is None for each in drawn):
            return right if right.is_floating_point() else self.targets.tensor([each.value for each in drawn], answers)
        others = self._soft([each.value if each.other is None else each.other for each in drawn], answers)
        shares = torch.tensor([each.share for each in drawn]).unsqueeze(1)
        return shares * right + (1 - shares) * others

    def _soft(self, values: Sequence[Any], answers: Answers) -> Tensor:
        """Targets that can be mixed: numbers as they are, a class as a row with a single 1."""
        tensor = self.targets.tensor(values, answers)
        return tensor if tensor.is_floating_point() else functional.one_hot(tensor, answers.width).float()


@dataclass(frozen=True, eq=False)
class Drawn:
    """An example in its view, and how much of it is there beside the one that was mixed in."""

    sample: Sample
    value: Any
    share: float = 1.0
    other: Any = None


@dataclass(frozen=True)
class MixedViews(Views):
    """Views of images with their values, since boxes and masks move along, and with the images that are mixed in."""

    values: Sequence[Any] = field(repr=False)

    def seen(self, place: int, view: View) -> Encoded:
        row = self._row(place, view)
        others = [self._row(other, view) for other in self._others(row)]
        return {**row, "others": others} if others else row

    def _row(self, place: int, view: View) -> Encoded:
        return {**super().seen(place, view), "value": self.values[place]}

    def _others(self, row: Encoded) -> list[int]:
        """The examples that are mixed into one: three for a mosaic, one for MixUp and CutMix."""
        from regraft.data.augment.image import partner

        options, key = self.options, row["view"].key(row["image"].content)
        if options.mosaic and draw("mosaic", *key) / (1 << 63) < options.mosaic:
            count = 3
        else:
            count = 1 if options.mixup or options.cutmix else 0
        return [partner(key, self._ids, turn=number) for number in range(count)]

    @cached_property
    def _ids(self) -> list[str]:
        return [row["image"].content for row in self.encoded]


@dataclass(frozen=True, eq=False)
class LoosePicture:
    """An image that is in no file: what a Picture says, of pixels uint8 [h, w, 3]."""

    values: Pixels

    @property
    def height(self) -> int:
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    @property
    def content(self) -> str:
        return digest([self.values.shape, self.values.tobytes().hex()])

    def pixels(self) -> Pixels:
        return self.values


def loose_picture(value: Any) -> LoosePicture:
    """An image of Pillow, or an array: uint8 [h, w] or [h, w, 3].

    Raises:
        ValueError: it is none.
    """
    if hasattr(value, "convert"):
        value = value.convert("RGB")
    pixels = np.asarray(value)
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"is an array of {pixels.dtype} {list(pixels.shape)}; an image is uint8 [h, w, 3]")
    return LoosePicture(np.ascontiguousarray(pixels))


def parse_path(cell: Any) -> str:
    """The path of an image file."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("is empty; the path of an image is needed")
    if not isinstance(cell, str):
        raise ValueError(f"holds {type(cell).__name__}; the path of an image is needed")
    return cell.strip()


def fitted(pixels: Pixels, canvas: Canvas, processor: Any) -> Pixels:
    """An image at the size of the canvas, or as it is where the processor sees to that."""
    if canvas.fit == "processor":
        return np.ascontiguousarray(_middle(pixels))
    if pixels.shape[:2] == canvas.size:
        return pixels
    height, width = pixels.shape[:2]
    if canvas.fit == "stretch":
        return _resized(pixels, canvas.size, processor)
    scale = max(canvas.height / height, canvas.width / width)
    larger = (max(canvas.height, round(height * scale)), max(canvas.width, round(width * scale)))
    pixels = _resized(pixels, larger, processor)
    top, left = (larger[0] - canvas.height) // 2, (larger[1] - canvas.width) // 2
    return pixels[top : top + canvas.height, left : left + canvas.width]


def nearest_pixels(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [h, w] at another size; every pixel is one of the old."""
    rows = (np.arange(size[0]) + 0.5) * image.shape[0] / size[0]
    columns = (np.arange(size[1]) + 0.5) * image.shape[1] / size[1]
    found: NDArray[np.uint8] = image[rows.astype(np.int64)[:, None], columns.astype(np.int64)[None]]
    return found


def _resized(pixels: Pixels, size: tuple[int, int], processor: Any) -> Pixels:
    from PIL import Image

    how = getattr(processor, "resample", None)
    how = int(how) if how is not None else _BILINEAR
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), resample=how))


def _varied_size(picture: Any, canvas: Canvas) -> tuple[int, int]:
    """Height and width in which an image is varied: not much more than what will be read of it."""
    height, width = _not_long(picture.height, picture.width)
    scale = min(1.0, _ROOM * max(canvas.height / height, canvas.width / width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _not_long(height: int, width: int) -> tuple[int, int]:
    """The sides of an image, the long one cut: processors that fit the short side would make it gigantic."""
    return min(height, _LONGEST * width), min(width, _LONGEST * height)


def _middle(pixels: Pixels) -> Pixels:
    """An image without what is too far from its middle."""
    height, width = pixels.shape[:2]
    rows, columns = _not_long(height, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    return pixels[top : top + rows, left : left + columns]


def _smaller(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """An image in the size in which it is varied."""
    from PIL import Image

    pixels = _middle(pixels)
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), resample=_BILINEAR))


def _processed(images: Sequence[Pixels], processor: Any, *, resize: bool = True) -> Tensor:
    """pixel_values [n, 3, h, w] by the model's processor; without ``resize`` the images keep their size."""
    asked = {} if resize else {"do_resize": False, "do_center_crop": False, "do_pad": False}
    known = getattr(processor, "_valid_kwargs_names", asked)
    options = {name: value for name, value in asked.items() if name in known}
    found = processor(list(images), return_tensors="pt", input_data_format="channels_last", **options)
    values: Tensor = found["pixel_values"]
    return values


def to_pixels(image: Tensor) -> Pixels:
    """A picture in 0 to 1, [3, h, w], as uint8 [h, w, 3]."""
    found: Pixels = image.mul(255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return found


def _digest(options: ImageAugmentation) -> str:
    """What decides the pixels of a view; how many views there are does not."""
    return digest([replace(options, views=None).__dict__, version("kornia")])
