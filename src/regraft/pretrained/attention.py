"""Attention whose training step is fast on a CPU, for every family that goes through transformers' AttentionInterface.

On a CPU the backward pass of PyTorch's fused attention is slower than the matrix products it stands for, most of all
in bf16, and with attention dropout the fused kernel is not taken at all. Here the products are ``bmm`` and the softmax
has its backward pass by hand (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, equation 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

_PLACES = "_regraft_places"
NAME = "regraft"  # what a config's _attn_implementation says meanwhile

_aten = torch.ops.aten
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # the integer type as wide as a float
# What the stock function reads beyond its named arguments; everything else it leaves to the mask, and so do we.
_STOCK_ONLY = ("cache", "softcap", "s_aux")


@contextmanager
def fast_attention(model: nn.Module) -> Iterator[bool]:
    """Let a model compute its attention here, for as long as this lasts; its config is put back afterwards.

    Yields:
        Whether it does. Families that do not go through AttentionInterface, and models that were loaded with another
        attention than "sdpa", keep theirs.
    """
    switched: list[Any] = []
    try:
        register()
        switched.extend(part for part in _transformers_parts(model) if _switch(part))
        yield bool(switched)
    finally:
        for part in switched:
            part.set_attn_implementation("sdpa")


def register() -> None:
    """Make the name known to transformers, with the masks of "sdpa". Doing it again changes nothing."""
    import transformers
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def mask(*arguments: Any, **options: Any) -> Tensor | None:
        return _small(sdpa_mask(*arguments, **options))

    transformers.AttentionInterface.register(NAME, attention_forward)
    AttentionMaskInterface.register(NAME, mask)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What AttentionInterface asks for; the same as its "sdpa", to rounding.

    Where nothing needs a gradient, on another device than a CPU, and for what is rare, "sdpa" itself is called.
    A row that may attend to nothing attends to all alike, as with "eager".

    Args:
        query: of shape [batch, heads, queries, width]; there may be fewer queries than keys.
        key, value: of shape [batch, heads or a divisor of it, keys, width].
        attention_mask: of a shape that broadcasts to [batch, heads, queries, keys]; True, or 0 if it is of numbers,
            where a query may attend. Without one, all may, or none to a later key if the attention is causal.
        position_bias: added to the scores; may be learned.

    Returns:
        A tensor of shape [batch, queries, heads, width]; no attention weights.
    """
    places = module.__dict__.get(_PLACES)
    if places is not None:
        return _at_places(
            module,
            query,
            key,
            value,
            attention_mask,
            places,
            is_causal,
            position_bias,
            dropout=dropout,
            scaling=scaling,
            **others,
        )
    causal = attention_mask is None and query.shape[2] > 1 and _causal(module, is_causal)
    plain = _plain(query, key, attention_mask, others) and not (causal and key.shape[2] != query.shape[2])
    learned = any(part is not None and part.requires_grad for part in (query, key, value, position_bias))
    if not (learned and torch.is_grad_enabled() and plain and dropout < 1):
        return _stock(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            position_bias=position_bias,
            **others,
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    bias = _bias(attention_mask, position_bias, _causal_mask(query) if causal else None, dtype)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    with torch.autocast("cpu", enabled=False):
        output = _Attention.apply(query.to(dtype), key.to(dtype), value.to(dtype), bias, scale, dropout)  # type: ignore[no-untyped-call]
    return cast(Tensor, output).transpose(1, 2).contiguous(), None


@contextmanager
def only_rows(attention: nn.Module, places: Tensor) -> Iterator[None]:
    """Let one attention module attend from one row of each example alone, and give zeros for the others.

    Only a model within ``fast_attention`` heeds it.

    Args:
        places: the rows, int64 [batch].
    """
    attention.__dict__[_PLACES] = places
    try:
        yield
    finally:
        del attention.__dict__[_PLACES]


def _at_places(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    places: Tensor,
    is_causal: bool | None,
    position_bias: Tensor | None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention from one row of each example; of the shape that all rows would give, [batch, queries, heads, width]."""
    examples = torch.arange(len(places), device=places.device)
    if attention_mask is None and query.shape[2] > 1 and _causal(module, is_causal):
        attention_mask = (torch.arange(key.shape[2]) <= places.unsqueeze(1))[:, None, None]
    else:
        attention_mask = _rows_of(attention_mask, places)
    few = query[examples, :, places].unsqueeze(2)
    with _forgotten(module):
        found, _ = attention_forward(
            module,
            few,
            key,
            value,
            attention_mask,
            is_causal=False,
            position_bias=_rows_of(position_bias, places),
            **others,
        )
    spread = found.new_zeros(query.shape[0], query.shape[2], *found.shape[2:])
    return spread.index_put((examples, places), found.squeeze(1)), None


def _rows_of(scores: Tensor | None, places: Tensor) -> Tensor | None:
    """Those rows of what is added to the scores, [batch or 1, heads or 1, rows or 1, keys]."""
    if scores is None or scores.shape[2] == 1 or scores.stride(2) == 0:
        return scores if scores is None else scores[:, :, :1]
    scores = scores.expand(len(places), -1, -1, -1)
    return scores[torch.arange(len(places), device=places.device), :, places].unsqueeze(2)


@contextmanager
def _forgotten(module: nn.Module) -> Iterator[None]:
    places = module.__dict__.pop(_PLACES)
    try:
        yield
    finally:
        module.__dict__[_PLACES] = places


class _Attention(torch.autograd.Function):
    """softmax(scale * query key^T + bias) value, with dropout on the probabilities.

    Of all that has a score for each query and key, only the probabilities are kept. They are positive, so their sign
    is free: a dropped one is kept as negative, and so dropout is ReLU of what is kept, forward and backward.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float, dropout: float
    ) -> Tensor:
        shape = query.shape[:3]
        query, key, value = (part.flatten(0, 1) for part in (query, key, value))
        kept = _scores(query, key, bias, scale, shape)
        torch.softmax(kept, -1, out=kept)
        share = _drop(kept, dropout) if dropout > 0 else 1.0
        ctx.save_for_backward(query, key, value, kept)
        ctx.shape, ctx.scale, ctx.share, ctx.bias_shape = shape, scale, share, None if bias is None else bias.shape
        return _product(kept.relu() if share < 1 else kept, value, 1 / share).view(*shape, -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, kept = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            gradient = gradient.flatten(0, 1)
            used = kept.relu() if ctx.share < 1 else kept
            d_value = _product(used.mT, gradient, 1 / ctx.share)
            d_scores = _product(gradient, value.mT, 1 / ctx.share)
            if ctx.share < 1:
                d_scores, kept = _aten.threshold_backward(d_scores, kept, 0), kept.abs()
            _aten._softmax_backward_data.out(d_scores, kept, -1, kept.dtype, grad_input=d_scores)
            d_query, d_key = _product(d_scores, key, ctx.scale), _product(d_scores.mT, query, ctx.scale)
            d_parts = (part.view(*ctx.shape[:2], *part.shape[1:]) for part in (d_query, d_key, d_value))
            d_bias = d_scores.view(*ctx.shape, -1).sum_to_size(ctx.bias_shape) if ctx.needs_input_grad[3] else None
        return (*d_parts, d_bias, None, None)


def _plain(query: Tensor, key: Tensor, mask: Tensor | None, others: Mapping[str, Any]) -> bool:
    """Whether this is the attention that nearly all models ask for."""
    asked = any(others.get(name) is not None for name in _STOCK_ONLY)
    learned = mask is not None and mask.requires_grad
    return query.device.type == "cpu" and query.shape[0] == key.shape[0] and not asked and not learned


def _small(mask: Tensor | None) -> Tensor | None:
    """A mask of padding only is the same for every query: let it be one row, with the shape of all."""
    if mask is None or not torch.equal(mask, row := mask[:, :, :1].expand_as(mask)):
        return mask
    return row


def _scores(query: Tensor, key: Tensor, bias: Tensor | None, scale: float, shape: torch.Size) -> Tensor:
    """Of shape [batch * heads, queries, keys]; the bias is added within the product, which is seven times cheaper."""
    if bias is None:
        return _product(query, key.mT, scale)
    batch, heads, queries = shape
    bias = bias.expand(batch, heads, *bias.shape[2:]).flatten(0, 1).expand(-1, queries, -1)
    return torch.baddbmm(bias, query, key.mT, alpha=scale)


def _product(left: Tensor, right: Tensor, factor: float) -> Tensor:
    """``factor * left @ right`` of batches; the factor costs no pass of its own."""
    if factor == 1.0:
        return torch.bmm(left, right)
    return torch.baddbmm(left.new_empty(1, 1, 1), left, right, beta=0, alpha=factor)


def _drop(probabilities: Tensor, dropout: float) -> float:
    """Make a random part of them negative, in place. Returns the share that stays."""
    bits = _BITS[probabilities.element_size()]
    dropped, share = draw_dropped(probabilities.shape, dropout)
    probabilities.view(bits).bitwise_or_(dropped.to(bits).mul_(torch.iinfo(bits).min))
    return share


def draw_dropped(shape: torch.Size, probability: float) -> tuple[Tensor, float]:
    """Draw on the CPU which elements to drop: a random word of 64 bits serves four of them.

    The words are of SFC64, seeded from PyTorch's generator: half the time of that generator's own words.

    Args:
        probability: of being dropped, below 1; rounded to a multiple of 1/65536.

    Returns:
        Whole numbers (int16) of the shape, 1 where dropped, and the exact probability of being kept.
    """
    count = shape.numel()
    dropped = min(round(probability * 2**16), 2**16 - 1)
    seed = int(torch.randint(2**63 - 1, ()))
    words = torch.from_numpy(np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.int16))
    draws = words[:count].view(shape)
    return draws.lt_(dropped - 2**15), 1 - dropped / 2**16


def _bias(
    mask: Tensor | None, position_bias: Tensor | None, causal: Tensor | None, dtype: torch.dtype
) -> Tensor | None:
    """All that is added to the scores, in four dimensions, as small as it broadcasts; None where it is nothing."""
    lowest = torch.finfo(dtype).min
    mask = causal if mask is None else mask
    if mask is not None:
        mask = mask[:, :, :1] if mask.stride(2) == 0 else mask  # see _small
        if mask.dtype == torch.bool:
            nothing = torch.zeros((), dtype=dtype) if position_bias is None else position_bias.to(dtype)
            return torch.where(mask, nothing, lowest)
        mask = mask.clamp(min=lowest).to(dtype)  # the lowest of fp32 would be -inf in bf16
    if position_bias is None or mask is None:
        return mask if position_bias is None else position_bias.to(dtype)
    return mask + position_bias.to(dtype)


def _causal_mask(query: Tensor) -> Tensor:
    length = query.shape[2]
    return torch.ones(length, length, dtype=torch.bool).tril_()[None, None]


def _causal(module: nn.Module, given: bool | None) -> bool:
    return bool(getattr(module, "is_causal", True) if given is None else given)


def _stock(*arguments: Any, **options: Any) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(*arguments, **options)


def _transformers_parts(model: nn.Module) -> Iterator[Any]:
    """The outermost transformers models in a module, itself included."""
    if hasattr(model, "set_attn_implementation"):
        yield model
        return
    for child in model.children():
        yield from _transformers_parts(child)


def _switch(model: Any) -> bool:
    """Whether the model has taken the name. Where its parts use several kinds of attention it is left alone."""
    from regraft.pretrained.folder import quiet

    configs = [part.config for part in model.modules() if hasattr(part, "set_attn_implementation")]
    if {config._attn_implementation for config in configs} != {"sdpa"}:
        return False
    with quiet():
        model.set_attn_implementation(NAME)
    return bool(model.config._attn_implementation == NAME)
