"""What turns examples into model inputs: the tokenizer or the image processor of a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regraft.errors import RecipeError
from regraft.pretrained.folder import first_line, quiet
from regraft.pretrained.heads.pyramid import side_of
from regraft.pretrained.libraries import fault_of
from regraft.pretrained.opening import library

# ImageNet's, of the three colours between 0 and 1.
_MEAN, _DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_FILES = ("preprocessor_config.json", "processor_config.json")


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        RecipeError: there is none, or it has no vocabulary.
    """
    transformers = library()
    try:
        with quiet():
            processor = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            processor("")
    except Exception as error:  # a damaged file makes transformers raise many kinds
        raise RecipeError(
            f"model {folder}: its tokenizer cannot be opened: {first_line(error)}",
            fix="the folder needs tokenizer.json or its family's vocabulary files",
        ) from error
    files = set(processor.vocab_files_names.values())
    if files and not any((folder / name).is_file() for name in files):  # made up from the family, without a vocabulary
        raise RecipeError(
            f"model {folder}: its tokenizer has no vocabulary, so every word would be unknown",
            fix=f"put one of these beside config.json: {', '.join(sorted(files))}",
        )
    return processor


def image_processor_of(folder: Path, settings: Any) -> tuple[Any, tuple[str, ...]]:
    """The image processor of a folder, or its family's usual one, and notes on what was made up.

    It works with Pillow on every machine: torchvision resizes to other pixels.

    Raises:
        RecipeError: it is damaged.
    """
    transformers = library()
    try:
        with quiet():
            if not any((folder / name).is_file() for name in _FILES) and settings.model_type != "timm_wrapper":
                return _usual(settings)
            processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
            _ = processor.to_dict()
            return processor, ()
    except Exception as error:  # as above
        fault = fault_of("torchvision")
        raise RecipeError(
            f"model {folder}: its image processor cannot be opened: {fault[0] if fault else first_line(error)}",
            fix=fault[1] if fault else "mend preprocessor_config.json, or remove it for the family's usual one",
        ) from error


def _usual(settings: Any) -> tuple[Any, tuple[str, ...]]:
    """The processor that the family has where nothing is said; for other families ImageNet's mean and deviation."""
    from transformers import ViTImageProcessorPil
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

    kinds: dict[str, Any] = {}
    if type(settings) in IMAGE_PROCESSOR_MAPPING:
        kinds = dict(IMAGE_PROCESSOR_MAPPING[type(settings)])  # type: ignore[arg-type]
    side = side_of(settings)
    if isinstance(kinds.get("pil"), type):
        processor = kinds["pil"]()
        size = dict(processor.size or {})
        if side and set(size) in ({"height", "width"}, {"shortest_edge"}):
            crop = {"crop_size": {"height": side, "width": side}} if getattr(processor, "crop_size", None) else {}
            processor = kinds["pil"](size=dict.fromkeys(size, side), **crop)
        name = f"{settings.model_type}'s usual one"
    else:
        size = {"height": side or 224, "width": side or 224}
        processor = ViTImageProcessorPil(size=size, image_mean=_MEAN, image_std=_DEVIATION)
        name = "ImageNet's mean and deviation"
    told = f"the folder has no {_FILES[0]}: images are prepared with {name}, which may not be what it was trained with"
    return processor, (told,)
