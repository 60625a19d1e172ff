"""Whether what is asked of regularization and of averages fits a run, and what the plan says of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from regraft.errors import RecipeError
from regraft.frozen import at_rest
from regraft.pretrained import Anatomy
from regraft.recipe import TrainingOptions
from regraft.strategies import Phase
from regraft.tasks import Batch
from regraft.training.readout import watching
from regraft.training.regularizers import COMPARED, anchored, mixable


def require_fitting(
    options: TrainingOptions,
    kind: str,
    model: nn.Module,
    anatomy: Anatomy,
    phases: Sequence[Phase],
    *,
    validation: bool,
) -> None:
    """See that there is something for every option to act on.

    Args:
        kind: of the answers.
        validation: whether there are validation rows.

    Raises:
        RecipeError: there is not; or what would be mixed or chosen cannot be.
    """
    asked = options.regularization
    pretrained = anchored(anatomy, phases)
    acts = {
        "regularization.l2_sp": (asked.l2_sp, any(_matrix(model, name) for name in pretrained)),
        "regularization.mixout": (asked.mixout, bool(mixable(model, anatomy, phases))),
        "interpolate": (options.interpolate, bool(pretrained)),
    }
    if options.ema is not None and all(phase.fitted for phase in phases):
        raise RecipeError(f"training.ema = {options.ema}, and no step is taken", fix="leave it out")
    if options.batch_size == 1 and any(phase.objective == "contrastive" for phase in phases):
        raise RecipeError(
            "training.batch_size = 1, and there are no pairs in a batch of one example", fix="set it to 16 or more"
        )
    for name, (value, found) in acts.items():
        if value is not None and not found:
            raise RecipeError(
                f"training.{name} = {value}, and nothing that is pretrained trains",
                fix="leave it out, or take a strategy such as full or top-layers",
            )
    for name, value in (("r_drop", asked.r_drop), ("mixup", asked.mixup)):
        if value is not None:
            _require_loss(name, value, kind, phases)
    if asked.mixup is not None and not anatomy.readout:
        raise _unmixed("does not end with a linear layer")
    _require_choice(options, phases, validation=validation)


def require_mixed(model: nn.Module, anatomy: Anatomy, batch: Batch) -> None:
    """See that the last layer is given one row of features for each example, and that nothing comes after it.

    Raises:
        RecipeError: it is not so, as a few examples show.
    """
    with at_rest(model), torch.no_grad(), watching(model, anatomy) as seen:
        logits = model(**batch.inputs)["logits"]
    if len(seen) != 1 or seen[0][0].ndim != 2 or len(seen[0][0]) != len(batch.target) or logits is not seen[0][1]:
        raise _unmixed("gives its last layer more than one row for an example, or does more after it")


def remarks(options: TrainingOptions, model: nn.Module, anatomy: Anatomy, phases: Sequence[Phase]) -> Iterator[str]:
    """What the plan says of all that."""
    asked, pretrained = options.regularization, anchored(anatomy, phases)
    if asked.l2_sp is not None:
        count = sum(_matrix(model, name) for name in pretrained)
        yield f"L2-SP: {count} pretrained matrices decay towards where they begin ({asked.l2_sp:g} times the rate)"
    if asked.mixout is not None:
        count = len(mixable(model, anatomy, phases))
        yield f"mixout: in each step {asked.mixout:.0%} of {count} pretrained matrices are back where they begin"
    if asked.r_drop is not None:
        yield f"R-Drop: every pass is made twice; what they disagree counts {asked.r_drop:g} times"
        if not _noisy(model, phases):
            yield "R-Drop: nothing that trains has dropout, so that both passes agree; model.dropout=0.1 gives it some"
    if asked.mixup is not None:
        yield f"mixup: what the last layer is given is mixed within each pass, in shares of Beta({asked.mixup:g})"
    if asked.reinit is not None:
        depth = len(anatomy.blocks)
        first = depth - asked.reinit
        where = f"blocks[{first}]" if asked.reinit == 1 else f"blocks[{first}] to blocks[{depth - 1}]"
        yield f"{where} of {depth} begin again from random numbers"
    if options.average is not None:
        yield f"average: the weights after each of {phases[-1].epochs} epochs are put aside ({options.average})"
    if options.interpolate is not None:
        how = "as the validation rows decide" if options.interpolate == "auto" else f"to {options.interpolate:g}"
        yield f"interpolate: {len(pretrained)} pretrained tensors go from where they begin (0) to tuned (1) {how}"


def _matrix(model: nn.Module, name: str) -> bool:
    return model.get_parameter(name).ndim >= 2


def _require_loss(name: str, value: float, kind: str, phases: Sequence[Phase]) -> None:
    if kind not in COMPARED:
        raise RecipeError(
            f"training.regularization.{name} = {value:g}, and here the answers are {kind}",
            fix="leave it out: it is for classes, labels and numbers",
        )
    if all(phase.objective != "task" for phase in phases):
        raise RecipeError(
            f"training.regularization.{name} = {value:g}, and no phase trains by the loss of the task",
            fix="leave it out, or take another strategy",
        )


def _require_choice(options: TrainingOptions, phases: Sequence[Phase], *, validation: bool) -> None:
    if options.average is not None and phases[-1].objective != "task":
        raise RecipeError(
            f"training.average = {options.average}, and the last phase takes no steps whose weights could be averaged",
            fix="leave it out, or take another strategy",
        )
    for name, value in (("average", options.average), ("interpolate", options.interpolate)):
        if value in ("greedy", "auto") and not validation:
            raise RecipeError(
                f"training.{name} = {value}, and there are no validation rows to choose by",
                fix="give data.split.validation a share, name a table with data.validation=…, or choose another value",
            )


def _unmixed(why: str) -> RecipeError:
    return RecipeError(
        f"training.regularization.mixup: the head of this model {why}", fix="leave it out, or take model.head=mean"
    )


def _noisy(model: nn.Module, phases: Sequence[Phase]) -> bool:
    """Whether something that draws at random lies beside or below what trains."""
    trained = [name for phase in phases if phase.objective == "task" for name in phase.trainable]
    for path, module in model.named_modules():
        parent = path.rpartition(".")[0]
        if _drops(module) and any(name.startswith(f"{parent}." if parent else "") for name in trained):
            return True
    return False


def _drops(module: nn.Module) -> bool:
    """Whether a module is dropout of some kind, or holds its probability as a number."""
    held = {key: value for key, value in vars(module).items() if "drop" in key}
    if "drop" in type(module).__name__.lower():
        held["p"] = getattr(module, "p", 0.0)
    return any(isinstance(value, float) and value > 0 for value in held.values())
