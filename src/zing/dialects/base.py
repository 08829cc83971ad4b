"""What a dialect is: pure functions and tables between a wire format and the nouns in task.py.

A dialect knows no database, no money, no web framework and no other dialect.
"""

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from zing.errors import (
    BadField,
    BadInput,
    BadPrompt,
    Cancelled,
    Internal,
    Refused,
    UnknownModel,
    UnknownTask,
    ZingError,
    named,
)
from zing.sizes import Size
from zing.task import MICRO, Task, TaskState, TaskView, check_prompt

SIDE_MIN, SIDE_MAX = 376, 1536  # what the providers document of a picture's sides
LOWER_ALNUM = "0123456789abcdefghijklmnopqrstuvwxyz"


class Use(StrEnum):
    """What an address is for, with what its `asks` gives and its `words` takes."""

    SUBMIT = "submit"  # ImageRequest -> TaskView
    LOOK = "look"  # one id -> TaskView
    BATCH = "batch"  # ids -> the TaskViews of those that are there
    LIST = "list"  # Listing -> TaskPage
    FOLLOW = "follow"  # one id -> each Moment of the task, as it comes
    CANCEL = "cancel"  # one id -> TaskView
    DELETE = "delete"  # ids -> the last one's TaskView
    CREDITS = "credits"  # nothing -> Credits
    LINK = "link"  # the URL of a picture -> one that works now


class Reads(StrEnum):
    """Where an address finds its fields."""

    JSON = "json"
    FORM = "form"  # multipart/form-data, urlencoded or JSON
    QUERY = "query"
    PATH = "path"
    ANY = "any"  # the query and, where there is one, a body as with FORM


@dataclass(frozen=True)
class Answer:
    """An HTTP status, a body whose order of fields counts, and headers beyond the usual."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One address of a dialect.

    path    in Starlette's syntax
    reads   where its fields are
    asks    from the fields to what the use needs; raises BadInput with `field` set to the wire's
            name, UnknownTask where an id is no task's for its shape alone
    words   from what the use gives to the reply
    wait_s  how long the reply waits for the task to end
    """

    method: str
    path: str
    use: Use
    reads: Reads
    asks: Callable[[Mapping[str, Any]], Any]
    words: Callable[[Any], Answer]
    wait_s: float = 0.0


class Dialect(Protocol):
    """One wire format. Every dialect is a module with these names."""

    NAME: str
    PREFIXES: tuple[str, ...]  # unknown addresses at or below these are answered in this format
    ROUTES: tuple[Route, ...]
    SUFFIX: str  # the picture format its clients are used to, a suffix in pictures.FORMATS

    def key(self, authorization: str) -> str:
        """The API key in an Authorization header, empty where there is none."""

    def new_id(self, now: float, pick: random.Random) -> str:
        """A task id in this format's shape; `now` is UTC seconds."""

    def refused(self, error: ZingError) -> Answer:
        """The reply to any request that could not be served; table in `ERRORS`."""

    def told(self, view: TaskView, available: int) -> Mapping[str, Any]:
        """The body of the callback for a task that has ended.

        `available` is what the account may spend now, in micro-credits.
        """

    def signature(self, public_id: str, secret: str, now: int) -> Mapping[str, str]:
        """The headers by which this format's receivers check a callback; `now` is UTC seconds."""


def bearer(authorization: str) -> str:
    """The key after `Bearer `, whose case does not count; empty where the header is another."""
    scheme, _, key = authorization.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """A BadInput raised inside says that it is about the field of this name."""
    try:
        yield
    except BadInput as error:
        error.field = error.field or name
        raise


def text(fields: Mapping[str, Any], name: str) -> str | None:
    """The string in a field; None where it is absent or null."""
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadField(f"{name} must be a string.", field=name)


def boolean(fields: Mapping[str, Any], name: str) -> bool:
    """The true or false in a field; false where it is absent or null."""
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadField(f"{name} must be true or false.", field=name)


def model(fields: Mapping[str, Any], name: str, models: Sequence[str]) -> None:
    """Refuse a request whose model is missing or is none of `models`."""
    value = text(fields, name)
    if value is None:
        raise UnknownModel(f"{name} is missing: write {models[0]}.", field=name)
    if value not in models:
        raise UnknownModel(f"There is no model of this name: write {models[0]}.", field=name)


