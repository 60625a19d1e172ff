"""Tokens that nobody wrote, before every text: their embeddings alone are learned.

They have numbers behind those of the vocabulary, so that heads which look for padding or for the end of a text in what
was given find it as ever. What a model says of their places is left out of what it says of the text; a head that reads
the first place of an encoder reads the first of them, as in peft.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from regraft.errors import RecipeError
from regraft.pretrained.adapters._contract import Kind
from regraft.pretrained.adapters.places import lengthened, placed, require_alone
from regraft.pretrained.heads import MeanPooled

if TYPE_CHECKING:
    from regraft.pretrained.load import Pretrained

_VIRTUAL = "virtual"  # what they are called in the module of the embeddings
_EMBEDDINGS = "prompt_embeddings"  # what peft reads of the file


class Prompts(Kind):
    """Prompt tuning (Lester et al., 2021), and p-tuning (Liu et al., 2021), which learns a network that gives them."""

    fields: ClassVar[tuple[str, ...]] = ("num_virtual_tokens", "encoder_hidden_size")
    paths: ClassVar[tuple[str, ...]] = ()
    wrapped: ClassVar[str] = "base_model."

    def put(self, model: Pretrained, settings: Mapping[str, Any], layers: Sequence[str]) -> None:  # noqa: ARG002
        count, by_network = int(settings["num_virtual_tokens"]), settings["peft_type"] == "P_TUNING"
        answering = _answering(model.model)
        reading = answering.get_encoder() if _has_both(answering) else answering
        known = _embeddings_of(reading)
        hidden = (settings.get("encoder_hidden_size") or known.weight.shape[1]) if by_network else None
        tokens = VirtualTokens(known, count, hidden)
        reading.set_input_embeddings(WithVirtual(known, tokens))
        first = known.weight.shape[0]
        reading.register_forward_pre_hook(_preceded(range(first, first + count)), with_kwargs=True)
        if reading is not answering:
            answering.register_forward_pre_hook(_masked(count), with_kwargs=True)
        else:
            answering.register_forward_hook(_without(count, first), with_kwargs=True)
        _try(reading, model)

    def own(self, model: nn.Module, parameters: Collection[str]) -> dict[str, Tensor]:
        tokens = _tokens_of(model)
        if tokens.network is None:
            return {_EMBEDDINGS: tokens.embedding}
        begin = next(name for name in parameters if name.endswith("embedding")).removesuffix("embedding")
        inside = {name.removeprefix(begin): value for name, value in super().own(model, parameters).items()}
        with torch.no_grad():
            return {_EMBEDDINGS: tokens(), **{f"prompt_encoder.{name}": value for name, value in inside.items()}}

    def fill(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        tokens = _tokens_of(model)
        known = {name.removeprefix("prompt_encoder."): value for name, value in state.items() if name != _EMBEDDINGS}
        tokens.load_state_dict(known or {"embedding": state[_EMBEDDINGS]})

    def in_file(self, name: str, published: str) -> str:  # noqa: ARG002
        return name

    def config(self, model: nn.Module, settings: Mapping[str, Any]) -> dict[str, Any]:
        tokens, known = _tokens_of(model), model.config
        sizes = {"num_layers": "num_hidden_layers", "num_attention_heads": "num_attention_heads"}  # peft asks for them
        found = {**settings, "token_dim": tokens.embedding.shape[1], "num_transformer_submodules": 1}
        found |= {name: getattr(known, theirs) for name, theirs in sizes.items() if hasattr(known, theirs)}
        if tokens.network is None:
            return found
        hidden = tokens.network[0].out_features
        return {**found, "encoder_reparameterization_type": "MLP", "encoder_hidden_size": hidden}

    def takes(self, settings: Mapping[str, Any]) -> int:
        return int(settings["num_virtual_tokens"])


class VirtualTokens(nn.Module):
    """The embeddings of tokens that nobody wrote, [count, width]. They begin as those of words, drawn by chance.

    Args:
        hidden: the width of a network of two hidden layers that gives them; None where they are learned as they are.
    """

    def __init__(self, known: nn.Embedding, count: int, hidden: int | None) -> None:
        super().__init__()
        vocabulary = known.weight
        self.embedding = nn.Parameter(vocabulary[torch.randint(len(vocabulary), (count,))].detach().clone())
        self.network = None if hidden is None else _network(vocabulary.shape[1], int(hidden)).to(vocabulary.device)

    def forward(self) -> Tensor:
        """See the class."""
        given: Tensor = self.embedding if self.network is None else self.network(self.embedding)
        return given


class WithVirtual(nn.Module):
    """A layer of embeddings that knows more tokens than its vocabulary: those from the number of its rows on."""

    def __init__(self, base_layer: nn.Module, virtual: VirtualTokens) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.add_module(_VIRTUAL, virtual)

    @property
    def weight(self) -> Any:
        """The vocabulary's."""
        return self.base_layer.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """[batch, places] to [batch, places, width]."""
        rows = len(self.weight)
        written: Tensor = self.base_layer(input_ids.clamp(max=rows - 1))
        more = self.get_submodule(_VIRTUAL)().to(written.dtype)
        number = (input_ids - rows).clamp(min=0, max=len(more) - 1)
        return torch.where((input_ids >= rows).unsqueeze(-1), more[number], written)


