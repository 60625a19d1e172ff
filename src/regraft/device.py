"""Where the numbers are computed, and in which precision."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16"]

_SEVERAL = 8  # convolutions
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's mallopt


@dataclass(frozen=True)
class Device:
    """A device and the precision of its matrix products. Weights are fp32 always."""

    device: torch.device
    precision: Precision
    reason: str

    def computing(self) -> AbstractContextManager[object]:
        """The context in which a training pass computes."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def move(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors on the device."""
        return {name: self.pinned(tensor).to(self.device, non_blocking=True) for name, tensor in tensors.items()}

    @property
    def generators(self) -> list[torch.device]:
        """The devices beside the CPU that draw random numbers of their own."""
        return [self.device] if self.device.type == "cuda" else []

    def pinned(self, tensor: Tensor) -> Tensor:
        """A tensor where a GPU can fetch it while other work goes on; the same tensor for other devices."""
        return tensor.pin_memory() if self.device.type == "cuda" and tensor.device.type == "cpu" else tensor


def choose_device(precision: Literal["auto", "fp32", "bf16"], *, model: nn.Module | None = None) -> Device:
    """The accelerator of this machine if it has one, else the CPU; bf16 where that is fast, unless asked otherwise.

    Args:
        model: what will be computed: a network of convolutions gains nothing from bf16 on most CPUs.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = device or torch.device("cpu")
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
        torch.use_deterministic_algorithms(True, warn_only=True)
    if precision != "auto":
        return Device(device, precision, "asked for")
    fast, reason = _fast_at_bf16(device)
    if fast and device.type == "cpu" and model is not None and _convolves(model) and "amx_bf16" not in _cpu_flags():
        fast, reason = False, "this CPU is no faster at convolutions in bf16"
    return Device(device, "bf16" if fast else "fp32", reason)


def trim_memory() -> None:
    """Give freed memory back to the system, where there is a glibc."""
    _glibc("malloc_trim", 0)


@cache
def keep_freed_memory() -> None:
    """Let what one pass on a CPU has freed serve the next one, for the rest of the process, where there is a glibc.

    By itself glibc gives blocks above 32 MB back at once, and the system clears them each time anew: 40 % of the time
    of a pass of EfficientNet-Lite0, forward and back, on 16 images of 320 pixels. Where the environment says otherwise
    (MALLOC_MMAP_MAX_, MALLOC_TRIM_THRESHOLD_), it stays so.
    """
    if not {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        _glibc("mallopt", _MMAP_MAX, 0)
        _glibc("mallopt", _TRIM_THRESHOLD, -1)


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)


def _convolves(model: nn.Module) -> bool:
    """Whether a model consists of convolutions, beyond those that cut an image into patches.

    EfficientNet-Lite0 and a MobileNetV3 took the same time in bf16 as in fp32 (0.85 to 1.14 times, avx512_bf16).
    """
    return sum(isinstance(module, nn.Conv2d) for module in model.modules()) >= _SEVERAL


def _fast_at_bf16(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return fast, "this GPU multiplies bf16 natively" if fast else "this GPU has no native bf16"
    if device.type == "cpu":
        found = _cpu_flags() & {"amx_bf16", "avx512_bf16"}
        return bool(found), f"this CPU has {', '.join(sorted(found))}" if found else "this CPU has no fast bf16"
    return False, f"fp32 is the safe choice on {device.type}"


def _cpu_flags() -> set[str]:
    """What the processor can do, as Linux tells it; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return set()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def require_memory(error: Exception) -> None:
    """Raise an error again if it says that memory has run out: for whoever takes others as a reason to do otherwise."""
    if out_of_memory(error):
        raise error


def out_of_memory(error: Exception) -> bool:
    """Whether PyTorch says that memory has run out, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
