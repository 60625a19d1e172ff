"""One side of a comparison, in a process of its own: ``python -m benchmarks.sides JOB``, where JOB is a Job as JSON.

What a side may load, and nothing else, is in its process; so the peak of its memory is its own. Timed is training
only, from tokenized rows: not imports, not opening the model, not scoring. Both sides open the same weights (the
untouched model with a head drawn from the seed, and for LoRA the untouched adapter, saved once by ``prepare``) and read
the same tokens; ``weights`` and ``trained`` in the results prove it.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

BATCH_SIZE = 16
MAX_LENGTH = 256
# The same on both sides; for each strategy a rate at which MiniLM learns these tables.
LEARNING_RATES = {"full": 1e-4, "top-2": 2e-4, "linear-probe": 2e-3, "lora-top-half": 1e-3}
_RECIPES: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "top-2": {"name": "top-layers", "n": 2},
    "linear-probe": {"name": "linear-probe"},
    "lora-top-half": {"name": "lora", "n": 3},  # of MiniLM's six blocks
}

Row = dict[str, Any]  # input_ids, attention_mask, token_type_ids, label
Moment = tuple[float, float]  # seconds by the clock, and those that the processor gave this process


@dataclass(frozen=True)
class Job:
    """What a process is to do: ``rates``, ``prepare``, ``sweep``, or train: ``documented``, ``best``, ``regraft``.

    ``in-order`` is ``best`` on the batches of ``regraft``, with the loss of each step.
    """

    do: str
    folder: str  # with train.csv and test.csv; ``prepare`` adds model/, adapter/ and rows.json
    result: str
    strategy: str = "full"
    epochs: int = 1
    seed: int = 0
    dropout: bool = True
    precision: str = "auto"  # bf16 of ``best``, and of ``regraft`` where that is fast; or fp32


def main(job: Job) -> None:
    """Do the job and write its result."""
    doing = {
        "rates": _rates,
        "prepare": _prepare,
        "documented": _trainer,
        "best": _trainer,
        "in-order": _trainer,
        "regraft": _regraft,
        "sweep": _trials,
    }
    Path(job.result).write_text(json.dumps(doing[job.do](job)), encoding="utf-8")


def _rates(job: Job) -> dict[str, Any]:
    from benchmarks.floor import measure_rates

    config = json.loads((Path(job.folder) / "model" / "config.json").read_text(encoding="utf-8"))
    return {
        name: asdict(rates) for name, rates in measure_rates(config["hidden_size"], config["intermediate_size"]).items()
    }


def _prepare(job: Job) -> dict[str, Any]:
    """Save the untouched model and the tokens, so that the peer needs nothing of regraft."""
    import regraft
    from regraft.pretrained import save
    from regraft.sources import make_rows

    prepared = regraft.prepare(recipe_of(job))
    pretrained, folder = prepared.pretrained, Path(job.folder)
    pretrained.model.save_pretrained(folder / "model")  # type: ignore[operator]
    pretrained.processor.save_pretrained(folder / "model")
    save(folder / "adapter", regraft.prepare(recipe_of(replace(job, strategy="lora-top-half"))).pretrained)
    test = make_rows(prepared.splits.test, prepared.task, prepared.answers, pretrained)
    sides = {"train": _labelled(prepared.rows), "test": _labelled(test)}
    (folder / "rows.json").write_text(json.dumps(sides | {"ids": prepared.rows.ids}), encoding="utf-8")
    config = pretrained.config
    return {
        "hidden": config.hidden_size,
        "blocks": config.num_hidden_layers,
        "lengths": prepared.rows.lengths,
        "test_rows": len(test.examples),
        "majority": _majority(row["label"] for row in sides["test"]),
    }


# transformers' Trainer


def _trainer(job: Job) -> dict[str, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer

    documented, folder = job.do == "documented", Path(job.folder)
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / "model", **({} if documented else _WITHOUT_DROPOUT)
    )
    model = _frozen_by_hand(model, job)
    weights = _sha256(model)
    arguments = _arguments(job)
    with measured() as usage:
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=_in_order(rows, job) if job.do == "in-order" else rows["train"],
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[_clock(usage["ends"])],
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return usage | {
        "loss": losses[-1],
        "losses": losses,
        "score": accuracy(model, rows["test"]),
        "weights": weights,
        "trained": _trained(model),
        "precision": "bf16" if arguments.bf16 else "fp32",
    }


_WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}


def _arguments(job: Job) -> Any:
    """As in the quick tour; for all but ``documented`` with what was found to make it faster on a CPU."""
    from transformers import TrainingArguments

    settings: dict[str, Any] = {"num_train_epochs": job.epochs, "logging_strategy": "epoch"}
    if job.do != "documented":
        settings |= {
            "bf16": job.precision == "auto",
            "use_cpu": True,  # else it refuses bf16
            "train_sampling_strategy": "group_by_length",
            "optim": "adamw_torch_fused",
            "dataloader_pin_memory": False,
        }
    if job.do == "in-order":  # all epochs are one, which is longer
        settings |= {"num_train_epochs": 1, "train_sampling_strategy": "sequential"}
        settings |= {"logging_strategy": "steps", "logging_steps": 1}
    return TrainingArguments(
        output_dir=f"{job.folder}/trainer",
        learning_rate=LEARNING_RATES[job.strategy],
        per_device_train_batch_size=BATCH_SIZE,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
        **settings,
    )


def _in_order(rows: Mapping[str, Any], job: Job) -> list[Row]:
    """The training rows of all epochs as regraft takes them. They have to fill their batches."""
    from regraft.data.batches import step_batches

    train, ids = rows["train"], rows["ids"]
    assert len(train) % BATCH_SIZE == 0
    lengths = [len(row["input_ids"]) for row in train]
    epochs = (
        step_batches(ids, lengths, seed=job.seed, epoch=epoch, batch_size=BATCH_SIZE) for epoch in range(job.epochs)
    )
    return [train[place] for batches in epochs for batch in batches for place in batch]


def _clock(ends: list[Moment]) -> Any:
    """Notes when each epoch ends."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            ends.append(_now())

    return Clock()


