"""The frame that every benchmark shares: alternating pairs, medians of ratios, a card, JSON."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow")


@dataclass(frozen=True)
class Row:
    """One measured line.

    ratio      reference over ours, the median over the pairs: above 1 ours is better
    ours       median of ours in `unit`
    reference  median of the reference in `unit`; None where there is nothing to compare with
    """

    name: str
    unit: str
    ours: float
    reference: float | None = None
    ratio: float | None = None
    pairs: int = 1


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """The CPU seconds that this process spent on `work`, over all threads, and its result.

    CPU time, not wall time: another process on the machine must not decide a ratio.
    """
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def paired(name: str, unit: str, ours: list[float], reference: list[float]) -> Row:
    """The row of values that were measured in alternating pairs."""
    ratios = [theirs / mine for mine, theirs in zip(ours, reference, strict=True)]
    return Row(name, unit, median(ours), median(reference), median(ratios), len(ratios))


def machine(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """What the figures were measured on, and with which packages."""
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "cpu": models[0] if models else platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def card(title: str, facts: dict[str, str], rows: list[Row], ours: str = "zing") -> str:
    """The rows as a table that a person reads; `ours` is the name of the first column."""
    lines = [title, "", "  ".join(f"{key} {value}" for key, value in facts.items()), ""]
    width = max(28, *(len(row.name) + 1 for row in rows))
    lines.append(f"{'':{width + 6}}{ours:>10}{'reference':>11}{'ratio':>8}  pairs")
    for row in rows:
        reference = "" if row.reference is None else f"{row.reference:.4g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.{2 if row.ratio >= 0.1 else 3}f}x"
        name = f"{row.name:{width}}{row.unit:6}"
        lines.append(f"{name}{row.ours:>10.4g}{reference:>11}{ratio:>8}  {row.pairs}")
    return "\n".join(lines)


def line(facts: dict[str, str], rows: list[Row]) -> str:
    """The same on one line of JSON."""
    return json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]})
