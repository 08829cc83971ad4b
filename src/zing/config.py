"""Settings: one table of (name, default, help), read from ZING_* variables and options.

The command line shows each beside its option; nothing else reads the environment.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """One setting; an empty default means that zing finds a value itself."""

    variable: str
    default: str
    help: str


DATA = Setting("ZING_DATA", "~/.local/share/zing", "The folder for what zing keeps.")
MODEL = Setting("ZING_MODEL", "builtin", "A model's name (see `zing models list`) or folder.")
DEVICE = Setting("ZING_DEVICE", "auto", "Where to compute: auto, cpu, cuda or cuda:N.")
THREADS = Setting("ZING_THREADS", "", "CPU threads; by default the cores this process may use.")

SETTINGS = (DATA, MODEL, DEVICE, THREADS)


def cpu_threads() -> int:
    """How many threads to compute with: no more than affinity and the cgroup's quota allow.

    More threads than free cores is far slower than fewer, so a container's quota counts.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, _quota()))


def _quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Whole CPUs that cgroup v2 grants; very many where it sets no limit."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 2**16
