"""`zing doctor`: what this machine offers and what stands in the way, before a user finds it."""

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from zing import models
from zing.errors import ZingError

GIB = 2**30
TORCH_FLOOR = (2, 10)


@dataclass(frozen=True)
class Check:
    """One finding; `advice` says what to do where it is not ok."""

    name: str
    ok: bool
    value: str
    advice: str = ""


def examine(model_name: str, data: Path, device: str, threads: int) -> list[Check]:
    """Every check, in the order a person would go through them."""
    return [
        _python(),
        _torch(),
        _device(device, threads),
        _memory(),
        _checkpoint(model_name, data),
        _data(data),
    ]


def _python() -> Check:
    return Check("python", True, f"{platform.python_version()} on {platform.platform()}")


def _torch() -> Check:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return Check("torch", False, "not installed", "Run `make setup`.")
    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    floor = ".".join(map(str, TORCH_FLOOR))
    return Check("torch", numbers >= TORCH_FLOOR, version, f"Install torch {floor} or newer.")


def _device(name: str, threads: int) -> Check:
    try:
        from zing.engine.local import device_summary  # torch loads here, not before

        summary = device_summary(name)
    except ImportError as error:
        return Check("device", False, str(error), "Run `make setup`.")
    except ZingError as error:
        return Check("device", False, str(error), "Choose another with --device.")
    return Check("device", True, f"{summary}, {threads} CPU threads")


def _memory() -> Check:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = _available() or free
    value = f"{available / GIB:.1f} GiB of {total / GIB:.1f} GiB available"
    return Check("memory", available > 1.5 * GIB, value, "The built-in model wants 1.5 GiB.")


def _available() -> int:
    """MemAvailable in bytes, which counts what caches would give back; 0 where unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    values = dict(line.split(":", 1) for line in lines)
    return int(values.get("MemAvailable", "0 kB").split()[0]) * 1024


def _checkpoint(name: str, data: Path) -> Check:
    try:
        from zing.engine.local import check  # torch loads here, not before

        model = models.find(name, data)
        tensors = check(model.path)
        size = sum(path.stat().st_size for path in models.checkpoint_files(model.path))
    except ImportError as error:
        return Check("checkpoint", False, str(error), "Run `make setup`.")
    except ZingError as error:
        return Check("checkpoint", False, str(error), "See `zing models list`.")
    return Check("checkpoint", True, f"{name} ({size / 1e6:.1f} MB, {tensors} tensors)")


def _data(data: Path) -> Check:
    """The folder that would be used is writable, or can be made."""
    existing = next(path for path in (data, *data.absolute().parents) if os.path.lexists(path))
    ok = os.path.isdir(existing) and os.access(existing, os.W_OK)  # noqa: PTH112
    return Check("data", ok, str(data), f"{existing} cannot be written; choose another by --data.")
