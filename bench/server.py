"""A real `zing serve` on a folder of its own, and as much of its four APIs as a client says."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

READY_S = 120.0
END_S = 10.0
JSON = "application/json"
FORM = "multipart/form-data; boundary=bench"
SMALL = 376  # the smallest side that the services document


class Call(NamedTuple):
    """One request."""

    method: str
    path: str
    body: bytes = b""
    media_type: str = JSON


@dataclass(frozen=True)
class Api:
    """One of the four APIs.

    inside     the name under which an answer holds the task, empty where the answer is the task
    id, state  the names of the task's id and state there
    completed  the state of a task whose picture is ready
    ended      the states of one without
    submit     the request for a picture of a prompt, 1:1 or, where the API can say it, small
    look       the request for a task's state
    """

    name: str
    picture: str
    inside: str
    id: str
    state: str
    completed: object
    ended: tuple[object, ...]
    submit: Callable[[str, bool], Call]
    look: Callable[[str], Call]

    def task(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The task in an answer; raises RuntimeError where it is a refusal."""
        found = answer.get(self.inside) if self.inside else answer
        if not isinstance(found, dict) or self.id not in found:
            raise RuntimeError(f"{self.name} refused: {answer}")
        return found


def _evolink(prompt: str, small: bool) -> Call:
    size = f"{SMALL}x{SMALL}" if small else "1:1"
    fields = {"model": "z-image-turbo", "prompt": prompt, "size": size}
    return Call("POST", "/v1/images/generations", _json(fields))


def _kie(prompt: str, _small: bool) -> Call:
    fields = {"model": "z-image", "input": {"prompt": prompt, "aspect_ratio": "1:1"}}
    return Call("POST", "/api/v1/jobs/createTask", _json(fields))


def _tensorslab(prompt: str, small: bool) -> Call:
    fields = {"prompt": prompt, "resolution": f"{SMALL}*{SMALL}" if small else "1:1"}
    parts = [
        f'--bench\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return Call("POST", "/v1/images/zimage", f"{''.join(parts)}--bench--\r\n".encode(), FORM)


def _zimageturbo(prompt: str, small: bool) -> Call:
    size = {"size": f"{SMALL}*{SMALL}"} if small else {"aspect_ratio": "1:1"}
    return Call("POST", "/api/generate", _json({"prompt": prompt, **size}))


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


EVOLINK = Api(
    name="evolink",
    picture="webp",
    inside="",
    id="id",
    state="status",
    completed="completed",
    ended=("failed", "cancelled"),
    submit=_evolink,
    look=lambda each: Call("GET", f"/v1/tasks/{each}"),
)
KIE = Api(
    name="kie",
    picture="png",
    inside="data",
    id="taskId",
    state="state",
    completed="success",
    ended=("fail",),
    submit=_kie,
    look=lambda each: Call("GET", f"/api/v1/jobs/recordInfo?taskId={each}"),
)
TENSORSLAB = Api(
    name="tensorslab",
    picture="png",
    inside="data",
    id="taskid",
    state="image_status",
    completed=3,
    ended=(4,),
    submit=_tensorslab,
    look=lambda each: Call("POST", "/v1/images/infobytaskid", _json({"taskid": each})),
)
ZIMAGETURBO = Api(
    name="zimageturbo",
    picture="jpeg",
    inside="data",
    id="task_id",
    state="status",
    completed="SUCCESS",
    ended=("FAILED",),
    submit=_zimageturbo,
    look=lambda each: Call("GET", f"/api/status?task_id={each}"),
)
APIS = (EVOLINK, KIE, TENSORSLAB, ZIMAGETURBO)


@dataclass(frozen=True)
class Service:
    """A running service."""

    pid: int
    port: int
    key: str
    data: Path

    def client(self) -> "Client":
        """A new client; one a thread."""
        return Client(self.port, self.key)

    def worker(self) -> int | None:
        """The process id of the worker, None while there is none."""
        listed = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/children")]
        found = " ".join(listed).split()
        return int(found[0]) if found else None


class Client:
    """A client with one kept-alive connection."""

    def __init__(self, port: int, key: str) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._key = key

    def send(self, call: Call) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        headers = {"Authorization": f"Bearer {self._key}"}
        if call.body:
            headers["Content-Type"] = call.media_type
        self._line.request(call.method, call.path, call.body or None, headers)
        reply = self._line.getresponse()
        return reply.status, reply.read()

    def ask(self, api: Api, call: Call) -> dict[str, Any]:
        """The task that is answered; raises RuntimeError where the request is refused."""
        status, body = self.send(call)
        if status != http.client.OK:
            raise RuntimeError(f"{call.method} {call.path}: {status} {body.decode()}")
        return api.task(json.loads(body))

    def submit(self, api: Api, prompt: str, small: bool = False) -> str:
        """The id of a new task."""
        return str(self.ask(api, api.submit(prompt, small))[api.id])

    def look(self, api: Api, task_id: str) -> object:
        """The state of a task, in the API's word."""
        return self.ask(api, api.look(task_id))[api.state]


@contextmanager
def serving(data: Path, *options: str, **variables: str) -> Iterator[Service]:
    """`zing serve` with its defaults on a folder; it and its worker are gone afterwards.

    `variables` go into its environment.
    It is in a group of its own: Ctrl-C reaches the benchmark, and the benchmark ends the group.
    """
    log = data.with_suffix(".log")
    command = [sys.executable, "-m", "zing", "serve", "--port", "0", "--json", *options]
    environment = {name: value for name, value in os.environ.items() if "ZING_" not in name}
    with log.open("w") as errors, log.with_suffix(".out").open("w+") as output:
        process = subprocess.Popen(
            command,
            env={**environment, "ZING_DATA": str(data), **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            port = _port(process, log)
            key = (data / "first-key").read_text(encoding="ascii").strip()
            yield Service(process.pid, port, key, data)
        finally:
            end(process)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port of the address that the service prints when it is ready."""
    latest = time.monotonic() + READY_S
    while time.monotonic() < latest and process.poll() is None:
        for line in log.with_suffix(".out").read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError):
                return int(json.loads(line)["ready"].rpartition(":")[2])
        time.sleep(0.02)
    raise RuntimeError(f"zing serve did not start: {log.read_text(encoding='utf-8')}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the service and its worker, and wait until both are gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    latest = time.monotonic() + END_S
    with suppress(ProcessLookupError):
        while time.monotonic() < latest:
            os.killpg(process.pid, 0)
            time.sleep(0.01)