def prompt(fields: Mapping[str, Any], name: str, limit: int) -> str:
    """The prompt in a field, at most `limit` characters; raises BadInput."""
    value = text(fields, name)
    if value is None:
        raise BadPrompt(f"{name} is missing: say what to draw.", field=name)
    if len(value) > limit:
        raise BadPrompt(
            f"{name} has {len(value)} characters; at most {limit} are taken.", field=name
        )
    with naming(name):
        return check_prompt(value)


def integer(value: object, low: int, high: int) -> int | None:
    """The JSON integer in low..high; None for anything else, true, "7" and 1.0 included."""
    return value if type(value) is int and low <= value <= high else None


def sides(value: str, mark: str) -> Size | None:
    """The numbers in a text such as 1024x768; None in any other. `mark` is a regular expression."""
    match = re.fullmatch(rf"([1-9]\d{{0,19}}){mark}([1-9]\d{{0,19}})", value, re.ASCII)
    return (int(match[1]), int(match[2])) if match else None


def task_id(value: object, name: str) -> str:
    """The task id in a field; raises BadField where it is none, UnknownTask where it is no task's.

    What cannot be an id is not looked for: a database does not take every text.
    """
    if not isinstance(value, str) or not value:
        raise BadField(f"{name} is missing: write the id of a task.", field=name)
    if not is_task_id(value):
        raise UnknownTask
    return value


def is_task_id(text: str) -> bool:
    """Whether a text can be a task's id."""
    return re.fullmatch(r"[\w.:-]{1,128}", text, re.ASCII) is not None


def nothing(_fields: Mapping[str, Any]) -> None:
    """What an address asks for that needs no fields."""


def text_list(value: object, name: str, most: int) -> list[str]:
    """The texts in a list of some; as ids each costs a look-up, so they are not many."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise BadField(f"{name} must be a list of 1 to {most} task ids.", field=name)
    if not all(isinstance(each, str) and each for each in value):
        raise BadField(f"{name} must be a list of texts, none of them empty.", field=name)
    return value


def said(error: ZingError) -> str:
    """The error's message; of what is not the caller's turn, a sentence that tells nothing."""
    return str(error if isinstance(error, Refused) else Internal())


def failure(task: Task) -> ZingError:
    """Why a task failed or was cancelled, with the message to show."""
    kind = Cancelled if task.state is TaskState.CANCELLED else named(task.error)
    return kind(task.error_message)


def word(table: Mapping[type[ZingError], Any], error: ZingError | type[ZingError]) -> Any:
    """The entry of an error's class, or of the nearest class above it that has one."""
    kind = error if isinstance(error, type) else type(error)
    return next(table[each] for each in kind.__mro__ if each in table)


def in_units(cost: int, price: int, units: int) -> int | float:
    """A cost counted in a service's own credits, `units` of which are one picture's price."""
    if price == 0:
        return 0
    return cost * units // price if cost * units % price == 0 else cost * units / price


def balance_in_units(available: int, price: int, units: int) -> int:
    """A balance in a service's own credits, as `in_units`, rounded down to whole ones.

    Where pictures are free it is in credits.
    """
    return available * units // price if price else available // MICRO


def duration(task: Task) -> int:
    """Whole seconds, begun ones too, from the accept of a task to its end."""
    return max(0, math.ceil((task.ended_at or task.created_at) - task.created_at))


def utc_text(seconds: float) -> str:
    """UTC seconds as `YYYY-MM-DD HH:MM:SS`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def milliseconds(seconds: float) -> int:
    """Seconds as whole milliseconds."""
    return round(seconds * 1000)


def retry_after(error: ZingError) -> dict[str, str]:
    """The Retry-After header where the error knows when."""
    return {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}


def whole_number(value: object) -> int | None:
    """The integer in a JSON integer or in the text of one; None where it is neither.

    A bool is no number and 1.5 or 7.0 is no integer. Text is ASCII digits with at most one minus.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value, re.ASCII):
        return int(value)
    return None
