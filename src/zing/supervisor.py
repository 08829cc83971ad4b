"""Keeps a worker process alive beside the service, and ends it with the service.

The child's standard input is its leash: a byte wakes it, a byte tells it to drain, and when the
pipe closes, because this process is gone for whatever reason, the child ends at once.
"""

import logging
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

WAKE, DRAIN, STOP = b"w", b"d", b"s"
BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S = 10.0  # a worker that lived this long starts the back-off anew
STOP_S = 5.0  # for the step that is being computed
REFUSED = 2  # exit status of a worker that can never run as it was started

log = logging.getLogger(__name__)


class Supervisor:
    """One worker process, started again with growing pauses when it dies."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        died: Callable[[str], object],
    ) -> None:
        self._command = list(command)
        self._environment = environment
        self._died = died
        self.refused = False  # the worker said that it can never run as it was started
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the worker and watch it."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the worker that there is something to do."""
        self._tell(WAKE)

    def drain(self) -> None:
        """Tell the worker to take nothing new; it is not started again."""
        self._stopping.set()
        self._tell(DRAIN)

    def hurry(self) -> None:
        """Tell the worker to give back what it draws and end."""
        self._tell(STOP)

    def stop(self, drain_s: float) -> None:
        """End the worker: it may finish for so long, then gives back what it has, or is killed."""
        self._stopping.set()
        if self._thread.ident is None:
            return
        for byte, seconds in ((DRAIN, drain_s), (STOP, STOP_S)):
            self._tell(byte)
            self._thread.join(seconds)
            if not self._thread.is_alive():
                return
        child = self._child
        if child is not None:
            child.kill()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            worker_id = name()
            started = time.monotonic()
            status = self._watch(worker_id)
            try:
                self._died(worker_id)
            except Exception:  # its lease will tell, a little later
                log.exception("worker %s is not reaped yet", worker_id)
            if self._stopping.is_set():
                return
            if status == REFUSED and failures == 0:
                self.refused = True
                return
            failures = 0 if time.monotonic() - started > STEADY_S else failures
            pause_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            failures += 1
            log.warning("the worker ended (%s); again in %.1f s", _told(status), pause_s)
            self._stopping.wait(pause_s)

    def _watch(self, worker_id: str) -> int:
        """Run one worker to its end; its exit status."""
        command = [*self._command, "--id", worker_id]
        # In our process group, so that what stops us from the terminal reaches it too.
        self._child = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.PIPE, stdout=2, bufsize=0
        )
        if self._child.stdin is not None:
            os.set_blocking(self._child.stdin.fileno(), False)
        if self._stopping.is_set():
            self._tell(DRAIN)
        status = self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        return status

    def _tell(self, byte: bytes) -> None:
        child = self._child
        if child is not None and child.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended just now
                child.stdin.write(byte)


class Leash:
    """The worker's end of the pipe; implements worker.Orders."""

    def __init__(self, supervised: bool) -> None:
        self._told = threading.Event()
        self.drain = False
        self.stop = False
        signal.signal(signal.SIGTERM, self._on_signal)
        if supervised:
            # Ctrl-C reaches the whole group; the service decides when its worker ends.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            threading.Thread(target=self._listen, name="leash", daemon=True).start()
        else:
            signal.signal(signal.SIGINT, self._on_signal)

    def wait(self, seconds: float) -> None:
        """Wait that long, shorter where there may be something to do."""
        self._told.wait(seconds)
        self._told.clear()

    def _on_signal(self, _number: int, _frame: object) -> None:
        """The first signal drains, the second stops."""
        self.stop = self.drain
        self.drain = True
        self._told.set()

    def _listen(self) -> None:
        while byte := os.read(0, 1):
            self.drain = self.drain or byte in (DRAIN, STOP)
            self.stop = self.stop or byte == STOP
            self._told.set()
        os._exit(0)


def name() -> str:
    """A new name for a worker of this machine."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"


def _told(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
