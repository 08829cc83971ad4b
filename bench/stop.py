"""What a benchmark tells while it runs, and how it is stopped."""

import signal
import sys
from types import FrameType


def as_ctrl_c() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that no process it started is left."""
    signal.signal(signal.SIGTERM, _end)


def say(text: str) -> None:
    """A line for whoever watches."""
    print(text, file=sys.stderr, flush=True)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
