"""The frontier: how far up from the bottom a network is frozen. Measured from what is trainable, never declared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from regraft.pretrained import Anatomy


@dataclass(frozen=True)
class Frontier:
    """So many blocks from the bottom are frozen, and all below them; ``above`` names what ends it.

    0 where the stem or the first block holds something that trains.
    """

    blocks: int
    depth: int
    above: str


def find_frontier(model: nn.Module, anatomy: Anatomy) -> Frontier:
    """The first block that holds something trainable, be it a bias, a norm or an adapter, is where the frontier is.

    Of an encoder-decoder only the encoder counts: what its decoder reads depends on the targets.
    """
    chain = chain_of(anatomy)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    known_above = {*anatomy.tail, *anatomy.head}
    inside = tuple(f"{path}." for path in anatomy.modules)
    below = [name for name in trainable if not name.startswith(inside) and name not in known_above]
    if below:
        return Frontier(0, len(chain), below[0])
    for index, path in enumerate(chain):
        found = next((name for name in trainable if name.startswith(f"{path}.")), None)
        if found is not None:
            return Frontier(index, len(chain), found)
    return Frontier(len(chain), len(chain), next((name for name in trainable if name in known_above), "nothing"))


def chain_of(anatomy: Anatomy) -> tuple[str, ...]:
    """The paths of the blocks that hand their output to the next one: those in the same list as the first."""
    if not anatomy.modules:
        return ()
    first = anatomy.modules[0].rpartition(".")[0]
    return tuple(path for path in anatomy.modules if path.rpartition(".")[0] == first)


def resting(model: nn.Module, anatomy: Anatomy, blocks: int) -> list[nn.Module]:
    """The modules that must not be in training mode though something in them trains.

    Where blocks are frozen from the bottom: whatever holds them, up to the backbone, since its own dropout, masking or
    layer drop acts on what the frozen part computes. And always the batch norms of the checkpoint: their statistics
    are of far more images than the labelled ones, and those of small batches would be gathered too slowly to follow.
    Their scales and shifts may train all the same.
    """
    return [*_holding(model, anatomy, blocks), *known_norms(model, anatomy)]


def known_norms(model: nn.Module, anatomy: Anatomy) -> Iterator[nn.Module]:
    """Batch norms whose statistics come with the checkpoint."""
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm) and f"{path}.weight" not in anatomy.new:
            yield module


def _holding(model: nn.Module, anatomy: Anatomy, blocks: int) -> Iterator[nn.Module]:
    if blocks == 0:
        return
    path = chain_of(anatomy)[0]
    prefix = getattr(model, "base_model_prefix", "")
    while "." in path:
        path = path.rpartition(".")[0]
        if not prefix or not hasattr(model, prefix) or path == prefix or path.startswith(f"{prefix}."):
            yield model.get_submodule(path)
