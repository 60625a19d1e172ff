"""A last layer that learns nothing: it keeps the training rows, and answers as those do that are most like an input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_NEIGHBOURS = (1, 3, 5, 11, 21, 51)  # that are tried
_USUAL = 0.07  # temperature (DINO)
_BLOCK = 1_000  # rows whose similarities to all others are held at once
_TIE = 1e-4  # cosines over the temperature that lie nearer than this are equal: rounding decides nothing


class NearestNeighbours(nn.Module):
    """What is right of the ``k`` rows most like an input, by cosine: Cover and Hart, 1967.

    A neighbour counts ``exp(cosine / temperature)``: Caron et al., Emerging Properties in Self-Supervised Vision
    Transformers (DINO), 2021, https://arxiv.org/abs/2104.14294. All rows count that are as near as the k-th. Logits are
    those of the shares of the neighbours, with one more thought of that says nothing: no share is 0 or 1.

    ``weight`` [rows, features] are what the layer was given of the rows, of length 1 and divided by the temperature:
    a linear layer that says how alike they are. ``answers`` [rows, outputs] are what is right of them.

    Args:
        several: whether several outputs can be right at once.
    """

    def __init__(self, rows: int, features: int, outputs: int, *, several: bool) -> None:
        super().__init__()
        self.several = several
        # Something until rows are kept: were it nothing, what is said would depend on no input, and any way of
        # computing would be proved to give it.
        each, other = torch.arange(1.0, rows + 1), torch.arange(1.0, features + 1)
        self.weight = nn.Parameter(functional.normalize(torch.outer(each, other).cos(), dim=1) / _USUAL)
        self.answers = nn.Parameter(functional.one_hot(torch.arange(rows) % outputs, outputs).float())
        self.k = nn.Parameter(torch.full((), float(rows)))

    def forward(self, given: Tensor) -> Tensor:
        """Logits [batch, outputs] of features [batch, features], in fp32."""
        with torch.autocast(given.device.type, enabled=False):
            alike = functional.linear(functional.normalize(given.float(), dim=1), self.weight)
            return self._logits(alike, self.k)

    @torch.no_grad()
    def remember(self, features: Tensor, target: Tensor, *, temperature: float, k: int | None) -> int:
        """Keep what the layer is given of rows and what is right of them. Returns how many neighbours count.

        Args:
            features: of no more rows than the layer has, [n, features].
            target: classes [n], or the share of each output [n, outputs].
            k: None for the number whose log-loss is smallest where each row is answered by the others.
        """
        count = len(features)
        self.weight.zero_()[:count] = functional.normalize(features, dim=1) / temperature
        shares = functional.one_hot(target, self.answers.shape[1]) if target.ndim == 1 else target
        self.answers.zero_()[:count] = shares.to(self.answers)
        self.k.fill_(k or self._chosen(count, temperature))
        return int(self.k)

    def _chosen(self, count: int, temperature: float) -> int:
        """How many neighbours tell the first ``count`` rows best, each without itself; the most, of equals."""
        tried = [k for k in _NEIGHBOURS if k < count] or [1]
        losses = torch.zeros(len(tried))
        for start in range(0, count, _BLOCK):
            block = slice(start, min(start + _BLOCK, count))
            alike = (self.weight[block] * temperature) @ self.weight[:count].T
            alike[range(len(alike)), range(block.start, block.stop)] = -torch.inf
            for place, k in enumerate(tried):
                losses[place] += self._loss(self._logits(alike, torch.tensor(k)), self.answers[block])
        return min(zip(losses.tolist(), tried, strict=True), key=lambda each: (each[0], -each[1]))[1]

    def _logits(self, alike: Tensor, k: Tensor) -> Tensor:
        """Of similarities [batch, rows] to the first rows."""
        least = alike.topk(min(int(k), alike.shape[1]), dim=1).values[:, -1:]
        weights = alike.masked_fill(alike < least - _TIE, -torch.inf).softmax(dim=1)
        outputs = self.answers.shape[1]
        shares = (k * (weights @ self.answers[: alike.shape[1]]) + (0.5 if self.several else 1 / outputs)) / (k + 1)
        return shares.logit() if self.several else shares.log()

    def _loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        if self.several:
            return functional.binary_cross_entropy_with_logits(logits, answers, reduction="sum").cpu()
        return functional.cross_entropy(logits, answers, reduction="sum").cpu()
