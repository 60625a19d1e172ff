"""Language models in GGUF files: what they hold is written out once, as an ordinary model folder in the cache.

The numbers that quantised weights stand for are kept in fp32 as they are; tuning moves them from there. A file is known
by its content: moved or renamed, it is not converted again.
"""

from __future__ import annotations

import copy
import io
import os
import shutil
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from regraft.errors import RecipeError, ResourceError
from regraft.fingerprint import file_sha256
from regraft.run import cache_root, storage

_MAGIC = b"GGUF"
_SMOLLM = "smollm"  # files with this way of cutting texts let every digit stand alone, which transformers leaves out


def gguf_folder(file: Path) -> Path:
    """The model folder that a GGUF file stands for.

    Raises:
        RecipeError: it is no GGUF file, or of a family that is not read.
        ResourceError: the package gguf is not installed, or there is no room in the cache.
    """
    with file.open("rb") as opened:
        if opened.read(4) != _MAGIC:
            raise RecipeError(f"model {file} is no GGUF file", fix="name a .gguf file, a model folder or a hub id")
    target = cache_root() / "gguf" / file_sha256(file)[:32]
    if (target / "config.json").is_file():
        return target
    made = target.with_name(f".{target.name}-{os.getpid()}")
    with storage(target):
        made.mkdir(parents=True, exist_ok=True)
        try:
            convert(file, made)
            os.rename(made, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return target


def convert(file: Path, target: Path, *, layers: int | None = None) -> None:
    """Write the model folder of a GGUF file, with the first ``layers`` of its layers if given.

    Raises:
        RecipeError: it cannot be read.
        ResourceError: the package gguf is not installed.
    """
    from regraft.pretrained.folder import first_line, quiet
    from regraft.pretrained.opening import library

    _require_gguf()
    transformers = library()
    try:
        with quiet(), redirect_stderr(io.StringIO()):  # its progress bar knows no other off
            read = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
            pieces = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # a damaged file makes transformers and gguf raise many kinds
        raise RecipeError(
            f"model {file} cannot be opened: {first_line(error)}",
            fix="transformers reads GGUF of llama, mistral, qwen, gemma, phi and some more",
        ) from error
    with quiet():
        plain(read, layers).save_pretrained(target)
        _tokenizer(pieces, read.config, digits=_cuts(file) == _SMOLLM).save_pretrained(target)


def plain(model: Any, layers: int | None = None) -> Any:
    """The same model as one that never was quantised; transformers does not save what it has read from a GGUF file."""
    import torch
    from transformers import GenerationConfig

    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.num_hidden_layers = layers or config.num_hidden_layers
    with torch.random.fork_rng(devices=[]):
        made = type(model)(config)
    state = model.state_dict()
    made.load_state_dict({name: state[name] for name in made.state_dict()}, strict=True)
    ids = {name: getattr(config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    made.generation_config = GenerationConfig(do_sample=False, **ids)  # type: ignore[no-untyped-call]
    return made.eval()


def _tokenizer(read: Any, config: Any, *, digits: bool) -> Any:
    """The tokenizer, in a form that does not depend on the family.

    https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp says how texts are cut.
    """
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = read.backend_tokenizer
    if digits:
        pieces.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "chat_template")
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=pieces,
        model_max_length=getattr(config, "max_position_embeddings", None) or read.model_max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **{name: getattr(read, name) for name in names},
    )


def _cuts(file: Path) -> str:
    """How a file says that texts are cut before they are looked up."""
    from gguf import GGUFReader

    field = GGUFReader(file).get_field("tokenizer.ggml.pre")
    return "" if field is None else str(field.contents())


def _require_gguf() -> None:
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        raise ResourceError("GGUF files are read with gguf, which is not installed", fix='pip install "regraft[gguf]"')
