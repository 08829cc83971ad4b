"""An API and a worker that a test kills and starts again, one data folder's, and what it asks them.

Both are `tests.dying`: zing itself, with gates.
"""

import hashlib
import http.client
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from tests import dying
from tests.dying import DIE, ENGINE, LIGHT, Gates
from tests.receivers import Authority, Receiver, Sent
from tests.requests import JSON, SUBMIT, compact, send, task_id
from tests.servers import EVOLINK, Server, broken, until
from zing.queue import ATTEMPTS_MAX

ROOT = Path(__file__).parents[1]
READY_S = 10.0
PATIENCE_S = 240.0  # a start alone may take a minute where every core is wanted by ten others
PRICE = 26_000
LEASE_S = "1.5"

LOST = (OSError, http.client.HTTPException)  # what a client sees of a service that dies

Victim = Literal["api", "worker"]


@dataclass
class Asked:
    """A request, sent with an idempotency key and a callback's address of its own."""

    name: str
    body: dict[str, Any]
    first: Future[str]

    @property
    def told_at(self) -> str:
        """The path that its callback goes to."""
        return f"/{self.name}"


@dataclass
class Listener:
    """What a receiver of callbacks found: each post, and those that came before the end."""

    data: Path
    early: list[str] = field(default_factory=list)

    def __call__(self, connection: Any, sent: Sent) -> None:
        states = states_of(self.data, sent.path.strip("/"))
        if not {state for state, *_ in states} <= {"succeeded", "failed", "cancelled"}:
            self.early.append(sent.path)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def settings(data: Path, authority: Authority, gates: Gates, engine: str = LIGHT) -> dict[str, str]:
    """The environment of processes with gates, whose callbacks go to receivers on loopback."""
    plain = {name: value for name, value in os.environ.items() if "ZING" not in name}
    return plain | {
        "ZING_DATA": str(data),
        "ZING_THREADS": "1",
        "ZING_LEASE": LEASE_S,
        "ZING_CALLBACK_ALLOW": "127.0.0.1",
        "ZING_CALLBACK_PRIVATE": "127.0.0.1",
        "SSL_CERT_FILE": str(authority.folder / "ca.pem"),
        dying.GATES: str(gates.folder),
        ENGINE: engine,
    }


