"""A translation model with an SSRU decoder as a model of transformers: what ``materials bergamot-en-pt`` opens as.

A transformer encoder with norms after the residuals (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762), and a
decoder whose self-attention is a simpler simple recurrent unit: Kim et al., From Research to Production and Back:
Ludicrously Fast Neural Machine Translation, 2019, https://aclanthology.org/D19-5632. Encoder, decoder and output share
one table of embeddings. Marian has this architecture, and the small models of Firefox Translations are of it.

transformers knows nothing of these classes until ``register`` is called; no code is ever read from a model folder.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    DynamicCache,
    EncoderDecoderCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)

_IGNORED = -100  # a label that does not count


class SsruConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """What the model is made of. The sizes are those of the small models of Firefox Translations.

    There is no dropout: such models are small and were taught by a larger one, so they have nothing to spare.

    ``pad_token_id`` has a row of its own in the table, and its embedding is zero, whatever the row says. The decoder
    starts from it, for the first thing that it reads is a zero embedding.
    """

    model_type = "ssru"
    keys_to_ignore_at_inference = ("past_key_values",)
    attribute_map = {  # noqa: RUF012
        "hidden_size": "d_model",
        "intermediate_size": "ffn_dim",
        "num_attention_heads": "attention_heads",
        "num_hidden_layers": "encoder_layers",
    }

    vocab_size: int = 32001
    d_model: int = 256
    encoder_layers: int = 6
    decoder_layers: int = 2
    attention_heads: int = 8
    ffn_dim: int = 1536
    dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    layer_norm_eps: float = 1e-9
    use_cache: bool = True
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = 0
    pad_token_id: int = 32000
    decoder_start_token_id: int = 32000


class SsruPreTrained(PreTrainedModel):  # type: ignore[no-untyped-call]
    """What all classes of the family share."""

    config_class = SsruConfig
    config: SsruConfig
    base_model_prefix = "model"
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        """As Marian does: Glorot and Bengio's uniform numbers, of embeddings normal ones as small."""
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


class SsruEncoder(SsruPreTrained):  # type: ignore[no-untyped-call]
    """Embeddings and layers of self-attention."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(SsruEncoderLayer(config) for _ in range(config.encoder_layers))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,  # noqa: ARG002
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,  # noqa: ARG002
    ) -> BaseModelOutput:
        """The last states, [batch, tokens, width]; what stands at padding means nothing.

        Args:
            input_ids: [batch, tokens], padded on the right.
            attention_mask: [batch, tokens], 0 for padding.
        """
        mask = _mask(attention_mask)
        hidden = embedded(self.embed_tokens, input_ids, self.config)
        hidden = F.dropout(hidden, self.config.dropout, self.training)
        states = [hidden]
        for layer in self.layers:
            hidden = layer(hidden, mask)
            states.append(hidden)
        return BaseModelOutput(last_hidden_state=hidden, hidden_states=tuple(states) if output_hidden_states else None)


class SsruDecoder(SsruPreTrained):  # type: ignore[no-untyped-call]
    """Embeddings and layers of a recurrent unit and of attention on what the encoder gives."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(SsruDecoderLayer(config, index) for index in range(config.decoder_layers))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """The last states, [batch, tokens, width]. A state sees its own token and those before it.

        Args:
            input_ids: [batch, tokens], those that follow on what the cache holds.
            encoder_hidden_states: [batch, source tokens, width].
            encoder_attention_mask: [batch, source tokens], 0 for padding.
            past_key_values: of a layer the states of its unit for all earlier tokens, as keys [batch, 1, tokens, width]
                without values, and of its attention the keys and values.
        """
        if use_cache and past_key_values is None:
            past_key_values = EncoderDecoderCache(DynamicCache(), DynamicCache())
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        mask = _mask(encoder_attention_mask)
        hidden = embedded(self.embed_tokens, input_ids, self.config, first=seen)
        hidden = F.dropout(hidden, self.config.dropout, self.training)
        states = [hidden]
        for layer in self.layers:
            hidden = layer(hidden, encoder_hidden_states, mask, past_key_values)
            states.append(hidden)
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=hidden,
            past_key_values=past_key_values,
            hidden_states=tuple(states) if output_hidden_states else None,
        )


class SsruModel(SsruPreTrained):  # type: ignore[no-untyped-call]
    """Encoder and decoder, with one table of embeddings."""

    _tied_weights_keys = {  # noqa: RUF012
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }

    def __init__(self, config: SsruConfig) -> None:
        super().__init__(config)
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = SsruEncoder(config)
        self.decoder = SsruDecoder(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.shared

    def set_input_embeddings(self, value: nn.Module) -> None:
        assert isinstance(value, nn.Embedding)
        self.shared = self.encoder.embed_tokens = self.decoder.embed_tokens = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,  # noqa: ARG002
        encoder_outputs: Any = None,
        past_key_values: EncoderDecoderCache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,  # noqa: ARG002
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,  # noqa: ARG002
    ) -> Seq2SeqModelOutput:
        """Either ``input_ids`` or ``encoder_outputs`` is needed, and ``decoder_input_ids``.

        ``decoder_attention_mask`` is not looked at: padding on the right is seen by nothing before it.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask, output_hidden_states=output_hidden_states)
        decoded = self.decoder(
            decoder_input_ids,
            encoder_outputs[0],
            attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoded.last_hidden_state,
            past_key_values=decoded.past_key_values,
            decoder_hidden_states=decoded.hidden_states,
            encoder_last_hidden_state=encoder_outputs[0],
            encoder_hidden_states=getattr(encoder_outputs, "hidden_states", None),
        )


