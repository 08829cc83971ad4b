"""`python -m bench peers`: the same accept by zing, DBOS Transact and Procrastinate.

The peers live in an environment of their own, build/peers, which is made from bench/peers.txt the
first time that this is asked for.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench import frame, load, stop
from bench.frame import Row
from bench.server import EVOLINK, serving
from tests import databases

PACKAGES = ("uvicorn", "starlette", "sqlalchemy", "psycopg")
PEERS = ("dbos", "procrastinate", "psycopg", "sqlalchemy", "uvicorn", "starlette")
LOCK = Path(__file__).with_suffix(".txt")
ENVIRONMENT = load.ROOT / "build" / "peers"
SUBMIT = EVOLINK.submit("a red circle on a blue background", False)
BARE = "bare uvicorn"
VERSIONS = (
    "import json, sys; from importlib.metadata import version;"
    "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
)


class Served(NamedTuple):
    """A server that accepts pictures, and how durable it says that they are."""

    port: int
    key: str
    durable: str


Start = Callable[[], AbstractContextManager[Served]]


@dataclass
class Seen:
    """What was seen of one server over the rounds."""

    rates: list[float] = field(default_factory=list)
    errors: int = 0
    durable: str = ""


def main(arguments: Sequence[str]) -> None:
    """Measure, print the card, end with one line of JSON."""
    parser = argparse.ArgumentParser(prog='make bench ARGS="peers …"', description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds a round")
    options = parser.parse_args(arguments)
    stop.as_ctrl_c()
    python = environment()
    facts = frame.machine(PACKAGES)
    facts |= {f"peers' {name}": version for name, version in _versions(python).items()}
    with _postgresql() as server:
        seen = _measured(_servers(python, server), options.rounds, options.seconds)
    facts |= {name: each.durable for name, each in seen.items() if each.durable}
    rows = compared(seen)
    title = "zing bench peers: durable accepts a second; reference: bare uvicorn; ratio: to that"
    print(frame.card(title, facts, rows, "accepts"))
    print(frame.line(facts, rows))


def environment() -> Path:
    """The Python of the peers' environment, which is made where it is not what is locked."""
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "locked.txt"
    if done.is_file() and done.read_bytes() == LOCK.read_bytes():
        return python
    stop.say(f"making {ENVIRONMENT}: pip downloads what {LOCK.name} locks (some 20 MB) ...")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    options = ("-q", "--disable-pip-version-check", "--no-deps", "--require-hashes")
    command = [str(python), "-m", "pip", "install", *options, "-r", str(LOCK)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(f"pip could not install the peers: {made.stderr}")
    shutil.copyfile(LOCK, done)
    return python


def _versions(python: Path) -> dict[str, str]:
    command = [str(python), "-c", VERSIONS, *PEERS]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(said))


def _postgresql() -> AbstractContextManager[str]:
    """A PostgreSQL that syncs, with its defaults; nothing where it is not installed."""
    if databases.programs() is None:
        stop.say("PostgreSQL is not installed: zing and Procrastinate on it are left out")
        return nullcontext("")
    return databases.cluster(fsync="on")


def _servers(python: Path, server: str) -> dict[str, Start]:
    """Each server by its name; each start is one on a new, empty database."""
    found: dict[str, Start] = {
        "zing, SQLite": _zing_on_sqlite,
        "DBOS, SQLite WAL": partial(_dbos, python, "wal"),
        "DBOS, SQLite as it comes": partial(_dbos, python, "delete"),
    }
    if server:
        found["zing, PostgreSQL"] = partial(_zing_on_postgresql, server)
        found["Procrastinate, PostgreSQL"] = partial(_procrastinate, python, server)
    return found


@contextmanager
def _zing_on_sqlite() -> Iterator[Served]:
    with _folder() as folder, serving(folder / "data", "--no-worker") as service:
        yield Served(service.port, service.key, "")


@contextmanager
def _zing_on_postgresql(server: str) -> Iterator[Served]:
    with (
        _folder() as folder,
        databases.new_database(server) as url,
        serving(folder / "data", "--no-worker", "--database", url) as service,
    ):
        yield Served(service.port, service.key, "")


@contextmanager
def _dbos(python: Path, journal_mode: str) -> Iterator[Served]:
    with _folder() as folder, _peer(python, "bench.peer_dbos", str(folder), journal_mode) as peer:
        yield peer


@contextmanager
def _procrastinate(python: Path, server: str) -> Iterator[Served]:
    with (
        databases.new_database(server) as url,
        _peer(python, "bench.peer_procrastinate", url) as peer,
    ):
        yield peer


@contextmanager
def _peer(python: Path, module: str, *arguments: str) -> Iterator[Served]:
    """A peer's server in its own environment; gone afterwards."""
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        command = [str(python), "-m", module, *arguments]
        with subprocess.Popen(
            command, cwd=load.ROOT, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        ) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    log.seek(0)
                    raise RuntimeError(f"{module} did not start: {log.read()}")
                yield Served(**json.loads(line))
            finally:
                process.kill()


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="zing-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _measured(servers: dict[str, Start], rounds: int, seconds: float) -> dict[str, Seen]:
    """Every server and the bare one in each round, every other round in the opposite order."""
    seen = {name: Seen() for name in (*servers, BARE)}
    with load.bare(_answer(servers["zing, SQLite"])) as port:
        servers = {**servers, BARE: lambda: nullcontext(Served(port, "", ""))}
        for number in range(rounds):
            stop.say(f"measuring round {number + 1} of {rounds} ...")
            for name in list(servers)[:: -1 if number % 2 else 1]:
                _measure(servers[name], seen[name], seconds)
    return seen


def _answer(start: Start) -> bytes:
    """What zing answers: the bare server answers as many bytes."""
    with start() as served:
        return load.once(served.port, served.key, SUBMIT)


def _measure(start: Start, seen: Seen, seconds: float) -> None:
    with start() as served:
        told = load.asked(served.port, served.key, [SUBMIT], seconds)
    seen.rates.append(told.rate)
    seen.errors += told.errors
    seen.durable = served.durable


def compared(seen: dict[str, Seen]) -> list[Row]:
    """Accepts a second of each beside the bare server's in the same rounds, then the errors."""
    bare = seen[BARE].rates
    rows = []
    for name, each in seen.items():
        ratio = median(mine / theirs for mine, theirs in zip(each.rates, bare, strict=True))
        rows.append(Row(name, "/s", median(each.rates), median(bare), ratio, len(bare)))
    return rows + [Row(f"{name}: errors", "", each.errors) for name, each in seen.items()]
