"""A real `zing serve` for tests: started on a free port, ended by the test that started it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from sqlalchemy import Connection

from tests.audit import audit
from zing import keys, ledger
from zing.data import Data
from zing.keys import Allowed
from zing.store import Store
from zing.task import MICRO

READY_S = 120.0
END_S = 60.0

T = TypeVar("T")


class Server:
    """A running service and what a caller needs to use it."""

    def __init__(self, process: subprocess.Popen[str], data: Path, log: Path) -> None:
        self.process = process
        self.data = data
        self.log = log
        self.url = self._ready()["ready"]
        self.key = (data / "first-key").read_text().strip()
        self.http = httpx2.Client(
            base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {self.key}"}
        )

    def zing(self, *arguments: str) -> Any:
        """What a `zing … --json` on the same data folder prints."""
        command = [sys.executable, "-m", "zing", *arguments, "--data", str(self.data), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def children(self) -> list[int]:
        """The process ids of the service's children."""
        return children(self.process.pid)

    def worker(self) -> int:
        """The worker's process id, as soon as there is one."""
        return until(self.children)[0]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(END_S)

    def _ready(self) -> dict[str, str]:
        def ready() -> dict[str, str] | None:
            assert self.process.poll() is None, self.log.read_text()
            lines = self.log.with_suffix(".out").read_text().splitlines()
            told = [json.loads(line) for line in lines if line.endswith("}")]
            return next((each for each in told if "ready" in each), None)

        return until(ready, READY_S)


def until(look: Callable[[], T | None], seconds: float = 30.0) -> T:
    """The first thing that `look` finds; fails after some seconds of looking."""
    latest = time.monotonic() + seconds
    while time.monotonic() < latest:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{look} found nothing in {seconds} s")


def children(pid: int) -> list[int]:
    """The process ids of a process's children."""
    listed = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for child in " ".join(listed).split()]


def alive(pid: int) -> bool:
    """Whether a process is there and not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def serving(
    data: Path, *options: str, group: bool = False, inside: Sequence[str] = (), **settings: str
) -> Iterator[Server]:
    """A service on a data folder, in a process group of its own or inside a command that confines
    it where asked for; what is left of it at the end is killed.
    """
    command = [*inside, sys.executable, "-m", "zing", "serve", "--port", "0", "--json"]
    environment = {name: value for name, value in os.environ.items() if "ZING" not in name}
    # Whatever callback URLs a test sends: no name is looked up, nothing leaves this machine.
    lonely = {"ZING_CALLBACK_ALLOW": "127.0.0.1"}
    # Tests ask more often than kie.ai lets one account, and with more wrong keys than one address
    # may send; what is let is tested in test_quotas.py and test_authentication.py.
    often = {"ZING_KIE_RATE": "none", "ZING_KEY_FAILURES": "none"}
    environment |= {"ZING_THREADS": "1", "ZING_DATA": str(data), **lonely, **often, **settings}
    log = data.parent / f"{data.name}-{time.monotonic_ns()}.log"
    with log.open("w") as errors, log.with_suffix(".out").open("w") as output:
        process = subprocess.Popen(
            [*command, *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
            start_new_session=group,
        )
        left: list[int] = []
        try:
            server = Server(process, data, log)
            left = server.children()
            yield server
            server.http.close()
        finally:
            process.kill()
            process.wait()
            until(lambda: not any(map(alive, left)))


EVOLINK = {"model": "z-image-turbo", "prompt": "a red circle", "size": "376x376"}


def submit(server: Server, **fields: Any) -> str:
    """The id of a new EvoLink task."""
    answer = server.http.post("/v1/images/generations", json=EVOLINK | fields)
    assert answer.status_code == 200, answer.text
    identity: str = answer.json()["id"]
    return identity


def look(server: Server, identity: str) -> dict[str, Any]:
    """A task as EvoLink shows it."""
    answer = server.http.get(f"/v1/tasks/{identity}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ended(server: Server, identity: str, seconds: float = 60.0) -> dict[str, Any]:
    """A task when it has ended, as EvoLink shows it."""

    def end() -> dict[str, Any] | None:
        body = look(server, identity)
        return body if body["status"] not in ("pending", "processing") else None

    return until(end, seconds)


def events(text: str) -> list[tuple[int, dict[str, Any]]]:
    """The events of a stream, as it is sent: the number and the data of each."""
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    told = [lines for lines in blocks if not lines[0].startswith(":")]
    assert all(len(lines) == 2 for lines in told), text
    pairs = [(first.split("id: "), second.split("data: ", 1)) for first, second in told]
    return [(int(identity), json.loads(data)) for (_, identity), (_, data) in pairs]


def broken(data: Path) -> list[str]:
    """The invariants that a data folder's database breaks."""
    store = Store(f"sqlite:///{data / 'zing.db'}")
    found = store.read(audit)
    store.close()
    return found


def new_key(server: Server, credits: int = 100, **allowed: Any) -> str:
    """The key of a new account on a running service, which may do this."""
    data, may = Data(server.data), Allowed(**allowed)
    store = Store(f"sqlite:///{data.database}")

    def mint(tx: Connection) -> str:
        account_id = ledger.open_account(tx, time.time())
        if credits:
            ledger.grant(tx, account_id, credits * MICRO, time.time())
        return keys.mint(tx, data.secret(), "another", account_id, time.time(), may)[0]

    try:
        return store.write(mint)
    finally:
        store.close()