class SsruForConditionalGeneration(SsruPreTrained, GenerationMixin):  # type: ignore[no-untyped-call]
    """The model with its output: for each token of the vocabulary, its embedding times the state, plus a bias."""

    _tied_weights_keys = {"lm_head.weight": "model.shared.weight"}  # noqa: RUF012

    def __init__(self, config: SsruConfig) -> None:
        super().__init__(config)
        self.model = SsruModel(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: EncoderDecoderCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Seq2SeqLMOutput:
        """Logits [batch, tokens, vocabulary], and with labels the mean cross-entropy of those that are not -100.

        Args:
            labels: [batch, tokens]; without ``decoder_input_ids`` the decoder reads them, shifted by one.
        """
        if decoder_input_ids is None and labels is not None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        output = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            use_cache and labels is None,
            output_attentions,
            output_hidden_states,
            return_dict,
        )
        logits = self.lm_head(output.last_hidden_state)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=_IGNORED)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=output.past_key_values,
            decoder_hidden_states=output.decoder_hidden_states,
            encoder_last_hidden_state=output.encoder_last_hidden_state,
            encoder_hidden_states=output.encoder_hidden_states,
        )

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The start, then all labels but the last; what does not count becomes padding."""
        start = labels.new_full((len(labels), 1), self.config.decoder_start_token_id)
        shifted = torch.cat([start, labels[:, :-1]], dim=1)
        return shifted.masked_fill(shifted == _IGNORED, self.config.pad_token_id)


class SsruEncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to what came in, and normalised."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.feed_forward = FeedForward(config)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[batch, tokens, width]; the mask [batch, 1, 1, tokens] is true where there is no padding."""
        keys_values = self.self_attn.keys_values(hidden_states)
        found: Tensor = self.feed_forward(self.self_attn(hidden_states, *keys_values, attention_mask))
        return found


class SsruDecoderLayer(nn.Module):
    """A recurrent unit, attention on the source and a feed-forward network."""

    def __init__(self, config: SsruConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.ssru = Ssru(config)
        self.encoder_attn = Attention(config)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
    ) -> Tensor:
        """[batch, tokens, width]; see ``SsruDecoder`` for what the cache holds."""
        hidden, states = self.ssru(hidden_states, self._last_state(past_key_values))
        if past_key_values is not None:
            nothing = states.new_empty(len(states), 1, states.shape[1], 0)
            past_key_values.self_attention_cache.update(states.unsqueeze(1), nothing, self.index)
        keys_values = self._keys_values(encoder_hidden_states, past_key_values)
        found: Tensor = self.feed_forward(self.encoder_attn(hidden, *keys_values, encoder_attention_mask))
        return found

    def _last_state(self, past: EncoderDecoderCache | None) -> Tensor | None:
        if past is None or not past.get_seq_length(self.index):
            return None
        return _held(past.self_attention_cache, self.index)[0][:, 0, -1]

    def _keys_values(self, source: Tensor, past: EncoderDecoderCache | None) -> tuple[Tensor, Tensor]:
        """Those of the source, computed once."""
        if past is None:
            return self.encoder_attn.keys_values(source)
        if not past.is_updated.get(self.index):
            past.cross_attention_cache.update(*self.encoder_attn.keys_values(source), self.index)
            past.is_updated[self.index] = True
        return _held(past.cross_attention_cache, self.index)


