"""The SSRU classes: what is padded, cached or saved changes nothing, and the recurrence is the one that is written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from regraft.pretrained.anatomy import anatomy_of
from regraft.pretrained.folder import quiet
from regraft.pretrained.ssru import (
    SsruConfig,
    SsruForConditionalGeneration,
    SsruModel,
    embedded,
    positions,
    recurrence,
    register,
)

PAD, END = 19, 0
SOURCE = torch.tensor([[5, 6, 7, 8, END], [9, 10, END, PAD, PAD]])
MASK = (SOURCE != PAD).long()
TARGET = torch.tensor([[11, 12, 13, END], [14, END, -100, -100]])


def tiny(**config: Any) -> SsruConfig:
    sizes = {"d_model": 16, "attention_heads": 2, "ffn_dim": 24, "encoder_layers": 2, "decoder_layers": 2}
    ids = {"vocab_size": 20, "pad_token_id": PAD, "decoder_start_token_id": PAD, "eos_token_id": END}
    return SsruConfig(**{**sizes, **ids, **config})


@pytest.fixture
def model() -> SsruForConditionalGeneration:
    torch.manual_seed(0)
    return SsruForConditionalGeneration(tiny()).eval()


@torch.no_grad()
def logits(model: SsruForConditionalGeneration, **inputs: Any) -> torch.Tensor:
    return model(**inputs).logits


def test_padding_of_the_source_changes_nothing(model: SsruForConditionalGeneration) -> None:
    read = torch.tensor([[PAD, 14, 3]])
    alone = logits(model, input_ids=SOURCE[1:, :3], decoder_input_ids=read)
    unmasked = logits(model, input_ids=SOURCE[1:], decoder_input_ids=read)
    together = logits(model, input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=read.expand(2, -1))
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(unmasked, alone, atol=1e-3)


def test_what_follows_in_the_target_changes_nothing(model: SsruForConditionalGeneration) -> None:
    first = logits(model, input_ids=SOURCE[:1], decoder_input_ids=torch.tensor([[PAD, 11, 12, 13, 4]]))
    other = logits(model, input_ids=SOURCE[:1], decoder_input_ids=torch.tensor([[PAD, 11, 12, PAD, PAD]]))
    assert torch.equal(first[:, :3], other[:, :3])
    assert not torch.allclose(first[:, 3:], other[:, 3:], atol=1e-3)


def test_the_loss_is_the_mean_over_the_labels_that_count(model: SsruForConditionalGeneration) -> None:
    output = model(input_ids=SOURCE, attention_mask=MASK, labels=TARGET)
    read = torch.tensor([[PAD, 11, 12, 13], [PAD, 14, END, PAD]])
    found = logits(model, input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=read)
    assert torch.equal(output.logits, found)
    losses = F.cross_entropy(found.transpose(1, 2), TARGET, reduction="none")
    torch.testing.assert_close(output.loss, (losses[0].sum() + losses[1, :2].sum()) / 6)
    assert output.past_key_values is None


@pytest.mark.parametrize(
    "options", [{"no_repeat_ngram_size": 1}, {"num_beams": 3, "no_repeat_ngram_size": 1}, {"do_sample": True}]
)
def test_it_writes_the_same_with_and_without_a_cache(
    model: SsruForConditionalGeneration, options: dict[str, Any]
) -> None:
    written = []
    for use_cache in (True, False):
        torch.manual_seed(1)
        written.append(
            model.generate(input_ids=SOURCE, attention_mask=MASK, max_new_tokens=12, use_cache=use_cache, **options)
        )
    assert torch.equal(*written)
    assert (written[0][:, 0] == PAD).all()
    assert len(set(written[0].flatten().tolist())) > 3


def test_it_writes_the_same_alone_and_in_a_batch(model: SsruForConditionalGeneration) -> None:
    both = model.generate(input_ids=SOURCE, attention_mask=MASK, max_new_tokens=9)
    alone = model.generate(input_ids=SOURCE[1:, :3], max_new_tokens=9)
    assert torch.equal(both[1, : alone.shape[1]], alone[0])


def test_a_cache_goes_on_where_it_stopped(model: SsruForConditionalGeneration) -> None:
    read = torch.tensor([[PAD, 11, 12, 13, 4]])
    whole = logits(model, input_ids=SOURCE[:1], decoder_input_ids=read)
    with torch.no_grad():
        first = model(input_ids=SOURCE[:1], decoder_input_ids=read[:, :2], use_cache=True)
        cache = first.past_key_values
        second = model(input_ids=SOURCE[:1], decoder_input_ids=read[:, 2:], past_key_values=cache)
    assert cache.get_seq_length() == 5
    torch.testing.assert_close(torch.cat([first.logits, second.logits], dim=1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 7, 32, 33])
@pytest.mark.parametrize("before", [False, True])
def test_the_recurrence_is_the_one_that_is_written(length: int, before: bool) -> None:
    torch.manual_seed(length)
    decay = (8 * torch.randn(2, length, 3)).sigmoid().requires_grad_()
    added = torch.randn(2, length, 3, requires_grad=True)
    last = torch.randn(2, 3) if before else None
    state, wanted = last if last is not None else torch.zeros(2, 3), []
    for step in range(length):
        state = decay[:, step] * state + added[:, step]
        wanted.append(state)
    found, loop = recurrence(decay, added, last), torch.stack(wanted, dim=1)
    torch.testing.assert_close(found, loop, atol=1e-6, rtol=1e-5)
    slopes = [
        torch.autograd.grad(value.square().sum(), (decay, added), materialize_grads=True) for value in (found, loop)
    ]
    torch.testing.assert_close(slopes[0], slopes[1], atol=1e-5, rtol=1e-4)


def test_a_state_has_the_same_bits_whatever_follows() -> None:
    torch.manual_seed(0)
    decay, added = torch.rand(2, 40, 3), torch.randn(2, 40, 3)
    whole = recurrence(decay, added)
    assert all(torch.equal(recurrence(decay[:, :n], added[:, :n]), whole[:, :n]) for n in range(1, 41))


def test_the_start_is_a_zero_embedding_whatever_its_row_says(model: SsruForConditionalGeneration) -> None:
    table = model.model.shared
    assert table.weight[PAD].abs().max() > 0
    found = embedded(table, torch.tensor([[PAD, 5]]), model.config, first=3)
    places = positions(torch.tensor([3, 4]), 16)
    torch.testing.assert_close(found[0], torch.stack([places[0], places[1] + 4 * table.weight[5]]))


def test_positions_are_sines_and_then_cosines() -> None:
    found = positions(torch.tensor([0, 2]), 4)
    rates = torch.tensor([1.0, 1e-4])
    torch.testing.assert_close(found, torch.cat([(2 * rates).sin(), (2 * rates).cos()]).mul(
        torch.tensor([[0.0], [1.0]])) + torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 0]]))  # fmt: skip


def test_saved_and_opened_again_it_answers_the_same(model: SsruForConditionalGeneration, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoModelForSeq2SeqLM

    register()
    register()  # twice does no harm
    with quiet(), torch.no_grad():
        model.save_pretrained(tmp_path)
        again, report = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
        body = AutoModel.from_pretrained(tmp_path).eval()
    assert not any(report.values())
    inputs = {"input_ids": SOURCE, "attention_mask": MASK, "decoder_input_ids": SOURCE}
    assert torch.equal(logits(again.eval(), **inputs), logits(model, **inputs))
    assert isinstance(body, SsruModel)
    with torch.no_grad():
        assert torch.equal(body(**inputs).last_hidden_state, model.model(**inputs).last_hidden_state)
    stored = [name for name, tensor in load_file(tmp_path / "model.safetensors").items() if tensor.shape == (20, 16)]
    assert stored == ["model.shared.weight"]


def test_the_table_of_embeddings_is_one_and_stays_one(model: SsruForConditionalGeneration) -> None:
    model.resize_token_embeddings(24)
    tables = (model.model.shared, model.model.encoder.embed_tokens, model.model.decoder.embed_tokens, model.lm_head)
    assert len({table.weight.data_ptr() for table in tables}) == 1
    assert logits(model, input_ids=SOURCE, decoder_input_ids=SOURCE).shape[-1] == 24


def test_its_anatomy_is_embeddings_then_encoder_then_decoder(model: SsruForConditionalGeneration) -> None:
    anatomy = anatomy_of(model)
    assert anatomy.stem == ("model.shared.weight",)
    assert anatomy.head == ("lm_head.bias",)
    assert anatomy.tail == ()
    assert anatomy.modules == (
        *("model.encoder.layers.0", "model.encoder.layers.1"),
        *("model.decoder.layers.0", "model.decoder.layers.1"),
    )


def test_every_parameter_learns_and_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    model = SsruForConditionalGeneration(tiny(dropout=0.1, attention_dropout=0.1)).eval()
    inputs = {"input_ids": SOURCE, "attention_mask": MASK, "labels": TARGET}
    assert model(**inputs).loss == model(**inputs).loss
    model.train()
    assert model(**inputs).loss != model(**inputs).loss
    model(**inputs).loss.backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_hidden_states_are_those_between_the_layers(model: SsruForConditionalGeneration) -> None:
    output = model(input_ids=SOURCE, decoder_input_ids=SOURCE, output_hidden_states=True)
    assert len(output.encoder_hidden_states) == len(output.decoder_hidden_states) == 3
    assert torch.equal(output.encoder_hidden_states[-1], output.encoder_last_hidden_state)


def test_importing_regraft_registers_nothing() -> None:
    script = "import sys, regraft, regraft.pretrained; sys.exit('regraft.pretrained.ssru' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
