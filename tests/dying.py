"""`python -m tests.dying …` is `zing …` with gates, at which a test stops or kills the process.

A gate is at a named point of a task's life, or of a duty of the housekeeper. Beside the gates, only
some waits are shorter: duties have their turn more often, a callback's lease is over sooner. Two
variables tell the process: DYING_GATES, a folder, and DYING_ENGINE, which may be the light one.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

GATES, ENGINE, LIGHT = "DYING_GATES", "DYING_ENGINE", "light"
SEED = "DYING_SEED"  # of a test that chooses at random
LOOK_S = 0.002
DIE = "die"

# The twelve points of a task's life (and two more, within transactions), in their order, by whose
# process is there; then those of the housekeeper's duties, whose process is the API's.
API = ("validated", "inserted", "queued", "enqueued", "answered")
WORKER = (
    *("claiming", "claimed", "first step", "last step", "checked", "encoded", "stored"),
    *("settling", "settled"),
)
HOUSEKEEPER = ("reaping", "reaped", "expiring", "sweeping", "deleting", "forgetting")


class Gates:
    """A folder's gates, each closed by the test and found by the first process that gets there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def close(self, point: str, order: str = "wait") -> None:
        """Whoever comes there next waits, or with DIE as the order is killed on the spot."""
        new = self.folder / f"{point}.new"
        new.write_text(order)
        new.rename(self._closed(point))

    def open(self, point: str) -> None:
        """Who waits there goes on; nobody waits there any more."""
        self._closed(point).unlink(missing_ok=True)
        self._found(point).unlink(missing_ok=True)

    def found(self, point: str) -> bool:
        """Whether somebody has come there since it was closed."""
        return self._found(point).exists()

    def pass_by(self, point: str) -> None:
        """A process is there: nothing happens where the gate is open."""
        try:
            self._closed(point).rename(self._found(point))
        except FileNotFoundError:
            return
        if self._found(point).read_text() == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        while self.found(point):
            time.sleep(LOOK_S)

    def _closed(self, point: str) -> Path:
        return self.folder / f"{point}.closed"

    def _found(self, point: str) -> Path:
        return self.folder / f"{point}.found"


When = Callable[..., object]


def made(result: Any, *_: Any) -> object:
    """Where a call gave something."""
    return result


def always(*_: Any) -> bool:
    """After every call."""
    return True


class Builder:
    """Puts gates into the modules of this process."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates

    def before(self, place: Any, name: str, point: str) -> None:
        """A gate before each call of a function."""
        real = getattr(place, name)

        @wraps(real)
        def gated(*given: Any, **named: Any) -> Any:
            self._gates.pass_by(point)
            return real(*given, **named)

        setattr(place, name, gated)

    def after(self, place: Any, name: str, point: str, when: When = always) -> None:
        """A gate after those calls of a function whose result and arguments `when` says yes to."""
        real = getattr(place, name)

        @wraps(real)
        def gated(*given: Any, **named: Any) -> Any:
            result = real(*given, **named)
            if when(result, *given):
                self._gates.pass_by(point)
            return result

        setattr(place, name, gated)

    def after_waiting(self, place: Any, name: str, point: str) -> None:
        """A gate after each call of a coroutine; its loop waits too."""
        real = getattr(place, name)

        @wraps(real)
        async def gated(*given: Any, **named: Any) -> Any:
            result = await real(*given, **named)
            self._gates.pass_by(point)
            return result

        setattr(place, name, gated)


def build_api(builder: Builder) -> None:
    """The gates of a process that accepts, tells and keeps house."""
    import obstore

    from zing import housekeeper, queue, server
    from zing.delivery import Courier, Pace, Sender
    from zing.housekeeper import Housekeeper
    from zing.service import Service
    from zing.store import files, tasks

    builder.before(Service, "_accept", "validated")
    builder.after(Service, "_accepted", "inserted")  # inside the transaction
    builder.after(Service, "_accept", "queued")
    builder.after(Courier, "_claim", "enqueued", made)  # its body is kept, nothing is sent
    builder.after_waiting(Sender, "attempt", "answered")  # and not noted
    builder.after(queue, "reap", "reaping", lambda reaped, *_: reaped.workers)
    builder.after(Housekeeper, "reap", "reaped", made)
    builder.after(queue, "expire", "expiring", made)
    builder.after(files, "sweep", "sweeping", made)
    builder.after(tasks, "forget_prompts", "forgetting", made)
    builder.before(obstore, "delete", "deleting")  # the row says already that it is gone
    housekeeper.EXPIRE_EVERY_S = housekeeper.SWEEP_EVERY_S = 0.5
    server.Courier = partial(Courier, pace=Pace(lease_s=2))  # type: ignore[misc, assignment]


def build_worker(builder: Builder) -> None:
    """The gates of a process that draws."""
    from zing import queue, worker
    from zing.blobs import Blobs
    from zing.worker import Lease, Worker

    builder.after(queue, "claim", "claiming", made)  # inside the transaction
    builder.after(Worker, "_claim", "claimed", made)
    builder.after(Lease, "step", "first step", lambda _, __, ___, told: told.step == 1)
    builder.after(Lease, "step", "last step", lambda _, __, ___, told: told.step == told.steps)
    builder.after(worker, "_checked", "checked")
    builder.after(Worker, "_encoded", "encoded")
    builder.after(Blobs, "put", "stored")
    builder.after(queue, "settle", "settling", made)  # inside the transaction
    builder.after(Worker, "_settle_all", "settled")


def main() -> None:
    """Run zing with gates."""
    builder = Builder(Gates(Path(os.environ[GATES])))
    build = {"serve": build_api, "work": build_worker}[sys.argv[1]]
    if os.environ.get(ENGINE) == LIGHT:
        from tests import light

        sys.modules["zing.engine.local"] = light
    build(builder)
    from zing.cli import main as zing

    zing()


if __name__ == "__main__":
    main()
