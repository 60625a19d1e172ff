"""The loop. It yields events and takes no callbacks.

Everything it does follows from (recipe, seed, step): the order of the data and every dropout mask are drawn from
them. So a state is a handful of numbers beside the tensors, and a run that was stopped anywhere ends with the same
bits as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regraft.data.batches import passes, step_batches
from regraft.data.example import Example
from regraft.device import Device, out_of_memory
from regraft.errors import CheckpointError, DataError, Interrupted, NotFiniteError, OutOfMemoryError, ResourceError
from regraft.fingerprint import draw
from regraft.frozen import Decision, Execution, at_rest, find_frontier, resting
from regraft.pretrained import fast_attention
from regraft.recipe import TrainingOptions
from regraft.strategies import Phase
from regraft.tasks import Batch
from regraft.training import checkpoint
from regraft.training.dropout import fast_dropout
from regraft.training.freeze import freeze_all_but, frozen_sha256, prove_frozen, set_modes
from regraft.training.loader import steps_of
from regraft.training.material import Event, Material, State, Verdict, total_steps
from regraft.training.optimizer import laid_out, make_optimizer, moments_of, put_moments, whole
from regraft.training.pairs import pair_loss
from regraft.training.passes import Passes
from regraft.training.readout import embedding, fit_readout, readout_of, require_plain, watching
from regraft.training.regularizers import mixable, mixout, pull, starting_weights
from regraft.training.settling import Settling, put_aside
from regraft.training.signals import Poll
from regraft.training.tables import Tables, large_tables

_PROOF = 4  # training examples, from the shortest to the longest, on which a way to compute is proved


class Loop:
    """Trains, phase by phase, and publishes checkpoints.

    Args:
        validate: scores the model as it is on the validation data, run as the execution says; None for no data.
        stop: raises Interrupted once a signal has come.
    """

    def __init__(self, material: Material, *, validate: Callable[[Execution], Verdict] | None, stop: Poll) -> None:
        self.state = State()
        self._m = material
        self._validate = validate
        self._stop = stop
        self._parameters = dict(material.model.named_parameters())
        self._saved = sorted(frozenset[str]().union(*(phase.trainable for phase in material.phases)))
        self._optimizer = self._optimizer_of(material.phases[0])
        self._batch = partial(  # not a method, which would take the whole loop along to a worker
            material.rows.batch, task=material.task, answers=material.answers, processor=material.processor
        )
        self._loss = material.loss
        self._start = _start(material)
        self._mixable = mixable(material.model, material.anatomy, material.phases)
        self._scored = (0.0, 0.0)
        self._average: dict[str, Tensor] = {}
        self._resting: list[nn.Module] = []
        self._tables = Tables()
        self._per_epoch = -(-len(material.rows.examples) // material.options.batch_size)
        self._log_every = -(
            -total_steps(len(material.rows.examples), material.phases, material.options.batch_size) // 2000
        )

    def resume(self, found: checkpoint.Checkpoint) -> bool:
        """Go on from a checkpoint. Returns whether the number of threads had to be set to what it was.

        Raises:
            CheckpointError: it belongs to another recipe, other data or another pretrained model.
        """
        for name, value in self._m.origin.items():
            if found.state.get("origin", {}).get(name) != value:
                raise CheckpointError(
                    f"{found.folder} does not fit: the {name} has changed since it was made",
                    fix="put it back as it was, or start a new run with `regraft tune`",
                )
        self.state = State(**{key: found.state.get(key, value) for key, value in asdict(State()).items()})
        self._enter_phase()
        self._load(found)
        if self.state.frozen != self._frozen_now():
            raise CheckpointError(
                f"{found.folder} does not fit: its frozen weights differ from the pretrained model's",
                fix="start a new run with `regraft tune`",
            )
        threads = int(found.state.get("threads", torch.get_num_threads()))
        changed = threads != torch.get_num_threads()
        if changed:
            torch.set_num_threads(threads)  # sums over another number of threads round otherwise
        return changed

    def events(self) -> Iterator[Event]:
        """Train to the end.

        Raises:
            Interrupted: after a checkpoint has been published.
            NotFiniteError: a loss, gradient or weight is not finite; nothing of it was published.
            ResourceError: disk or memory is short.
        """
        if self._m.checkpoints is not None:
            copies = self._m.options.checkpoint.keep + 2
            checkpoint.require_space(self._m.checkpoints, self._size(), copies=copies, beside=self._size_aside())
        try:
            with _quick(self._m.model, self._m.device), closing(self._m.execution):
                while not self.state.finished:
                    yield from self._phase()
        except Interrupted:
            yield from self._publish()
            raise
        except RuntimeError as error:
            if out_of_memory(error):
                raise _out_of_memory(self._m.options) from error
            raise

    def use_best(self) -> int:
        """Put the best weights into the model, or the last where nothing was compared. Returns their step.

        Raises:
            CheckpointError: the best checkpoint is damaged.
        """
        if self.state.best is not None and self.state.best["step"] != self.state.step:
            assert self._m.checkpoints is not None, "the best weights were not kept"
            self._load(checkpoint.open_checkpoint(self._m.checkpoints / f"step-{self.state.best['step']:08d}"))
        self._put(self._average)
        self._m.model.eval()
        return self.state.step if self.state.best is None else int(self.state.best["step"])

    def left_alone(self) -> dict[str, int]:
        """Where the best weights are of an earlier phase: of which of how many, and how many tensors train only later.

        Those are as they were before tuning.
        """
        phases = self._m.phases
        if self._m.options.average is not None:
            return {}
        best = int((self.state.best or {}).get("phase", len(phases) - 1))  # checkpoints of before do not say
        until = frozenset[str]().union(*(phase.trainable for phase in phases[: best + 1]))
        later = frozenset[str]().union(*(phase.trainable for phase in phases[best + 1 :])) - until
        return {"phase": best + 1, "phases": len(phases), "tensors": len(later)} if later else {}

    def _phase(self) -> Iterator[Event]:
        phase = self._m.phases[self.state.phase]
        if self.state.frozen is None:
            self._enter_phase()
            self.state.frozen = self._frozen_now()
        with self._answering(phase):
            if self.state.epoch < phase.epochs and not self._out_of_patience():
                yield from self._execute(phase)
            with large_tables(self._m.model) as self._tables:
                while self.state.epoch < phase.epochs and not self._out_of_patience():
                    yield from self._fit(phase) if phase.fitted else self._epoch(phase)
        compared = prove_frozen(self._m.model, phase.trainable, self.state.frozen)
        yield Event("frozen", {"phase": self.state.phase, "tensors": compared, "identical": True})
        self.state.phase += 1
        self._settle_average()
        self.state.epoch = 0
        self.state.waited = 0
        self.state.frozen = self.state.execution = None
        self.state.finished = self.state.phase == len(self._m.phases)

    @contextmanager
    def _answering(self, phase: Phase) -> Iterator[None]:
        """The loss that a phase is for, and the model answering as that loss takes it, for as long as this lasts."""
        if phase.objective != "contrastive":
            yield
            return
        self._loss = pair_loss(phase.temperature)
        with embedding(self._m.model, self._m.anatomy):
            yield
        self._loss = self._m.loss

    def _execute(self, phase: Phase) -> Iterator[Event]:
        """Decide how this phase is computed; fill the store if there is to be one."""
        m, count = self._m, len(self._m.rows.examples)
        ordered = sorted(range(count), key=lambda place: m.rows.lengths[place])
        places = sorted({ordered[share * (count - 1) // (_PROOF - 1)] for share in range(_PROOF)})
        batch = self._batch(places)
        told = 0
        decided = self.state.execution or m.known.get(self.state.phase)
        known = None if decided is None else Decision.from_json(decided)
        also = m.wanted if self.state.step == 0 else ()  # of the untouched model
        entering = m.execution.enter(
            batch, places, self._loss, reads=m.rows.reads(phase.epochs), poll=self._stop, also=also, known=known
        )
        for state in entering:
            if isinstance(state, Decision):
                self.state.execution = m.known[self.state.phase] = state.to_json()
                yield Event("execution", {"phase": self.state.phase, **state.to_json()})
            elif state[0] * 20 // state[1] >= told or state[0] == state[1]:
                told = state[0] * 20 // state[1] + 1
                yield Event("fill", {"done": state[0], "of": state[1]})

    def _epoch(self, phase: Phase) -> Iterator[Event]:
        every = self._m.options.checkpoint.every
        for batches in self._steps():
            yield from self._step(phase, batches)
            if every and self.state.step % every == 0 and self.state.batch < self._per_epoch:
                yield from self._publish()
        if phase.objective == "task":
            yield from self._compare()
        self.state.epoch += 1
        self.state.batch = 0
        self._put_aside()
        yield from self._publish()

    def _fit(self, phase: Phase) -> Iterator[Event]:
        """Let the last layer be the best there is on what it is given of the training rows."""
        m = self._m
        assert m.fit is not None, "refused before"
        features, target = self._given()
        stepped = any(not before.fitted for before in m.phases[: self.state.phase])
        learned_from = len(m.rows.examples) if stepped else None
        readout = readout_of(m.model, m.anatomy)
        chosen = fit_readout(readout, phase, m.fit, features, target, learned_from=learned_from)
        self.state.step += 1
        yield Event("fit", {"phase": self.state.phase, "rows": len(target), **chosen})
        yield from self._compare()
        self.state.epoch = phase.epochs
        yield from self._publish()

    def _given(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """What the last layer is given of every training row in all views, [n, features], and what is right of it."""
        m = self._m
        count = len(m.rows.seen)
        views = range(m.rows.number_of_views)
        lengths = [length for view in views for length in m.rows.lengths_in(view, m.task.inputs)]
        cut = list(passes(range(count), lengths, max_tokens=m.options.max_tokens, accumulation=1, alike=m.rows.alike))
        order = [place for members in cut for place in members]
        features, target = [], []
        for members in cut:
            self._stop()
            batch = self._batch(members, blank=not m.execution.looks_at_inputs)
            inputs = m.device.move(batch.inputs)
            with at_rest(m.model), torch.no_grad(), m.device.computing():
                with watching(m.model, m.anatomy) as seen:
                    output = m.execution(inputs, members)
                ((given, gave),) = seen
                require_plain(output, gave)
            features.append(given.float().cpu().numpy())
            target.append(batch.target.numpy())
        places = np.argsort(order)
        return np.concatenate(features)[places], np.concatenate(target)[places]

    def _steps(self) -> Iterator[list[Batch]]:
        """The passes of each step that is left in this epoch."""
        m, options = self._m, self._m.options
        epoch = sum(phase.epochs for phase in m.phases[: self.state.phase]) + self.state.epoch
        batches = step_batches(m.rows.ids, m.rows.lengths, seed=m.seed, epoch=epoch, batch_size=options.batch_size)
        limits: dict[str, Any] = {
            "accumulation": options.accumulation,
            "max_tokens": options.max_tokens,
            "alike": m.rows.alike,
        }
        lengths = m.rows.lengths_in(epoch, m.task.inputs)
        cut = [
            [m.rows.in_epoch(places, epoch) for places in passes(batch, lengths, **limits)]
            for batch in batches[self.state.batch :]
        ]
        self._places = iter(cut)
        make = partial(self._batch, blank=not m.execution.looks_at_inputs)
        return steps_of(make, cut, workers=options.workers)

    def _step(self, phase: Phase, batches: list[Batch]) -> Iterator[Event]:
        places = next(self._places)
        rate = self._set_rates(phase)
        with self._mixed_out(phase):
            losses = Passes(self._m, phase, self._loss, self.state.step, self._stop).gradients(batches, places)
        units = sum(batch.units for batch in batches)
        loss = float(sum(part.sum() for part in losses)) / units
        norm = self._gradient_norm()
        if math.isfinite(loss) and math.isfinite(norm):
            self._pull()
            self._optimizer.step()
            self._update_average()
        else:
            yield self._skip(loss, norm, losses, places)
        self._forget_gradients()
        self.state.step += 1
        self.state.batch += 1
        if self.state.step % self._log_every == 0 or self.state.batch == self._per_epoch:
            yield Event(
                "step",
                {
                    "step": self.state.step,
                    "epoch": round(self._epochs_done(), 4),
                    "loss": loss,
                    "learning_rate": rate,
                    "grad_norm": norm,
                    "padding": _padding(batches),
                },
            )

    @contextmanager
    def _mixed_out(self, phase: Phase) -> Iterator[None]:
        """While this lasts a share of the weights that train is back where it began, where that is asked for."""
        share = self._m.options.regularization.mixout
        if share is None:
            yield
            return
        chosen = {name: self._parameters[name] for name in sorted(self._mixable & phase.trainable)}
        with mixout(chosen, self._start, share, number=draw("mixout", self._m.seed, self.state.step)):
            yield

    def _pull(self) -> None:
        """Decay towards where pretrained weights began, where that is asked for: AdamW's does not act on them then."""
        strength = self._m.options.regularization.l2_sp
        if strength is None:
            return
        for group in self._optimizer.param_groups:
            for name, parameter in zip(group["names"], group["params"], strict=True):
                if name in self._start and parameter.ndim >= 2:
                    pull(parameter, self._start[name], group["lr"] * strength)

    def _gradient_norm(self) -> float:
        """The norm of the whole gradient, which is then cut to the largest that is allowed."""
        dense = [
            parameter.grad
            for group in self._optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter not in self._tables
        ]
        norm = nn.utils.get_total_norm([*dense, *self._tables.gradients()])
        clip = self._m.options.clip
        if clip is not None and not float(norm) <= clip:
            factor = clip / (norm + 1e-6)
            torch._foreach_mul_(dense, factor)
            self._tables.scale(factor)
        return float(norm)

    def _forget_gradients(self) -> None:
        self._tables.zero()
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if parameter not in self._tables:
                    parameter.grad = None

    def _skip(self, loss: float, norm: float, losses: Sequence[Tensor], places: Sequence[Sequence[int]]) -> Event:
        """Leave a step out, or stop: nothing that is not finite reaches the weights."""
        what = "the gradient" if math.isfinite(loss) else "the loss"
        rows = _culprits(losses, places, self._m.rows.examples)
        where = f"step {self.state.step + 1}: {what} is not finite (loss {loss:g}, gradient norm {norm:g})"
        told = f"{where}; rows: {'; '.join(rows)}"
        self.state.skipped += 1
        options = self._m.options
        if options.on_not_finite == "error" or self.state.skipped > options.max_skipped:
            raise NotFiniteError(
                told,
                fix="lower strategy.learning_rate, look at these rows, or set training.on_not_finite=skip",
            )
        return Event("skipped", {"step": self.state.step + 1, "rows": rows, "reason": told})

    def _compare(self) -> Iterator[Event]:
        """Score the model on the validation data; remember whether it is the best so far."""
        if self._validate is None:
            return
        self._require_finite(self._tensors()["weights"])
        with _swapped(self._parameters, self._average):
            self._m.model.eval()
            verdict = self._validate(self._m.execution)
            set_modes(self._m.model, self._resting)
        if math.isnan(verdict.score) and math.isfinite(verdict.loss):
            raise DataError(
                "the deciding score is undefined on the validation rows: they are too few, or all alike",
                fix="give data.split.validation a larger share, name a table with data.validation=…, or choose another "
                "evaluation.primary",
            )
        if math.isnan(verdict.score):
            raise NotFiniteError(
                f"step {self.state.step}: the validation score is not a number",
                fix="lower strategy.learning_rate",
            )
        self._scored = (verdict.score, verdict.tie)
        best = self.state.best
        better = best is None or (verdict.score, verdict.tie) > (best["score"], best["tie"])
        if better:
            found = {"step": self.state.step, "score": verdict.score, "tie": verdict.tie}
            self.state.best = found | {"phase": self.state.phase}
        self.state.waited = 0 if better else self.state.waited + 1
        yield Event(
            "validation",
            {
                "step": self.state.step,
                "epoch": round(self._epochs_done(), 4),
                "loss": verdict.loss,
                "scores": verdict.values,
                "best": better,
                **({} if verdict.only is None else {"only": verdict.only}),
                **({"fitted": True} if self._m.phases[self.state.phase].fitted else {}),
            },
        )

    def settle(self) -> Iterator[Event]:
        """Average the weights of epochs, and go back towards where they began, as far as asked; after ``use_best``.

        The model runs whole for it, so that the scores that decide are the same however training was computed.

        Raises:
            CheckpointError: what was put aside is damaged.
        """
        m, validate = self._m, self._validate
        settling = Settling(self._put, None if validate is None else lambda: validate(m.execution))
        if m.options.average is not None:
            assert m.checkpoints is not None, "the weights of epochs were not kept"
            yield from settling.average(m.options.average, m.checkpoints, self.state.aside)
        if m.options.interpolate is not None:
            tuned = {name: value.detach().clone() for name, value in self._by_name().items() if name in self._start}
            yield from settling.interpolate(m.options.interpolate, self._start, tuned)

    def _put_aside(self) -> None:
        """Keep the weights of this epoch where those of the last phase's epochs are to be averaged."""
        if self._m.options.average is None or self.state.phase < len(self._m.phases) - 1:
            return
        assert self._m.checkpoints is not None, "there is no place to put weights aside"
        weights = self._tensors()["weights"] | self._average
        self._require_finite(weights)
        put_aside(self._m.checkpoints, self.state.step, weights)
        scored = dict(zip(("score", "tie"), self._scored, strict=True))
        self.state.aside.append({"step": self.state.step, "epoch": self.state.epoch, **scored})

    def _by_name(self) -> dict[str, Tensor]:
        return {**self._parameters, **dict(self._m.model.named_buffers())}

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        places = self._by_name()
        with torch.no_grad():
            for name, value in weights.items():
                places[name].copy_(value)

    def _publish(self) -> Iterator[Event]:
        tensors = self._tensors()
        self._require_finite(tensors["weights"])
        if self._m.checkpoints is None:
            return
        state = {**asdict(self.state), "origin": dict(self._m.origin), "threads": torch.get_num_threads()}
        folder = checkpoint.publish(self._m.checkpoints, self.state.step, state, tensors)
        checkpoint.prune(self._m.checkpoints, keep=self._m.options.checkpoint.keep, newest=self.state.step)
        yield Event("checkpoint", {"step": self.state.step, "folder": folder.name})

    def _require_finite(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise NotFiniteError(
                    f"step {self.state.step}: the weight {name} is not finite",
                    fix="lower strategy.learning_rate",
                )

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds: all that trains in any phase, moving buffers, optimizer state, average."""
        buffers = {name: value for name, value in self._m.model.named_buffers() if name in self._m.model.state_dict()}
        weights = {name: self._parameters[name] for name in self._saved} | buffers
        return {"weights": weights, "optimizer": moments_of(self._optimizer), "average": self._average}

    def _size(self) -> int:
        """Bytes of a checkpoint: the weights, two moments of each, and the average if there is one."""
        copies = 3 if self._m.options.ema is None else 4
        return sum(self._parameters[name].numel() * 4 * copies for name in self._saved)

    def _size_aside(self) -> int:
        """Bytes of the weights that are put aside, one copy an epoch."""
        epochs = 0 if self._m.options.average is None else self._m.phases[-1].epochs
        return epochs * sum(self._parameters[name].numel() * 4 for name in self._saved)

    def _load(self, found: checkpoint.Checkpoint) -> None:
        weights, optimizer = found.tensors("weights"), found.tensors("optimizer")
        _require_names(found, "weights", weights, self._tensors()["weights"])
        _require_names(found, "optimizer", optimizer, whole(optimizer))
        self._put(weights)
        put_moments(self._optimizer, optimizer)
        self._average = {
            name: laid_out(value, self._parameters[name]) for name, value in found.tensors("average").items()
        }

    def _enter_phase(self) -> None:
        phase = self._m.phases[self.state.phase]
        freeze_all_but(self._m.model, phase.trainable)
        frontier = find_frontier(self._m.model, self._m.anatomy)
        self._resting = resting(self._m.model, self._m.anatomy, frontier.blocks)
        set_modes(self._m.model, self._resting)
        self._optimizer = self._optimizer_of(phase)

    def _optimizer_of(self, phase: Phase) -> torch.optim.AdamW:
        return make_optimizer(self._parameters, phase, self._m.options, self._m.anatomy)

    def _frozen_now(self) -> str:
        return frozen_sha256(self._m.model, self._m.phases[self.state.phase].trainable)

    def _set_rates(self, phase: Phase) -> float:
        done = self.state.epoch * self._per_epoch + self.state.batch
        share = self._m.factor(done, phase.epochs * self._per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = group["full_rate"] * share
        return float(max(group["lr"] for group in self._optimizer.param_groups))

    def _update_average(self) -> None:
        decay = self._m.options.ema
        if decay is None:
            return
        with torch.no_grad():
            for name in self._m.phases[self.state.phase].trainable:
                value = self._parameters[name]
                self._average.setdefault(name, value.clone()).lerp_(value, 1 - decay)

    def _settle_average(self) -> None:
        """What the next phase does not train keeps its average: from now on it is frozen, and rows depend on it."""
        following = self._m.phases[self.state.phase : self.state.phase + 1]
        for phase in following:
            with torch.no_grad():
                for name in sorted(self._average.keys() - phase.trainable):
                    self._parameters[name].copy_(self._average.pop(name))

    def _epochs_done(self) -> float:
        return self.state.step / self._per_epoch

    def _out_of_patience(self) -> bool:
        patience = self._m.options.early_stopping
        return patience is not None and self.state.waited >= patience


@contextmanager
def _quick(model: nn.Module, device: Device) -> Iterator[None]:
    """Attention and dropout in the form that trains fastest on a CPU; other devices have their own."""
    with ExitStack() as stack:
        if device.device.type == "cpu":
            stack.enter_context(fast_attention(model))
            stack.enter_context(fast_dropout(model))
        yield


def _start(material: Material) -> dict[str, Tensor]:
    """Where what is pretrained began, where something asks for it."""
    options = material.options
    asked = (options.regularization.l2_sp, options.regularization.mixout, options.interpolate)
    if all(value is None for value in asked):
        return {}
    return starting_weights(material.model, material.anatomy, material.phases)


@contextmanager
def _swapped(parameters: Mapping[str, nn.Parameter], average: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with averaged weights, for as long as this lasts."""
    own = {name: parameters[name].detach().clone() for name in average}
    try:
        with torch.no_grad():
            for name, value in average.items():
                parameters[name].copy_(value)
        yield
    finally:
        with torch.no_grad():
            for name, value in own.items():
                parameters[name].copy_(value)


def _require_names(found: checkpoint.Checkpoint, file: str, present: Iterable[str], expected: Iterable[str]) -> None:
    """Refuse a file of tensors that has a hole, or one too many."""
    odd = sorted({*present} ^ {*expected})
    if odd:
        raise CheckpointError(
            f"{found.folder / file}.safetensors: {odd[0]} is missing, or does not belong there",
            fix="remove this checkpoint; `regraft resume` goes on from the one before it",
        )


def _culprits(losses: Sequence[Tensor], places: Sequence[Sequence[int]], examples: Sequence[Example]) -> list[str]:
    """The rows whose loss is not finite; all rows of the step where it was the gradient."""
    bad = [
        place
        for part, members in zip(losses, places, strict=True)
        if part.numel() == len(members)
        for value, place in zip(part.tolist(), members, strict=True)
        if not math.isfinite(value)
    ]
    chosen = [place % len(examples) for place in bad or [place for members in places for place in members]]
    rows = [f"{examples[place].file}, row {examples[place].row}" for place in chosen[:8]]
    return rows + ([f"and {len(chosen) - 8} more"] if len(chosen) > 8 else [])


def _padding(batches: Sequence[Batch]) -> float:
    """The share of the tokens of a step that are padding."""
    masks = [batch.inputs["attention_mask"] for batch in batches if "attention_mask" in batch.inputs]
    real, padded = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
    return round(1 - real / padded, 4) if padded else 0.0


def _out_of_memory(options: TrainingOptions) -> ResourceError:
    return OutOfMemoryError(
        "a training pass does not fit into memory",
        fix=f"halve training.max_tokens (now {options.max_tokens}); the effective batch stays the same",
    )