def _answering(model: Any) -> Any:
    """What the tokens go before the inputs of: the model, or the backbone below a head of ours, which reads states."""
    return model.backbone if isinstance(model, MeanPooled) else model


def _has_both(model: Any) -> bool:
    return bool(getattr(model.config, "is_encoder_decoder", False)) and hasattr(model, "get_encoder")


def _tokens_of(model: nn.Module) -> VirtualTokens:
    return next(module for module in model.modules() if isinstance(module, VirtualTokens))


def _embeddings_of(model: Any) -> nn.Embedding:
    """The layer that looks words up.

    Raises:
        RecipeError: there is none.
    """
    try:
        found = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        found = None
    if not isinstance(found, nn.Embedding):
        raise RecipeError(
            f"{type(model).__name__} does not look words up: no tokens can be put before what it reads",
            fix="take another strategy, such as lora or adapter",
        )
    return found


def _network(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width))
    )


@torch.no_grad()
def _try(reading: nn.Module, model: Pretrained) -> None:
    """See that the model reads such tokens at all.

    Raises:
        RecipeError: it does not.
    """
    ids = torch.ones(1, 1, dtype=torch.int64, device=next(model.model.parameters()).device)
    try:
        reading.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RecipeError(
            f"model {model.folder} does not read tokens that stand for no word: {error}",
            fix="take another strategy, such as lora or adapter",
        ) from None


Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]


def _preceded(numbers: range) -> Hook:
    """Before the inputs of a model put tokens of these numbers, unless it goes on with what it has read already."""

    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = placed(module, args, kwargs)
        require_alone(given)
        before, ids = len(numbers), given["input_ids"]
        given |= lengthened(given, before, ids.shape[1], goes_on=_goes_on(given))
        if not _goes_on(given):
            more = torch.tensor(numbers, device=ids.device).expand(len(ids), -1)
            given["input_ids"] = torch.cat([more, ids], dim=1)
            if given.get("token_type_ids") is not None:
                kinds = given["token_type_ids"]
                given["token_type_ids"] = torch.cat([kinds.new_zeros(len(kinds), before), kinds], dim=1)
        return (), given

    return hook


def _masked(count: int) -> Hook:
    """Let the decoder of a model see the states of so many tokens more than were given."""

    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = placed(module, args, kwargs)
        mask = given.get("attention_mask")
        if mask is not None:
            given["attention_mask"] = torch.cat([mask.new_ones(len(mask), count), mask], dim=1)
        return (), given

    return hook


def _without(count: int, first: int) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]:
    """Of what a model says at each place, leave out what it says at so many tokens, the first of this number."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:  # noqa: ARG001
        ids = kwargs["input_ids"]
        for name in ("last_hidden_state", "logits"):
            said = output.get(name)
            if said is not None and said.dim() == 3 and said.shape[1] == ids.shape[1] and bool(ids[0, 0] == first):
                output[name] = said[:, count:]
        return output

    return hook


def _goes_on(given: Mapping[str, Any]) -> bool:
    """Whether the beginning of the text has been read already."""
    known = given.get("past_key_values")
    return known is not None and known.get_seq_length() > 0