def _frozen_by_hand(model: Any, job: Job) -> Any:
    """``requires_grad = False``, as every tutorial freezes; LoRA as peft opens an adapter to train it further."""
    if job.strategy == "lora-top-half":
        from peft import PeftModel

        return PeftModel.from_pretrained(model, f"{job.folder}/adapter", is_trainable=True)
    backbone = model.base_model
    below = {
        "full": [],
        "top-2": [backbone.embeddings, *backbone.encoder.layer[:-2]],
        "linear-probe": [backbone],
    }
    for module in below[job.strategy]:
        for parameter in module.parameters():
            parameter.requires_grad = False
    return model


# regraft


def _regraft(job: Job) -> dict[str, Any]:
    import regraft
    from regraft.tuning import make_loop

    prepared = regraft.prepare(recipe_of(job))
    weights = _sha256(prepared.pretrained.model)
    rows = json.loads((Path(job.folder) / "rows.json").read_text(encoding="utf-8"))
    assert _labelled(prepared.rows) == rows["train"]
    steps = []
    with measured() as usage:
        loop = make_loop(prepared, Path(job.result).with_suffix(".checkpoints"))
        for event in loop.events():
            if event.name == "step":
                steps.append(event.values)
            elif event.name == "checkpoint":
                usage["ends"].append(_now())
        loop.use_best()
    model = prepared.pretrained.model
    return usage | {
        "loss": fmean(step["loss"] for step in steps if step["epoch"] > job.epochs - 1),
        "losses": [step["loss"] for step in steps],
        "score": accuracy(model, rows["test"]),
        "weights": weights,
        "trained": _trained(model),
        "precision": prepared.device.precision,
    }


def _trials(job: Job) -> dict[str, Any]:
    from benchmarks.sweep import trials

    return trials(job)


def recipe_of(job: Job) -> Any:
    """regraft as it comes, but with the schedule and the weight decay that are Trainer's defaults."""
    import regraft

    return regraft.make_recipe(
        {
            "task": {"name": "text-classification", "max_length": MAX_LENGTH},
            "model": {"name": "minilm", "dropout": None if job.dropout else 0.0},
            "data": {
                "train": f"{job.folder}/train.csv",
                "test": f"{job.folder}/test.csv",
                "split": {"train": 1.0, "validation": 0.0, "test": 0.0},
            },
            "strategy": {**_RECIPES[job.strategy], "learning_rate": LEARNING_RATES[job.strategy]},
            "training": {
                "epochs": job.epochs,
                "batch_size": BATCH_SIZE,
                "schedule": "linear",
                "warmup": 0.0,
                "weight_decay": 0.0,
                "precision": job.precision,
            },
            "evaluation": {"baselines": False},
            "seed": job.seed,
        }
    )


# Both


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Wall and processor time (user and system) of what is inside, and the memory of the process in MB.

    ``loaded`` is what it held when it began, ``peak`` the most it ever held. Of the ``ends`` of epochs that are noted
    in it come both times of each of the ``epochs``; the first begins where this does.
    """
    usage: dict[str, Any] = {"loaded": _memory("VmRSS"), "ends": []}
    begun = _now()
    yield usage
    usage["wall"], usage["cpu"] = _between(begun, _now())
    usage["peak"] = _memory("VmHWM")
    usage["epochs"] = [_between(start, end) for start, end in pairwise([begun, *usage.pop("ends")])]


def _now() -> Moment:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def _between(start: Moment, end: Moment) -> Moment:
    return end[0] - start[0], end[1] - start[1]


def _memory(kind: str) -> float:
    """MB from Linux's own books; elsewhere the largest size so far.

    Linux lets ``ru_maxrss`` begin with the size of the process that started this one; VmHWM does not know it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith(f"{kind}:")).split()[1]) / 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def accuracy(model: Any, rows: Sequence[Row]) -> float:
    """The share of right answers, in fp32 and in the order of the rows; the same code for both sides."""
    import torch

    right = 0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), 2 * BATCH_SIZE):
            batch = rows[start : start + 2 * BATCH_SIZE]
            logits = model(**_padded(batch)).logits
            right += sum(int(logits[place].argmax()) == row["label"] for place, row in enumerate(batch))
    return right / len(rows)


def _padded(rows: Sequence[Row]) -> dict[str, Any]:
    """Padded on the right with 0, which is BERT's [PAD] and its mask alike."""
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    names = [name for name in rows[0] if name != "label"]
    return {name: torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows]) for name in names}


def _labelled(rows: Any) -> list[Row]:
    return [{**encoded, "label": int(value)} for encoded, value in zip(rows.encoded, rows.values, strict=True)]


def _majority(labels: Iterator[int]) -> float:
    found = list(labels)
    return max(found.count(label) for label in set(found)) / len(found)


def _trained(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _sha256(model: Any) -> str:
    """The hash of all parameters by name; of what peft has wrapped, by the name that it had."""
    parameters: Mapping[str, Any] = {
        name.removeprefix("base_model.model.").replace(".modules_to_save.default.", "."): value
        for name, value in model.named_parameters()
        if ".original_module." not in name
    }
    whole = hashlib.sha256()
    for name in sorted(parameters):
        whole.update(name.encode() + parameters[name].detach().contiguous().numpy().tobytes())
    return whole.hexdigest()


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
