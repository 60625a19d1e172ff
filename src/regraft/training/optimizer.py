"""The optimizer of a phase: its groups, what it keeps of each parameter, and that in and out of checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from regraft.pretrained import Anatomy
from regraft.recipe import TrainingOptions
from regraft.strategies import Phase
from regraft.training.regularizers import anchored

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what AdamW keeps of each parameter


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], phase: Phase, options: TrainingOptions, anatomy: Anatomy
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019); biases and norms do not decay, nor what is pulled to where it began."""
    pulled = frozenset() if options.regularization.l2_sp is None else anchored(anatomy, [phase])
    groups = []
    for group in phase.groups:
        for decays in (True, False):
            names = [name for name in group.parameters if (parameters[name].ndim >= 2 and name not in pulled) is decays]
            if names:
                decay = options.weight_decay if decays else 0.0
                members = [parameters[name] for name in names]
                groups.append(
                    {
                        "params": members,
                        "names": names,
                        "full_rate": group.learning_rate,
                        "weight_decay": decay,
                    }
                )
    device = next(iter(parameters.values())).device.type
    return torch.optim.AdamW(groups, lr=0.0, fused=device in {"cpu", "cuda"})


def moments_of(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """What it keeps, by the name of the parameter and of what is kept."""
    return {
        f"{group['names'][index]}.{key}": value
        for group in optimizer.param_groups
        for index, parameter in enumerate(group["params"])
        for key, value in optimizer.state[parameter].items()
    }


def whole(names: Mapping[str, Tensor]) -> list[str]:
    """The names that have to be there where some of a parameter's are."""
    return [f"{name}.{key}" for name in {name.rpartition(".")[0] for name in names} for key in _MOMENTS]


def put_moments(optimizer: torch.optim.AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Let it go on with what a checkpoint holds."""
    moments: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        name, _, moment = key.rpartition(".")
        moments[name][moment] = value
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            of_one = moments.get(name, {})
            optimizer.state[parameter] = {key: laid_out(value, parameter) for key, value in of_one.items()}


def laid_out(value: Tensor, parameter: nn.Parameter) -> Tensor:
    """What a checkpoint holds of a weight, laid out as the weight is: AdamW reads both in the order of memory."""
    same = value.shape == parameter.shape
    return torch.empty_like(parameter).copy_(value) if same else value.to(parameter.device)
