"""A model whose linear layers are kept in 4 or 8 bits a weight, on a GPU, through bitsandbytes.

Four bits are those of QLoRA (Dettmers et al., 2023, https://arxiv.org/abs/2305.14314): NormalFloat, its scales rounded
too; eight those of LLM.int8 (Dettmers et al., 2022, https://arxiv.org/abs/2208.07339). What is rounded does not learn;
heads, poolers, norms and embeddings stay as they are.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import torch
from torch import nn

from regraft.errors import ResourceError

Bits = Literal[4, 8]


def require_few_bits(bits: Bits | None) -> None:
    """See that this machine can keep weights so, if it is to.

    Raises:
        ResourceError: it has no GPU for it, or a package is not installed.
    """
    if bits is None:
        return
    if not torch.cuda.is_available():
        raise ResourceError(
            f"model.bits = {bits} needs a GPU with CUDA, and this machine has none", fix="leave model.bits out"
        )
    for name in ("bitsandbytes", "accelerate"):
        if importlib.util.find_spec(name) is None:
            raise ResourceError(
                f"model.bits = {bits} is done by {name}, which is not installed", fix=f"pip install {name}"
            )


def asked_of_transformers(bits: Bits, skeleton: nn.Module) -> dict[str, Any]:
    """What ``from_pretrained`` is told, so that it rounds.

    Args:
        skeleton: the model without its weights.

    Raises:
        ResourceError: see ``require_few_bits``.
    """
    require_few_bits(bits)
    from transformers import BitsAndBytesConfig

    exact = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": exact}
    asked = {"load_in_8bit": True} if bits == 8 else {"load_in_4bit": True, **four}
    config: Any = BitsAndBytesConfig(**asked, llm_int8_skip_modules=kept_whole(skeleton))  # type: ignore[no-untyped-call]
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device()}}


def kept_whole(skeleton: nn.Module) -> list[str]:
    """Patterns for the modules that are not rounded: what may be new, or stands beside the backbone."""
    backbone = str(getattr(skeleton, "base_model_prefix", ""))
    beside = [name for name, _ in skeleton.named_children() if name != backbone] if hasattr(skeleton, backbone) else []
    return [*beside, ".*pooler"]


def numbers_in(parameter: Any) -> int:
    """How many weights a parameter stands for; two of 4 bits lie in one number."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    return int(torch.Size(parameter.shape if shape is None else shape).numel())