def launch(log: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start `tests.dying`; what it says is in the log, and beside it what it prints."""
    command = [sys.executable, "-m", "tests.dying", *arguments]
    with log.open("w") as errors, log.with_suffix(".out").open("w") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
        )


def waited_s(pid: int) -> float:
    """How long a process has waited for a core that others had, which is no slowness of its own."""
    told = Path(f"/proc/{pid}/schedstat")
    return int(told.read_text().split()[1]) / 1e9 if told.exists() else 0.0


class Pair:
    """The two processes, the gates in them, and a receiver of callbacks."""

    def __init__(self, folder: Path, engine: str = LIGHT, **more: str) -> None:
        folder.mkdir(exist_ok=True)
        self.data = folder / "data"
        self.gates = Gates(folder / "gates")
        (folder / "authority").mkdir()
        authority = Authority(folder / "authority")
        self.listener = Listener(self.data)
        self.receiver = Receiver(self.listener, authority.certificate("127.0.0.1"))
        self._folder = folder
        self._environment = settings(self.data, authority, self.gates, engine) | more
        self._processes: dict[Victim, subprocess.Popen[str]] = {}
        self._starts = 0
        self._clients = ExitStack()

    @contextmanager
    def running(self) -> Iterator["Pair"]:
        """Start both; what is left of them at the end is killed."""
        with self.receiver:
            try:
                self.start("api")
                self.start("worker")
                yield self
            finally:
                for victim in self._processes:
                    self.kill(victim)
                self._clients.close()

    def start(self, victim: Victim) -> None:
        """Start the API, which answers when this returns, or a worker, which has not begun yet."""
        self._starts += 1
        log = self._folder / f"{victim}-{self._starts}.log"
        options = {"api": ["serve", "--no-worker", "--port", "0", "--json"], "worker": ["work"]}
        began = time.monotonic()
        process = launch(log, self._environment, *options[victim])
        self._processes[victim] = process
        if victim == "api":
            self._clients.close()
            self.server = Server(process, self.data, log)
            self._clients.enter_context(self.server.http)
            assert self.server.http.get("/readyz").status_code == 200
            took_s = time.monotonic() - began - waited_s(process.pid)
            assert took_s < READY_S, f"ready after {took_s:.1f} s"

    def kill(self, victim: Victim) -> None:
        """Kill a process, which is gone when this returns."""
        self._processes[victim].kill()
        self._processes[victim].wait()

    def killed(self, victim: Victim) -> None:
        """Wait until a process was killed."""
        assert self._processes[victim].wait(PATIENCE_S) == -9

    def draws(self) -> None:
        """Wait until the worker may claim."""
        process = self._processes["worker"]

        def ready() -> bool:
            assert process.poll() is None, self._folder
            found = rows(self.data, "select id from worker where state = 'ready'")
            return any(f"-{process.pid}-" in name for (name,) in found)

        until(ready, PATIENCE_S)

    def ask(self, **fields: Any) -> Asked:
        """Submit a task beside what the test does."""
        name = uuid4().hex
        url = f"{self.receiver.url}/{name}"
        body = EVOLINK | {"callback_url": url} | fields
        first: Future[str] = Future()
        asked = Asked(name, body, first)
        threading.Thread(target=self._submit_first, args=(asked,), daemon=True).start()
        return asked

    def again(self, asked: Asked) -> str:
        """The task that a request has become, also where its first answer was lost; its id."""
        error = asked.first.exception(PATIENCE_S)
        assert error is None or isinstance(error, LOST), error
        identity = self._submit(asked)
        assert error or asked.first.result() == identity
        return identity

    def left(self, asked: Asked) -> str:
        """The state that a request's task is in; nothing where there is none."""
        (found,) = states_of(self.data, asked.name) or [("", 0)]
        return str(found[0])

    def check(self, asked: Asked, end: str = "completed") -> None:
        """A request became one task, which ended so, is told of and may be seen.

        A task whose workers were killed three times has failed instead.
        """
        identity = self.again(asked)
        body = until(lambda: self._ended(identity), PATIENCE_S)
        ((_, attempt),) = states_of(self.data, asked.name)
        assert body["status"] == end or (end == "completed" and attempt == ATTEMPTS_MAX)
        if body["status"] == "completed":
            self._check_picture(identity, body)
        until(lambda: self._told(asked), PATIENCE_S)
        posts = self.posts(asked)
        assert {post.body for post in posts} == {posts[0].body}
        assert {post.headers["webhook-id"] for post in posts} == {posts[0].headers["webhook-id"]}
        assert f'"{identity}"' in posts[0].body.decode()
        assert self.listener.early == []

    def posts(self, asked: Asked) -> list[Sent]:
        """The callbacks that came for a request."""
        return [sent for sent in self.receiver.requests if sent.path == asked.told_at]

    def audit(self) -> None:
        """Nothing is half done, and what was drawn was paid for once."""
        assert broken(self.data) == []
        drawn = rows(self.data, "select count(*) from task where state = 'succeeded'")[0][0]
        credit = [(1000 * 1_000_000 - drawn * PRICE, 0, drawn * PRICE)]
        assert rows(self.data, "select available, held, used from account") == credit

    def _submit_first(self, asked: Asked) -> None:
        try:
            asked.first.set_result(self._submit(asked))
        except Exception as error:  # noqa: BLE001 - whatever it is, it was not acknowledged
            asked.first.set_exception(error)

    def _submit(self, asked: Asked) -> str:
        headers = {**JSON, "Authorization": f"Bearer {self.server.key}"}
        body, headers = compact(asked.body), {**headers, "Idempotency-Key": asked.name}
        reply = send(self.server.url, "POST", SUBMIT["evolink"], body, headers)
        return task_id("evolink", reply)

    def _ended(self, identity: str) -> dict[str, Any] | None:
        reply = self.server.http.get(f"/v1/tasks/{identity}")
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body if body["status"] not in ("pending", "processing") else None

    def _check_picture(self, identity: str, body: dict[str, Any]) -> None:
        (link,) = body["results"]
        data = self.server.http.get(link).content
        query = "select sha256 from file where task_id = (select id from task where public_id = ?)"
        assert rows(self.data, query, identity) == [(hashlib.sha256(data).hexdigest(),)]

    def _told(self, asked: Asked) -> bool:
        query = "select state from outbox where url like ?"
        return rows(self.data, query, f"%{asked.told_at}") == [("delivered",)]


def states_of(data: Path, name: str) -> list[tuple[str, int]]:
    """State and attempt of the tasks whose callback goes to a name's address."""
    query = "select state, attempt from task where callback_url like ?"
    return rows(data, query, f"%/{name}")


def rows(data: Path, query: str, *values: Any) -> list[Any]:
    """What a data folder's database says."""
    with closing(sqlite3.connect(data / "zing.db", timeout=30)) as connection:
        return connection.execute(query, values).fetchall()


def change(data: Path, statement: str, *values: Any) -> None:
    """Change a data folder's database, as if time had passed."""
    with closing(sqlite3.connect(data / "zing.db", timeout=30)) as connection:
        connection.execute(statement, values)
        connection.commit()


def meet(pair: Pair, victim: Victim, point: str) -> tuple[Asked, str]:
    """Kill a process while a new task is at a point, and start it again; what the task's state was
    between the two.
    """
    mine = point in (dying.API if victim == "api" else dying.WORKER)
    pair.gates.close(point, DIE if mine else "wait")
    asked = pair.ask()
    if mine:
        pair.killed(victim)
    else:
        until(lambda: pair.gates.found(point), PATIENCE_S)
        pair.kill(victim)
    left = pair.left(asked)
    pair.gates.open(point)
    pair.start(victim)
    return asked, left


def reap(pair: Pair, point: str) -> tuple[Asked, str]:
    """Kill a worker that holds a task, and the housekeeper while it reaps that worker."""
    pair.gates.close("claimed")
    asked = pair.ask()
    until(lambda: pair.gates.found("claimed"), PATIENCE_S)
    pair.gates.close(point, DIE)
    pair.kill("worker")
    pair.gates.open("claimed")
    left = restart(pair, point, asked)
    pair.start("worker")
    return asked, left


def expire(pair: Pair, point: str) -> tuple[Asked, str]:
    """Kill the housekeeper while it fails a task that nobody has drawn for two days."""
    pair.kill("worker")
    asked = pair.ask()
    asked.first.result(PATIENCE_S)
    pair.gates.close(point, DIE)
    old = "update task set created_at = created_at - 172800 where callback_url like ?"
    change(pair.data, old, f"%{asked.told_at}")
    left = restart(pair, point, asked)
    until(lambda: pair.left(asked) == "failed", PATIENCE_S)
    pair.start("worker")
    return asked, left


def forget(pair: Pair, point: str) -> tuple[Asked, str]:
    """Kill the housekeeper while it forgets a prompt."""
    pair.gates.close(point, DIE)
    asked = pair.ask()
    return asked, restart(pair, point, asked)


def restart(pair: Pair, point: str, asked: Asked) -> str:
    """Start the API again that dies at a point; what a task's state was meanwhile."""
    pair.killed("api")
    left = pair.left(asked)
    pair.gates.open(point)
    pair.start("api")
    return left
