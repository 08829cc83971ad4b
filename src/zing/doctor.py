"""`zing doctor`: what this machine offers and what stands in the way, before a user finds it.

It looks and changes nothing: what it writes to try the disk has no name and is gone at once, and
no database is made or upgraded.
"""

import errno
import importlib.metadata
import os
import platform
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from zing import certificates, config, disk, listeners, models
from zing.config import LEASE
from zing.data import OTHERS, Data
from zing.errors import BadSetting, ZingError
from zing.store import inspection
from zing.store.database import newest
from zing.store.inspection import Inspected

GIB = 2**30
TORCH_FLOOR = (2, 10)
CLOCKS_DIFFER_S = 60.0  # what the clocks of two machines may
CERTIFICATE_DAYS = 14
SAMPLE = b"zing" * 1024


@dataclass(frozen=True)
class Check:
    """One finding; `advice` says what to do where it is not ok."""

    name: str
    ok: bool
    value: str
    advice: str = ""


@dataclass(frozen=True)
class Subject:
    """What is examined: a service with these settings, started on this machine."""

    data: Path
    database: str
    host: str
    port: int
    model: str
    device: str
    threads: int
    tls_cert: str
    tls_key: str
    public_url: str

    @property
    def is_public(self) -> bool:
        """Whether others than this machine could reach it."""
        return not _is_local(self.host)


