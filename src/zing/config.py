"""Settings: the one place that names each ZING_* variable, its default and its help.

The command line reads the variables through its options.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from zing.errors import BadSetting


@dataclass(frozen=True)
class Setting:
    """One setting."""

    variable: str
    default: str
    help: str


DATA = Setting("ZING_DATA", "~/.local/share/zing", "The folder for what zing keeps.")
MODEL = Setting("ZING_MODEL", "builtin", "A model's name (see `zing models list`) or folder.")
DEVICE = Setting("ZING_DEVICE", "auto", "Where to compute: auto, cpu, cuda or cuda:N.")
THREADS = Setting("ZING_THREADS", "auto", "CPU threads; auto: the cores this process may use.")

THREADS_MAX = 1024


def parse_threads(text: str) -> int:
    """The number of CPU threads that a text names; `auto` is what may be used."""
    if text == THREADS.default:
        return cpu_threads()
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= THREADS_MAX:
        raise BadSetting(f"{text!r} threads cannot be used: auto or 1 to {THREADS_MAX} can.")
    return int(text)


def folder(text: str) -> Path:
    """The folder that a text names, `~` expanded where there is such a home."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises


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
