"""Where a number comes from: versions, commit, device, seconds, memory."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path

#: Distributions whose version a number may depend on.
RECORDED = ("ebmpipe", "torch", "numpy", "scipy", "scikit-learn")


def process_age() -> float:
    """Seconds since this process was started, interpreter start-up and imports included."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        import os

        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        # No /proc on this system: processor time so far, which for a starting process is close.
        return time.process_time()


def peak_memory_mb(device: str) -> float:
    """Largest resident memory of this process in MB; on a GPU the largest allocation there."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    # Linux counts in kilobytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def versions() -> dict[str, str]:
    """Python, platform and the recorded distributions that are installed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def commit() -> str | None:
    """The git commit of the package's checkout, with ``-dirty`` if files differ from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def choose_device(wanted: str) -> str:
    """``auto`` is a CUDA GPU if torch sees one, else the CPU; anything else is taken as it is. On a GPU, arithmetic is then `exact`.

    Raises:
        ValueError: if a GPU is asked for and torch sees none, or there is no such device.
    """
    import torch

    seen = torch.cuda.is_available()
    if seen:
        exact()
    if wanted == "auto":
        return "cuda" if seen else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"--device {wanted}: choose auto, cpu, cuda or cuda:<number>")
    if kind == "cuda" and not seen:
        raise ValueError(f"--device {wanted}: torch {torch.__version__} sees no CUDA GPU; take --device cpu, or install with TORCH=cuda")
    return wanted


def exact() -> None:
    """Have a GPU compute in the precision of its tensors, and a convolution give the same bits every time.

    By default torch rounds the inputs of convolutions to ten bits (TF32), so that a GPU would not give a CPU's numbers, and cuDNN may take
    an algorithm that adds up in whatever order threads come, so that a resumed run would not be the whole one.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def device_name(device: str) -> str:
    """What a table calls the device: ``cpu`` or the GPU's model."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return device


class Stopwatch:
    """Times one stage of a run: seconds at work since it was made, and the start-up seconds before that."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.startup_s = process_age()
        self._start = time.perf_counter()

    def record(self) -> dict[str, float | str]:
        """The stage's entry in the ledger. ``wall_s`` is without ``startup_s``."""
        return {
            "wall_s": round(time.perf_counter() - self._start, 3),
            "startup_s": round(self.startup_s, 3),
            "device": device_name(self.device),
            "peak_memory_mb": round(peak_memory_mb(self.device), 1),
        }