def examine(subject: Subject, clock: Callable[[], float] = time.time) -> list[Check]:
    """Every check, in the order a person would go through them."""
    found = inspection.look(subject.database, Data(subject.data).database, config.seconds(LEASE))
    return [
        _python(),
        _torch(),
        _device(subject.device, subject.threads),
        _memory(),
        _checkpoint(subject.model, subject.data),
        _data(Data(subject.data)),
        _disk(Data(subject.data)),
        _database(found),
        _clock(found, clock()),
        _port(subject),
        _tls(subject, clock()),
        _links(subject),
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


def _data(data: Data) -> Check:
    """The folder and what is secret in it are ours, whole, and for nobody else."""
    place = disk.existing(data.root)
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        advice = f"{place} cannot be written; choose another by --data."
        return Check("data", False, str(data.root), advice)
    try:
        found = next(_loose(data), None)
    except OSError as error:
        found = f"{error.filename}: {error.strerror}", "Let the user who runs zing read it."
    if found is not None:
        return Check("data", False, *found)
    made = "" if data.root.exists() else " (the first start makes it)"
    return Check("data", True, f"{data.root}{made}")


def _loose(data: Data) -> Iterator[tuple[str, str]]:
    """What is wrong with the folder and its secret files, each with what to do."""
    for path, mode in data.private:
        facts = path.stat() if path.exists() else None
        if facts is not None and facts.st_uid != os.geteuid():
            yield (
                f"{path} is of user {facts.st_uid}, not of {os.geteuid()} who runs this",
                f"Run zing as that user, or chown -R {os.geteuid()} {data.root}",
            )
        elif facts is not None and facts.st_mode & OTHERS:
            yield (
                f"others may open {path} (mode {facts.st_mode & 0o777:04o})",
                f"Close it: chmod {mode:o} {path}",
            )
    if data.secret_is_damaged():
        yield (
            f"{data.root / 'secret'} is damaged",
            "Put back the one that was there; with another every key and link ends.",
        )


def _disk(data: Data) -> Check:
    """There is room, and a write that must last does, in a time that is told."""
    rooms = [disk.room(each) for each in (data.root, data.pictures)]
    least = min(rooms, key=lambda room: room.free)
    for room in rooms:
        if room.trouble:
            advice = "Give zing a folder that it may write to, by --data."
            return Check("disk", False, f"{data.root} {room.trouble}", advice)
    try:
        seconds = _written(disk.existing(data.root))
    except OSError as error:
        advice = "Make room, or choose another disk by --data."
        return Check("disk", False, f"{data.root}: {error.strerror}", advice)
    value = f"{least.free / GIB:.1f} GiB free; 4 kB are safe on it after {1000 * seconds:.1f} ms"
    advice = "Make room: a day's pictures take about 1 GiB a thousand."
    return Check("disk", least.free > GIB, value, advice)


def _written(folder: Path) -> float:
    """Seconds until a small file without a name is on the disk."""
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        file.write(SAMPLE)
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - started


def _database(found: Inspected) -> Check:
    if found.trouble:
        return Check("database", False, f"{found.name}: {found.trouble}", found.advice)
    if not found.version:
        return Check("database", True, f"{found.name} (the first start makes its tables)")
    later = "" if found.version == newest() else "; the next start upgrades it"
    return Check("database", True, f"{found.name} (version {found.version}{later})")


def _clock(found: Inspected, now: float) -> Check:
    """The clock is not before this zing was installed, nor before what the database remembers."""
    value = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    advice = "Set the clock; timedatectl shows whether something keeps it right."
    if now < Path(__file__).stat().st_mtime - CLOCKS_DIFFER_S:
        return Check("clock", False, f"{value}, before this zing was installed", advice)
    behind_s = found.last_at - now
    if behind_s > CLOCKS_DIFFER_S:
        value += f", {behind_s:.0f} s before the last thing in the database"
        return Check("clock", False, value, advice)
    return Check("clock", True, value)


def _port(subject: Subject) -> Check:
    """It can be listened on, or a zing does."""
    value = f"{subject.host} port {subject.port}"
    try:
        found = socket.getaddrinfo(
            subject.host, subject.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        socket.create_server(found[0][4][:2], family=found[0][0]).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _held(value, subject.port)
        why = f"{value}: {error.strerror}"
        return Check("port", False, why, "Choose another by --host and --port.")
    return Check("port", True, f"{value} is free")


def _held(value: str, port: int) -> Check:
    """A port that somebody listens on."""
    listener = listeners.on(port)
    if listener is None:
        value += " is held by a process that this user may not look at"
    elif listener.is_zing:
        return Check("port", True, f"{value}: a zing serves there (process {listener.pid})")
    else:
        name = Path(listener.command[0]).name
        value += f" is held by {name} (process {listener.pid})"
    return Check("port", False, value, "Choose another by --port, or end that process.")


def _tls(subject: Subject, now: float) -> Check:
    """What goes over the network is encrypted, with a certificate that lasts."""
    if bool(subject.tls_cert) != bool(subject.tls_key):
        return Check("tls", False, "one file of two", "Give both --tls-cert and --tls-key.")
    if not subject.tls_cert:
        return _plain(subject)
    try:
        left = (certificates.ends_at(subject.tls_cert, subject.tls_key) - now) / 86_400
    except BadSetting as error:
        advice = "Give files that belong together and that this user may read."
        return Check("tls", False, str(error), advice)
    value = f"{subject.tls_cert} ends in {left:.0f} days"
    return Check("tls", left > CERTIFICATE_DAYS, value, "Renew it, and start zing again.")


def _plain(subject: Subject) -> Check:
    """http: fine on this machine alone, or behind a proxy that speaks https."""
    if not subject.is_public:
        return Check("tls", True, "none; only this machine reaches the service")
    if subject.public_url.startswith("https://"):
        return Check("tls", True, "none; a proxy has it, and it alone should reach the service")
    advice = (
        "Give --tls-cert and --tls-key, or put a proxy with https before it and name its address "
        "in ZING_PUBLIC_URL."
    )
    return Check("tls", False, "none: keys go over the network for all to read", advice)


def _links(subject: Subject) -> Check:
    """Picture links can be opened by those who get them."""
    url = subject.public_url
    if not url:
        if subject.is_public and subject.host in ("0.0.0.0", "::"):
            value = "they start with this machine's own address, which nobody else can open"
            return Check("links", False, value, "Name the address in ZING_PUBLIC_URL.")
        scheme = "https" if subject.tls_cert else "http"
        host = f"[{subject.host}]" if ":" in subject.host else subject.host
        url = f"{scheme}://{host}:{subject.port}"
    value = f"they start with {_without_user(url)}"
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        return Check("links", False, value, "ZING_PUBLIC_URL is like https://pictures.example.com.")
    if _is_local(urlsplit(url).hostname or ""):
        advice = "Name the address that others know in ZING_PUBLIC_URL."
        return Check("links", not subject.is_public, value, advice)
    advice = "Some clients take https links only; name an https address in ZING_PUBLIC_URL."
    return Check("links", url.startswith("https://"), value, advice)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
