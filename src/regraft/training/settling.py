"""What is made of the weights when training has ended: the mean of epochs, and the way back to where they began."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from regraft.errors import CheckpointError
from regraft.training import averaging, checkpoint
from regraft.training.material import Event, Verdict

_FOLDER = "epochs"  # of the weights that are put aside, in that of the checkpoints


def put_aside(checkpoints: Path, step: int, weights: Mapping[str, Tensor]) -> None:
    """Keep the weights of an epoch."""
    checkpoint.publish(checkpoints / _FOLDER, step, {"step": step}, {"weights": weights})


@dataclass(frozen=True)
class Settling:
    """How weights are put into the model, and how it is scored on the validation rows; None without these."""

    put: Callable[[Mapping[str, Tensor]], None]
    validate: Callable[[], Verdict] | None

    def average(self, how: str, checkpoints: Path, kept: list[dict[str, Any]]) -> Iterator[Event]:
        """Put the mean of epochs into the model.

        Args:
            how: "uniform" or "greedy".
            kept: step, epoch and scores of those that were put aside.

        Raises:
            CheckpointError: what was put aside is damaged.
        """
        found = [
            averaging.Ingredient(each["epoch"], (each["score"], each["tie"]), partial(_kept, checkpoints, each["step"]))
            for each in kept
        ]
        if not found:
            return
        mean, epochs = averaging.uniform(found) if how == "uniform" else averaging.greedy(found, self._score)
        self.put(mean)
        yield Event("average", {"how": how, "epochs": sorted(epochs), "of": len(found)})

    def interpolate(
        self, asked: str | float, start: Mapping[str, Tensor], tuned: Mapping[str, Tensor]
    ) -> Iterator[Event]:
        """Put weights between where they began and where they are into the model.

        Args:
            asked: the share of the way, or "auto" for the one of the best score.
        """
        verdicts: dict[float, Verdict] = {}
        for share in averaging.SHARES if self.validate is not None else ():
            assert self.validate is not None
            self.put(averaging.between(start, tuned, share))
            verdicts[share] = self.validate()
        scores = {share: verdict.score for share, verdict in verdicts.items()}
        share = averaging.best_share(scores) if isinstance(asked, str) else asked
        self.put(averaging.between(start, tuned, share))
        curve = [{"share": each, "loss": found.loss, "scores": found.values} for each, found in verdicts.items()]
        yield Event("interpolation", {"asked": asked, "share": share, "curve": curve})

    def _score(self, weights: Mapping[str, Tensor]) -> float:
        assert self.validate is not None, "refused before"
        self.put(weights)
        return self.validate().score


def _kept(checkpoints: Path, step: int) -> dict[str, Tensor]:
    try:
        return checkpoint.open_checkpoint(checkpoints / _FOLDER / f"step-{step:08d}").tensors("weights")
    except CheckpointError as error:
        raise CheckpointError(error.problem, fix="start a new run, or leave training.average out") from None
