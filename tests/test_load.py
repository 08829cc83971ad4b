"""Signals while 32 connections are busy: what was answered is there, what is there was answered."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers import EVOLINK, Server, alive, broken, ended, serving, submit, until
from tests.test_recovery import work

SUBMITTERS, WAITERS, READERS = 20, 4, 8
ZIT = {"prompt": "a red circle", "aspect_ratio": "1:1", "size": "400*400"}


@dataclass
class Load:
    """What clients that never pause were told."""

    server: Server
    link: str
    most: int
    accepted: set[str] = field(default_factory=set)
    pictures: int = 0
    faults: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def submits(self, http: httpx2.Client) -> None:
        """Submits, and looks where there is enough to draw."""
        if len(self.accepted) >= self.most:
            http.get(f"/v1/tasks/{next(iter(self.accepted))}").raise_for_status()
            return
        reply = http.post("/v1/images/generations", json=EVOLINK)
        self._keep(reply, lambda body: body["id"])

    def waits(self, http: httpx2.Client) -> None:
        """Submits that are answered when the picture is there (ZING_ZIT_WAIT_S)."""
        if len(self.accepted) < self.most + WAITERS:
            self._keep(http.post("/api/generate", json=ZIT), lambda body: body["data"]["task_id"])
        else:
            self.over.wait(0.1)

    def reads(self, http: httpx2.Client) -> None:
        reply = http.get(self.link)
        if reply.status_code != 200 or len(reply.content) != int(reply.headers["content-length"]):
            self.faults.append(reply.text[:200])
        self.pictures += 1

    def _keep(self, reply: httpx2.Response, name: Callable[[Any], str]) -> None:
        if reply.status_code == 200:
            self.accepted.add(name(reply.json()))
        elif reply.status_code not in (429, 503):
            self.faults.append(reply.text[:200])

    def go_on(self, ask: Callable[[httpx2.Client], None]) -> None:
        """Ask until the service is gone. A reply that began must have come to its end."""
        headers = {"Authorization": f"Bearer {self.server.key}"}
        url = self.server.url
        with httpx2.Client(base_url=url, timeout=60, headers=headers) as http:
            while not self.over.is_set():
                try:
                    ask(http)
                except httpx2.RemoteProtocolError as error:
                    if "without sending a response" not in str(error):
                        self.faults.append(str(error))
                    return
                except httpx2.TransportError:
                    return


@contextmanager
def load(server: Server, most: int) -> Iterator[Load]:
    """32 clients, who submit about so many tasks; all have ended when this has."""
    (link,) = ended(server, submit(server))["results"]
    found = Load(server, link.removeprefix(server.url), most)
    kinds = [found.submits] * SUBMITTERS + [found.waits] * WAITERS + [found.reads] * READERS
    threads = [threading.Thread(target=found.go_on, args=(each,)) for each in kinds]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(found.accepted) > 30 and found.pictures > 50, 60)
        yield found
    finally:
        found.over.set()
        for thread in threads:
            thread.join(60)
        assert not any(map(threading.Thread.is_alive, threads))


def kept(data: Path) -> dict[str, str]:
    """The states of all tasks."""
    with sqlite3.connect(data / "zing.db") as connection:
        return dict(connection.execute("select public_id, state from task").fetchall())


def test_sigterm_answers_all_that_it_accepted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, ZING_ZIT_WAIT_S="30") as server:
        first = submit(server)
        with load(server, 800) as clients:
            began = time.monotonic()
            assert server.end(signal.SIGTERM) == 0
            assert time.monotonic() - began < 30
        assert clients.faults == []
        told = clients.accepted | {first}
        assert len(told) == len(clients.accepted) + 1
        states = kept(data)
        assert told <= states.keys()
        # One more: whose picture the readers read.
        assert len(states) == len(told) + 1, "a task was accepted and nobody was told"
        assert set(states.values()) <= {"succeeded", "queued"}
        assert broken(data) == []
        assert "Traceback" not in server.log.read_text()


@pytest.mark.long
def test_sigkill_of_the_service_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, ZING_ZIT_WAIT_S="30", ZING_LEASE="2") as server:
        with load(server, 40) as clients:
            worker = server.worker()
            server.process.kill()
            server.process.wait()
        until(lambda: not alive(worker))
        # A reply that was on its way was cut with everything else.
        assert [each for each in clients.faults if not each.startswith("peer closed")] == []
        assert clients.accepted <= kept(data).keys()
        assert broken(data) == []
    with serving(data, ZING_LEASE="2") as again:
        until(lambda: set(kept(data).values()) == {"succeeded"}, 240)
        drawn = len(kept(data))
        balance = again.zing("credits", "show", "first")
        assert (round(balance["used"] / 0.026), balance["held"]) == (drawn, 0)
        assert broken(data) == []


@pytest.mark.long
def test_sigkill_of_a_worker_elsewhere_loses_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, "--no-worker", ZING_LEASE="2") as server:
        workers = [work(data) for _ in range(2)]
        try:
            with load(server, 40) as clients:
                os.kill(workers[0].pid, signal.SIGKILL)
                time.sleep(1)
                workers.append(work(data))
            assert clients.faults == []
            assert clients.accepted <= kept(data).keys()
            until(lambda: set(kept(data).values()) == {"succeeded"}, 240)
        finally:
            for each in workers:
                each.terminate()
            for each in workers:
                each.wait(60)
        balance = server.zing("credits", "show", "first")
        assert (round(balance["used"] / 0.026), balance["held"]) == (len(kept(data)), 0)
        assert broken(data) == []
