"""The databases that the suites run on: SQLite always, PostgreSQL where it is installed.

PostgreSQL is a cluster of our own in a temporary folder, on a socket and no port.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

KINDS = ["sqlite", "postgresql"]
_USER = "nobody"  # PostgreSQL refuses to run as root


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, if it is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else found[-1].parent if found else None


@contextmanager
def cluster(fsync: str = "off", **variables: str) -> Iterator[str]:
    """A running PostgreSQL; yields the URL of its server, without a database.

    `variables` go into its environment.
    """
    where = programs()
    assert where is not None
    demote = _demote() if os.getuid() == 0 else None
    # A socket's path may have 107 bytes, and pytest's folders are readable by their owner alone.
    short = Path(tempfile.mkdtemp(prefix="zing-pg-", dir="/tmp"))
    short.chmod(0o777)
    files, log = short / "data", short / "log"

    def run(*command: str) -> None:
        subprocess.run(
            command,
            check=True,
            preexec_fn=demote,
            stdout=subprocess.DEVNULL,
            cwd=short,
            env={**os.environ, **variables},
        )

    run(str(where / "initdb"), "-D", str(files), "-U", "zing", "-A", "trust", "-E", "UTF8", "-N")
    options = f"-c listen_addresses='' -k {short} -c fsync={fsync} -c max_connections=200"
    control = str(where / "pg_ctl")
    run(control, "-D", str(files), "-l", str(log), "-o", options, "-w", "start")
    try:
        yield f"postgresql://zing@/%s?host={short}"
    finally:
        run(control, "-D", str(files), "-m", "immediate", "-w", "stop")
        shutil.rmtree(short)


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """The URL of a new, empty database on a running PostgreSQL; dropped at the end."""
    import psycopg

    name = f"t{uuid4().hex}"
    with psycopg.connect(server % "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server % name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where the machine has one, for thousands of rounds of durable commits."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="zing-", dir=where) as folder:
        yield Path(folder)


def _demote() -> Callable[[], None]:
    user = pwd.getpwnam(_USER)

    def demote() -> None:
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    return demote
