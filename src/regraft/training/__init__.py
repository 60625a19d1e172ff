"""The loop, and what it stands on: device, schedule, checkpoints, signals, and the proof that frozen means frozen."""

from regraft.device import Device, choose_device
from regraft.training.gradients import relative_gradients
from regraft.training.loader import Rows
from regraft.training.loop import Event, Loop, Material, State, Verdict, total_steps
from regraft.training.readout import Fit
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
    "relative_gradients",
    "stoppable",
    "total_steps",
]
