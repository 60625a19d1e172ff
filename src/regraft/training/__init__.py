"""The loop, and what it stands on: device, schedule, checkpoints, signals, and the proof that frozen means frozen."""

from regraft.device import Device, choose_device
from regraft.training.gradients import relative_gradients
from regraft.training.loader import Rows
from regraft.training.loop import Loop
from regraft.training.material import Event, Material, State, Verdict, total_steps
from regraft.training.pairs import pair_loss
from regraft.training.readout import Fit
from regraft.training.requirements import remarks, require_fitting, require_mixed
from regraft.training.signals import Poll, Stop, stoppable

__all__ = [
    "Device",
    "Event",
    "Fit",
    "Loop",
    "Material",
    "Poll",
    "Rows",
    "State",
    "Stop",
    "Verdict",
    "choose_device",
    "pair_loss",
    "relative_gradients",
    "remarks",
    "require_fitting",
    "require_mixed",
    "stoppable",
    "total_steps",
]
