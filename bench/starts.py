"""`python -m bench starts`: seconds from `zing serve` to an answer and to ready, warm."""

import argparse
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import frame, stop
from bench.frame import Row
from bench.server import READY_S, end

PACKAGES = ("uvicorn", "starlette", "sqlalchemy", "torch")
POLL_S = 0.01
STOP_S = 60.0
PATHS = {"the API answers": "/healthz", "ready": "/readyz"}


def main(arguments: Sequence[str]) -> None:
    """Measure, print the card, end with one line of JSON."""
    parser = argparse.ArgumentParser(prog='make bench ARGS="starts …"', description=__doc__)
    parser.add_argument("--starts", type=int, default=7, help="after a first that is not counted")
    options = parser.parse_args(arguments)
    stop.as_ctrl_c()
    facts = frame.machine(PACKAGES) | {"model": "builtin, float32"}
    found: dict[str, list[float]] = {name: [] for name in PATHS}
    with TemporaryDirectory(prefix="zing-bench-", ignore_cleanup_errors=True) as folder:
        first = _start(Path(folder) / "data")
        for number in range(options.starts):
            stop.say(f"measuring start {number + 1} of {options.starts} ...")
            for name, seconds in _start(Path(folder) / "data").items():
                found[name].append(seconds)
    rows = [Row(f"first: {name}", "s", seconds) for name, seconds in first.items()]
    for name, times in found.items():
        rows.append(Row(f"warm: {name}, median", "s", median(times), pairs=len(times)))
        rows.append(Row(f"warm: {name}, longest", "s", max(times), pairs=len(times)))
    print(frame.card("zing bench starts: seconds after the command", facts, rows))
    print(frame.line(facts, rows))


def _start(data: Path) -> dict[str, float]:
    """Seconds from the command until each path answers 200; the service is gone afterwards."""
    port = _free_port()
    command = [sys.executable, "-m", "zing", "serve", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if "ZING_" not in name}
    quiet = subprocess.DEVNULL
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**environment, "ZING_DATA": str(data)},
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )
    try:
        return {name: _answered(port, path, process) - started for name, path in PATHS.items()}
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop it as an operator does, so that the next start finds nothing to repair."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    end(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answered(port: int, path: str, process: subprocess.Popen[bytes]) -> float:
    """When a path first answered 200."""
    latest = time.monotonic() + READY_S
    while time.monotonic() < latest and process.poll() is None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S)
        with suppress(OSError, http.client.HTTPException):
            line.request("GET", path)
            if line.getresponse().status == HTTPStatus.OK:
                return time.perf_counter()
        line.close()
        time.sleep(POLL_S)
    raise RuntimeError(f"zing serve did not answer {path}")