class Ssru(nn.Module):
    """A simpler simple recurrent unit, added to what came in, and normalised.

    With a candidate x and a gate f that depend on the token alone, the state is c[t] = f[t] c[t-1] + (1 - f[t]) x[t],
    and what it gives is relu(c[t]).
    """

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        self.candidate = nn.Linear(config.d_model, config.d_model, bias=False)
        self.forget = nn.Linear(config.d_model, config.d_model)
        self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.dropout = config.dropout

    def forward(self, hidden: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What it gives and its states, both [batch, tokens, width]; ``last`` is the state [batch, width] before."""
        forget = torch.sigmoid(self.forget(hidden))
        states = recurrence(forget, (1 - forget) * self.candidate(hidden), last)
        found = F.dropout(F.relu(states), self.dropout, self.training)
        return self.layer_norm(hidden + found), states


class Attention(nn.Module):
    """Attention with several heads, added to what came in, and normalised."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        self.heads = config.attention_heads
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.k_proj = nn.Linear(config.d_model, config.d_model)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)
        self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, tokens, width]; keys and values are as ``keys_values`` gives them."""
        dropout = self.attention_dropout if self.training else 0.0
        queries = self._split(self.q_proj(hidden))
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
        found = self.out_proj(found.transpose(1, 2).flatten(2))
        normed: Tensor = self.layer_norm(hidden + F.dropout(found, self.dropout, self.training))
        return normed

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [batch, heads, tokens, width of a head] of states [batch, tokens, width]."""
        return self._split(self.k_proj(source)), self._split(self.v_proj(source))

    def _split(self, projected: Tensor) -> Tensor:
        return projected.view(*projected.shape[:-1], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, added to what came in, and normalised."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.d_model)
        self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.dropout = config.dropout

    def forward(self, hidden: Tensor) -> Tensor:
        found = F.dropout(self.fc2(F.relu(self.fc1(hidden))), self.dropout, self.training)
        normed: Tensor = self.layer_norm(hidden + found)
        return normed


def recurrence(decay: Tensor, added: Tensor, last: Tensor | None = None) -> Tensor:
    """The states c[t] = decay[t] c[t-1] + added[t], of n tokens in log2(n) steps.

    Each step joins stretches of tokens to twice their length (Hillis and Steele, Data Parallel Algorithms, 1986,
    https://doi.org/10.1145/7902.7903). Nothing is divided, so small decays are no trouble, and a state has the same
    bits whatever follows.

    Args:
        decay: [batch, tokens, width], as ``added``.
        last: the state before the first token, [batch, width]; zero if not given.
    """
    if last is not None:
        first = added[:, :1] + decay[:, :1] * last.unsqueeze(1)
        added = torch.cat([first, added[:, 1:]], dim=1)
    step = 1
    while step < added.shape[1]:
        joined = added[:, step:] + decay[:, step:] * added[:, :-step]
        added = torch.cat([added[:, :step], joined], dim=1)
        decay = torch.cat([decay[:, :step], decay[:, step:] * decay[:, :-step]], dim=1)
        step *= 2
    return added


def embedded(table: nn.Embedding, ids: Tensor, config: SsruConfig, *, first: int = 0) -> Tensor:
    """Embeddings times the root of their width, zero for padding, plus positions that are counted from ``first``."""
    hidden: Tensor = table(ids) * math.sqrt(config.d_model)
    hidden = hidden.masked_fill(ids.eq(config.pad_token_id).unsqueeze(-1), 0.0)
    places = torch.arange(first, first + ids.shape[1], device=ids.device)
    return hidden + positions(places, config.d_model).to(hidden.dtype)


def positions(places: Tensor, width: int) -> Tensor:
    """[places, width]: sines, then cosines, of wavelengths from 2 pi to 10000 times 2 pi, both ends included."""
    steps = torch.arange(width // 2, device=places.device)
    angles = places.unsqueeze(1) * torch.exp(steps * (-math.log(10000.0) / (width // 2 - 1)))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def register() -> None:
    """Make the classes known to transformers' AutoConfig, AutoModel and AutoModelForSeq2SeqLM."""
    AutoConfig.register(SsruConfig.model_type, SsruConfig, exist_ok=True)
    AutoModel.register(SsruConfig, SsruModel, exist_ok=True)
    AutoModelForSeq2SeqLM.register(SsruConfig, SsruForConditionalGeneration, exist_ok=True)


def _mask(attention_mask: Tensor | None) -> Tensor | None:
    """[batch, 1, 1, tokens], true where there is no padding."""
    return None if attention_mask is None else attention_mask.bool()[:, None, None, :]


def _held(cache: Any, layer: int) -> tuple[Tensor, Tensor]:
    """The keys and values that a cache holds of a layer."""
    return cache.layers[layer].keys, cache.layers[layer].values
