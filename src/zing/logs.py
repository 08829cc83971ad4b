"""What the service, its worker and the command line write to standard error: text, or JSON.

Lines of a request carry its id. No line holds a prompt, a key, a callback's URL, or the user and
password of any URL.
"""

import json
import logging
import sys
import threading
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from zing import config
from zing.config import LOG
from zing.task import Ended, TaskState, credits_number, show_credits

TEXT, JSON = "text", "json"
# Libraries that tell what they do all the time; the last one tells what callers sent.
LEVELS = {
    "alembic": logging.WARNING,
    "uvicorn": logging.WARNING,
    "python_multipart": logging.CRITICAL,
}
DONE = {
    TaskState.SUCCEEDED: "is drawn",
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "is cancelled",
}
USUAL = {"Blocked", "Cancelled"}  # ends that nobody needs to look into

# The id of the request that is being answered, also in the threads that answer it.
request_id: ContextVar[str] = ContextVar("request_id", default="")

ENDS = logging.getLogger("zing.task")


class Lines(logging.StreamHandler[Any]):
    """Standard error as it was when the log was set up."""


class TextLines(logging.Formatter):
    """`zing: what happened`, and the request's id where it is of one."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who}: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without a traceback."""
        name, line = request_id.get(), super().formatMessage(record)
        return f"{line} [request {name}]" if name and name not in line else line


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII, so that every reader takes it."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback is one field of it."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._who,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if name := request_id.get():
            line["request_id"] = name
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(who: str, level: int = logging.INFO) -> None:
    """Log to standard error in the name of `who`, in place of what was set up before.

    Raises BadSetting where ZING_LOG is not a form.
    """
    form = config.choice(LOG, TEXT, JSON)
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, Lines)]:
        root.removeHandler(old)
    lines = Lines(sys.stderr)
    lines.setFormatter(JsonLines(who) if form == JSON else TextLines(who))
    root.addHandler(lines)
    root.setLevel(level)
    for name, quieter in LEVELS.items():
        logging.getLogger(name).setLevel(quieter)
    if form == JSON:
        _take_the_rest()


def is_json() -> bool:
    """Whether standard error is for programs."""
    return config.read(LOG) == JSON


def tell_end(ended: Ended, understood: Sequence[str] | None = None, words: str = "") -> None:
    """The one line of a task, when its end is durable.

    understood  the words of its prompt that the model has in its list; None where it has no list
    words       what a person is told of them
    """
    facts = {
        "task": ended.public_id,
        "dialect": ended.dialect,
        "state": str(ended.state),
        "size": ended.size,
        "steps": ended.steps,
        "queued_s": round(ended.queued_s, 3),
        "drawn_s": None if ended.drawn_s is None else round(ended.drawn_s, 3),
        "attempt": ended.attempt,
        "credits": credits_number(ended.credits),
    }
    if ended.error:
        facts["error"] = ended.error
    if understood is not None:
        facts["understood"] = list(understood)
    doubtful = understood == () or not (ended.state == TaskState.SUCCEEDED or ended.error in USUAL)
    level = logging.WARNING if doubtful else logging.INFO
    ENDS.log(level, "%s%s", _told(ended), words and f"; {words}", extra={"facts": facts})


def _told(ended: Ended) -> str:
    drawn = "never drawn" if ended.drawn_s is None else f"drawn {ended.drawn_s:.2f} s"
    facts = [
        *([ended.error] if ended.error else []),
        ended.dialect,
        f"{ended.size} in {ended.steps} steps",
        f"queued {ended.queued_s:.2f} s",
        drawn,
        f"attempt {ended.attempt}",
        f"{show_credits(ended.credits)} credits",
    ]
    return f"task {ended.public_id} {DONE[ended.state]} ({', '.join(facts)})"


def _take_the_rest() -> None:
    """What Python itself would write in many lines: warnings, and errors that nobody caught."""
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    logging.getLogger("zing").critical("ended by an error", exc_info=(kind, error, at))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    name = found.thread.name if found.thread else ""
    error = found.exc_value
    if error is not None:
        at = (found.exc_type, error, found.exc_traceback)
        logging.getLogger("zing").critical("the thread %s ended by an error", name, exc_info=at)
