"""What keeps a model from learning few examples by heart: each a formula that the loop calls at its place.

    l2_sp     after the gradient: pretrained matrices decay towards where they began
    mixout    around the passes of a step: a drawn share of the pretrained weights is back where it began
    mixup     within a pass: what the last layer is given of two examples is mixed, and so are their losses
    r_drop    over two passes of other noise: how far apart what they say is

All that is drawn follows from the seed, the step and the pass, so that a run that was stopped ends the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.frozen import forwards
from regraft.pretrained import Anatomy
from regraft.pretrained.attention import draw_dropped
from regraft.strategies import Phase

COMPARED = ("classes", "labels", "numbers")  # kinds of answers that passes can disagree in, and that can be mixed


def anchored(anatomy: Anatomy, phases: Sequence[Phase]) -> frozenset[str]:
    """The parameters that steps move and that began as a checkpoint has them."""
    return frozenset[str]().union(*(each.trainable for each in phases if not each.fitted)) - anatomy.new


def starting_weights(model: nn.Module, anatomy: Anatomy, phases: Sequence[Phase]) -> dict[str, Tensor]:
    """Copies of what a checkpoint gave and training moves, as it is now: parameters, and statistics of norms."""
    names, kept = anchored(anatomy, phases), model.state_dict().keys()
    found: dict[str, Tensor] = {name: value for name, value in model.named_parameters() if name in names}
    for name, value in model.named_buffers():
        new = f"{name.rpartition('.')[0]}.weight" in anatomy.new
        if name in kept and value.is_floating_point() and not new:
            found[name] = value
    return {name: value.detach().clone() for name, value in found.items()}


def mixable(model: nn.Module, anatomy: Anatomy, phases: Sequence[Phase]) -> frozenset[str]:
    """The anchored matrices that states are multiplied with; tables that are looked up are left alone."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    names = anchored(anatomy, phases)
    return frozenset(
        name
        for name, value in model.named_parameters()
        if name in names and value.ndim >= 2 and id(value) not in tables
    )


def pull(parameter: Tensor, start: Tensor, strength: float) -> None:
    """L2-SP: ``w - strength * (w - start)``, in place.

    Li et al., Explicit Inductive Bias for Transfer Learning with Convolutional Networks, 2018,
    https://arxiv.org/abs/1802.01483; decoupled from the gradient as AdamW's decay is (Loshchilov and Hutter, 2019).

    Args:
        strength: the learning rate times what is asked for; the whole way at most.
    """
    with torch.no_grad():
        parameter.lerp_(start, min(1.0, strength))


@contextmanager
def mixout(
    parameters: Mapping[str, nn.Parameter], start: Mapping[str, Tensor], probability: float, *, number: int
) -> Iterator[None]:
    """While this lasts each weight is where it began with a probability, and what the others moved counts for more.

    ``start + kept * (w - start) / (1 - p)``, whose mean is ``w``: Lee et al., Mixout, 2020,
    https://arxiv.org/abs/1909.11299. Gradients come out as those of ``w``.

    Args:
        probability: rounded to a multiple of 1/65536.
        number: what is put back is drawn from it.
    """
    torch.default_generator.manual_seed(number)
    own, slopes = {}, {}
    try:
        for name, parameter in parameters.items():
            dropped, share = draw_dropped(parameter.shape, probability)
            slopes[name] = (1 - dropped).to(parameter) / share
            own[name] = parameter.detach().clone()
            with torch.no_grad():
                parameter.copy_(torch.lerp(start[name], own[name], slopes[name]))
        yield
        for name, slope in slopes.items():
            gradient = parameters[name].grad
            if gradient is not None:
                gradient.mul_(slope)
    finally:
        with torch.no_grad():
            for name, value in own.items():
                parameters[name].copy_(value)


@dataclass(frozen=True)
class Mixture:
    """Each example of a pass in a share, and its partner, int64 [n], in the rest of it."""

    share: float
    partners: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Features [n, f] mixed."""
        return self.share * values + (1 - self.share) * values[self.partners.to(values.device)]

    def losses(self, function: Callable[[Any, Tensor], Tensor], output: Any, target: Tensor) -> Tensor:
        """The losses [n] of what was said of mixed features: against both targets, in their shares."""
        of_partners = function(output, target[self.partners.to(target.device)])
        return self.share * function(output, target) + (1 - self.share) * of_partners


def mixture(alpha: float, rows: int, *, number: int) -> Mixture:
    """Who is mixed with whom, and in which share of Beta(alpha, alpha).

    Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018, https://arxiv.org/abs/1710.09412.
    """
    drawn = np.random.Generator(np.random.PCG64(number))
    return Mixture(float(drawn.beta(alpha, alpha)), torch.from_numpy(drawn.permutation(rows)))


@contextmanager
def mixing(readout: nn.Module, mixed: Mixture) -> Iterator[None]:
    """While this lasts the last layer is given mixed features.

    Verma et al., Manifold Mixup, 2019, https://arxiv.org/abs/1806.05236, at the one layer where every model has one
    row of features for an example.
    """
    own = readout.forward
    with forwards({readout: lambda given: own(mixed.of(given))}):
        yield


def disagreement(kind: str, one: Tensor, other: Tensor) -> Tensor:
    """How far apart two passes are in what they say of each example, [n].

    Of classes half the sum of both Kullback-Leibler divergences; of labels the same of each label, on average; of
    numbers the squared difference. Wu et al., R-Drop, 2021, https://arxiv.org/abs/2106.14448.

    Args:
        one: logits [n, width]; ``other`` likewise.
    """
    one, other = one.float(), other.float()
    if kind == "classes":
        log_p, log_q = functional.log_softmax(one, dim=1), functional.log_softmax(other, dim=1)
        return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1) / 2
    if kind == "labels":
        return ((one.sigmoid() - other.sigmoid()) * (one - other)).mean(dim=1) / 2
    return (one - other).pow(2).mean(dim=1)
