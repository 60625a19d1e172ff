"""Keys and values that nobody computed, before those of every text in the attention of every block."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError
from regraft.pretrained.adapters._contract import Kind
from regraft.pretrained.adapters.places import lengthened, placed, require_alone

if TYPE_CHECKING:
    from regraft.pretrained.load import Pretrained

_EMBEDDINGS = "prompt_embeddings"  # what peft calls them in its file
_NAME = "prefix"  # what they are called in the backbone


class Prefixes(Kind):
    """Prefix tuning (Li and Liang, 2021), in the form that peft has without its network."""

    fields: ClassVar[tuple[str, ...]] = ("num_virtual_tokens",)
    paths: ClassVar[tuple[str, ...]] = ()
    wrapped: ClassVar[str] = "base_model."

    def put(self, model: Pretrained, settings: Mapping[str, Any], layers: Sequence[str]) -> None:  # noqa: ARG002
        backbone: Any = model.model.base_model
        _require_cache(backbone, model)
        backbone.add_module(_NAME, Prefix(_of_words(backbone.eval(), int(settings["num_virtual_tokens"]), model)))
        backbone.register_forward_pre_hook(_preceded, with_kwargs=True)

    def own(self, model: nn.Module, parameters: Collection[str]) -> dict[str, Tensor]:
        (flat,) = super().own(model, parameters).values()
        return {_EMBEDDINGS: flat}

    def fill(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            _prefix_of(model).weight.copy_(state[_EMBEDDINGS])

    def in_file(self, name: str, published: str) -> str:  # noqa: ARG002
        return name

    def config(self, model: nn.Module, settings: Mapping[str, Any]) -> dict[str, Any]:
        prefix = _prefix_of(model)
        return {
            **settings,
            "num_attention_heads": prefix.heads,
            "num_layers": prefix.layers,
            "num_transformer_submodules": 1,
            "prefix_projection": False,
            "token_dim": prefix.heads * prefix.width,
        }

    def takes(self, settings: Mapping[str, Any]) -> int:
        return int(settings["num_virtual_tokens"])


class Prefix(nn.Module):
    """Keys and values for each layer and head.

    Args:
        known: of each layer keys and values, [heads, tokens, width].
    """

    def __init__(self, known: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.layers = len(known)
        self.heads, _, self.width = known[0][0].shape
        parts = torch.stack([part for pair in known for part in pair])  # [layers * 2, heads, tokens, width]
        self.weight = nn.Parameter(parts.permute(2, 0, 1, 3).flatten(1).contiguous())

    @property
    def tokens(self) -> int:
        """How many."""
        return len(self.weight)

    def write(self, cache: Any, batch: int) -> None:
        """Put them into an empty cache of transformers."""
        parts = self.weight.view(self.tokens, self.layers * 2, self.heads, self.width).permute(1, 2, 0, 3)
        for layer in range(self.layers):
            key, value = (part.expand(batch, -1, -1, -1) for part in parts[2 * layer : 2 * layer + 2])
            cache.update(key, value, layer)


def _prefix_of(model: nn.Module) -> Prefix:
    return next(module for module in model.modules() if isinstance(module, Prefix))


def _require_cache(backbone: Any, model: Pretrained) -> None:
    takes = "past_key_values" in inspect.signature(backbone.forward).parameters
    if getattr(backbone.config, "is_encoder_decoder", False) or not takes:
        kind = getattr(backbone.config, "model_type", type(backbone).__name__)
        raise RecipeError(
            f"model {model.folder} ({kind}) takes no keys and values that it has not computed",
            fix="take prompt-tuning or lora; a prefix fits decoders, and encoders such as bert and roberta",
        )


@torch.no_grad()
def _of_words(backbone: Any, count: int, model: Pretrained) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of tokens drawn of the vocabulary: what was computed once is a better beginning than noise.

    Li and Liang, 2021, section 7.4, found so.

    Raises:
        RecipeError: the model did not keep any.
    """
    from transformers import DynamicCache

    cache, words = DynamicCache(), len(backbone.get_input_embeddings().weight)
    backbone(input_ids=torch.randint(words, (1, count)).to(backbone.device), past_key_values=cache)
    layers: list[Any] = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
    found = [(layer.keys[0], layer.values[0]) for layer in layers]
    if not found or any(pair[0].shape != found[0][0].shape or pair[0].shape != pair[1].shape for pair in found):
        raise RecipeError(
            f"model {model.folder} has no keys and values of one shape in all its layers",
            fix="take prompt-tuning or lora",
        )
    return found


def _preceded(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give a backbone the prefix as if it had been read, unless it goes on with what it has read already."""
    from transformers import DynamicCache

    given = placed(module, args, kwargs)
    require_alone(given)
    prefix, (batch, places) = _prefix_of(module), given["input_ids"].shape
    cache = given.get("past_key_values")
    cache = DynamicCache() if cache is None else cache
    goes_on = cache.get_seq_length() > 0
    if not goes_on:
        prefix.write(cache, batch)
    more = lengthened(given, prefix.tokens, places, goes_on=goes_on, kept=False)
    return (), {**given, **more, "past_key_values": cache}
