"""The result of tuning: a model with what it needs to answer, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from regraft import pretrained
from regraft.device import choose_device
from regraft.errors import RecipeError
from regraft.evaluation import probabilities
from regraft.evaluation.outputs import gather
from regraft.frozen import Runner, encoding_once
from regraft.pretrained import Pretrained
from regraft.recipe import TaskOptions
from regraft.run import read_json, write_json
from regraft.tasks import Answers, Encoded, Task, make_task
from regraft.version import __version__

_EXTRAS = "regraft.json"
_CHUNK = 512  # texts that are read, sorted by length and answered together when streaming


@dataclass(frozen=True)
class Tuned:
    """A tuned model. ``predict`` answers, ``save`` and ``load`` keep it; every other verb is a function of its own."""

    pretrained: Pretrained
    task: Task
    task_name: str
    answers: Answers
    temperature: float = 1.0

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """Answer each input.

        Args:
            inputs: a text, the path of an image, an image (Pillow, or an array [h, w, 3]), a mapping such as
                ``{"text": …, "text_pair": …}``, or many of these.

        Returns:
            For each input ``prediction``, for classes and labels ``confidence`` and ``probabilities``, and for
            segmentation ``mask``, the class of every pixel.

        Raises:
            RecipeError: an input lacks what the task reads.
        """
        if isinstance(inputs, Mapping) or self.task.inputs.is_one(inputs):
            return list(self.stream([inputs]))
        if not isinstance(inputs, Iterable):
            raise RecipeError(f"inputs are of type {type(inputs).__name__}", fix="give a text, a mapping, or many")
        return list(self.stream(inputs))

    def stream(self, inputs: Iterable[Any], *, batch_size: int = 64) -> Iterator[dict[str, Any]]:
        """Like ``predict``, one answer after the other, with a bounded number of inputs in memory."""
        waiting = enumerate(inputs, start=1)
        while chunk := list(islice(waiting, _CHUNK)):
            read = [self.parsed(item, number) for number, item in chunk]
            pieces = [self._answerable(self.task.pieces(values)) for values in read]
            parts = [part for of_one in pieces for part in of_one]
            encoded = self.task.inputs.encode(parts, self.pretrained.processor, self.pretrained.config)
            scores = iter(self.scores(self.outputs(encoded, batch_size=batch_size)))
            for of_one in pieces:
                yield self.task.joined([self.task.targets.answer(next(scores), self.answers, part) for part in of_one])

    def writing(self, **options: Any) -> Tuned:
        """The same model that writes in another way.

        Args:
            options: of its task: ``temperature``, ``top_p``, ``max_new_tokens``, ``beams``.

        Raises:
            RecipeError: its task has no such option.
        """
        own = {field.name: getattr(self.task, field.name) for field in fields(self.task)}  # type: ignore[arg-type]
        foreign = next((name for name in options if name not in own), None)
        if foreign is not None:
            flag = f"--{foreign.replace('_', '-')}"
            raise RecipeError(
                f"{self.task_name} has no {foreign}", fix=f"leave {flag} out; it is for models that write"
            )
        return replace(self, task=make_task(TaskOptions(name=self.task_name, **own | options)))

    def speak(self, item: Any) -> Iterator[str]:
        """What a model that writes says of one input, piece by piece as it comes.

        Raises:
            RecipeError: the model does not write, or the input lacks what the task reads.
        """
        from regraft.tasks import WritingTask

        if not isinstance(self.task, WritingTask):
            raise RecipeError(f"{self.task_name} does not write its answers", fix="leave --stream out")
        model = self.pretrained
        parts = self.task.pieces(self.parsed(item, 1))
        encoded = self.task.inputs.encode(parts, model.processor, model.config)
        return _spaced([self.task.speak(model.model, part, model.processor) for part in encoded])

    def logits(
        self,
        encoded: Sequence[Encoded],
        *,
        batch_size: int = 64,
        poll: Callable[[], None] = lambda: None,
        run: Runner | None = None,
        seen: Callable[[Any, Sequence[int]], None] | None = None,
        blank: bool = False,
        write: bool = True,
    ) -> NDArray[Any]:
        """What is kept of what the model says, [n, width]: logits, or what the task has instead of them.

        Args:
            run: computes a batch where the model itself is not to.
            seen: is shown every output, with the positions of its examples.
            blank: whether ``run`` does not look at the inputs.
            write: whether a model that writes its answers is to write them.
        """
        model, processor = self.pretrained.model, self.pretrained.processor
        asked = self.task.looks(encoded)

        def look(batch: dict[str, Tensor], places: Sequence[int]) -> Tensor:
            rows = [encoded[place] for place in places]
            with encoding_once(model) if run is None else nullcontext():
                output = {} if not asked else model(**batch) if run is None else run(batch, places)
                if seen is not None:
                    seen(output, places)
                kept = self.task.targets.said(output, self.answers, rows)
                if not write:
                    return kept
                with nullcontext() if run is None else run.standing(batch, places):
                    written = self.task.write(model, rows, processor)
            return kept if written is None else torch.cat([kept, written.to(kept)], dim=1)

        return gather(model, self.task.inputs, processor, encoded, look, batch_size=batch_size, poll=poll, blank=blank)

    def outputs(
        self, encoded: Sequence[Encoded], *, batch_size: int = 64, poll: Callable[[], None] = lambda: None
    ) -> NDArray[Any]:
        """What ``logits`` gives, in the user's terms: numbers in their units, tokens as texts."""
        said = self.logits(encoded, batch_size=batch_size, poll=poll)
        return self.task.targets.told(said, self.answers, self.pretrained.processor)

    def scores(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Calibrated probabilities, [n, answers.width], or the outputs themselves."""
        return probabilities(outputs, self.answers.kind, temperature=self.temperature)

    def save(self, folder: str | Path) -> None:
        """Write the model folder; plain transformers opens it, and ``Tuned.load`` opens all of it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        pretrained.save(folder, self.pretrained)
        options = {field.name: getattr(self.task, field.name) for field in fields(self.task)}  # type: ignore[arg-type]
        content = {
            "regraft": __version__,
            "task": {"name": self.task_name, **options},
            "answers": asdict(self.answers),
            "head": self.pretrained.head,
            "base": pretrained.base_of(self.pretrained),
            "temperature": self.temperature,
        }
        write_json(folder / _EXTRAS, content)

    @classmethod
    def load(cls, folder: str | Path) -> Tuned:
        """Open a folder that ``save`` wrote; also a run folder, whose ``model`` is meant.

        Raises:
            RecipeError: it is no such folder, or something is missing in it.
            RefusedError: it holds something that could run code.
        """
        folder = Path(folder)
        folder = folder / "model" if (folder / "model" / _EXTRAS).is_file() else folder
        if not (folder / _EXTRAS).is_file():
            raise RecipeError(
                f"{folder} is not a tuned model (it has no {_EXTRAS})",
                fix="name a run folder or its model/ folder",
            )
        pretrained.check_folder(folder, adapter=True)
        content = read_json(folder / _EXTRAS)
        task, answers, name = _understood(content, folder)
        config = task.targets.model_config(answers)
        model = pretrained.reopen(
            folder, task.auto_class, head=content["head"], config=config, base=content.get("base")
        )
        model.model.to(choose_device("fp32").device)
        return cls(model, task, name, answers, float(content["temperature"]))

    def parsed(self, item: Any, number: int) -> dict[str, Any]:
        """One input as the task reads it.

        Raises:
            RecipeError: naming the input by its number and what it lacks.
        """
        columns = self.task.inputs.columns()
        one = self.task.inputs.is_one(item)
        if not one and not isinstance(item, Mapping):
            raise RecipeError(
                f"input {number} is of type {type(item).__name__}", fix=f"give {self.task.inputs.wanted} or a mapping"
            )
        values = {columns[0].name: item} if one else dict(item)
        read = {}
        for column in columns:
            if values.get(column.name) is None:
                if column.required:
                    raise RecipeError(
                        f"input {number} has no {column.name!r}", fix=f"give it as {{{column.name!r}: …}}"
                    )
                continue
            try:
                read[column.name] = self.task.inputs.given(column, values[column.name])
            except ValueError as error:
                raise RecipeError(f"input {number}: {column.name!r} {error}") from None
        reason = self.trouble(read)
        if reason is not None:
            raise RecipeError(f"input {number}: {reason}", fix="change it, or leave it out")
        return read

    def trouble(self, inputs: Mapping[str, Any]) -> str | None:
        """What is wrong with an input as this model reads it; None where it can be answered."""
        return self.task.inputs.trouble(inputs, self.pretrained.processor, self.pretrained.config)

    def _answerable(self, parts: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The parts of an input that there is an answer to; the whole has been found to have one."""
        return parts if len(parts) < 2 else [part for part in parts if self.trouble(part) is None]


def _spaced(parts: Sequence[Iterator[str]]) -> Iterator[str]:
    """What is said of one part after the other."""
    for number, part in enumerate(parts):
        if number:
            yield " "
        yield from part


def _understood(content: Any, folder: Path) -> tuple[Task, Answers, str]:
    try:
        options = TaskOptions.model_validate(content["task"])
        parts = content["answers"]
        answers = Answers(parts["kind"], tuple(parts["names"]), tuple(parts["mean"]), tuple(parts["scale"]))
        float(content["temperature"])
        if content["head"] not in pretrained.HEADS:
            raise ValueError
        return make_task(options), answers, options.name
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"{folder / _EXTRAS} is damaged: {error}", fix="tune it again, or copy the folder again"
        ) from None
