"""zimageturbo.ai's wire format: an envelope, errors by HTTP status and the same code in the body.

Source: zimageturbo.ai, "Z Image Turbo API" (POST /api/generate, /api/status). The page names no
word for a task that failed; clients of it use FAILED.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from zing.dialects import base
from zing.dialects.base import Answer, Reads, Route, Use
from zing.errors import (
    BadContentType,
    BadKey,
    BadSeed,
    BadSize,
    BodyTooLarge,
    IdempotencyConflict,
    IdempotencyInFlight,
    InsufficientCredits,
    KeyCapReached,
    KeyDailyCapReached,
    KeyDenied,
    KeyDisabled,
    KeyEnded,
    ModelDenied,
    QueueFull,
    RateLimited,
    Refused,
    SwitchedOff,
    Unavailable,
    UnknownRoute,
    UnknownTask,
    WrongMethod,
    ZingError,
)
from zing.sizes import RATIOS, Size, check_size
from zing.task import SEED_MAX, ImageRequest, Task, TaskState, TaskView

NAME = "zimageturbo"
PREFIXES: tuple[str, ...] = ("/api",)
SUFFIX = ".jpeg"

PROMPT_MAX = 1000
ASPECT_RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16")
CREDITS_A_PICTURE = 15
ANY_SEED = -1

STATES: dict[TaskState, str] = {
    TaskState.QUEUED: "IN_PROGRESS",
    TaskState.RUNNING: "IN_PROGRESS",
    TaskState.SUCCEEDED: "SUCCESS",
    TaskState.FAILED: "FAILED",
    TaskState.CANCELLED: "FAILED",
}

# HTTP status, which is the body's code too.
ERRORS: dict[type[ZingError], int] = {
    BadKey: 401,
    KeyEnded: 401,
    KeyDisabled: 401,
    KeyDenied: 403,
    ModelDenied: 403,
    InsufficientCredits: 402,
    KeyCapReached: 402,
    KeyDailyCapReached: 402,
    RateLimited: 429,
    QueueFull: 429,
    Unavailable: 503,
    SwitchedOff: 503,
    UnknownTask: 404,
    IdempotencyInFlight: 409,
    IdempotencyConflict: 409,
    BodyTooLarge: 413,
    BadContentType: 415,
    UnknownRoute: 404,
    WrongMethod: 405,
    Refused: 400,
    ZingError: 500,
}

# The message that the provider documents, word for word.
MESSAGES: dict[int, str] = {401: "Invalid API Key"}


def key(authorization: str) -> str:
    """The key of a Bearer header."""
    return base.bearer(authorization)


def new_id(now: float, pick: random.Random) -> str:
    """An id such as task_1763630000123007: milliseconds and three digits by chance."""
    return f"task_{base.milliseconds(now)}{pick.randrange(1000):03d}"


def parse(fields: Mapping[str, Any], prompt_max: int = PROMPT_MAX) -> ImageRequest:
    """The request in a JSON body; an explicit size goes before the ratio."""
    by_ratio = _by_ratio(fields, "aspect_ratio")
    prompt = base.prompt(fields, "prompt", prompt_max)
    width, height = _by_size(fields, "size") or _by_sides(fields, "width", "height") or by_ratio
    return ImageRequest(prompt=prompt, width=width, height=height, seed=_seed(fields, "seed"))


def _by_ratio(fields: Mapping[str, Any], name: str) -> Size:
    ratio = base.text(fields, name)
    if ratio is None:
        return RATIOS["1:1"]
    if ratio not in ASPECT_RATIOS:
        raise BadSize(f"{name} must be one of {', '.join(ASPECT_RATIOS)}.", field=name)
    return RATIOS[ratio]


def _by_size(fields: Mapping[str, Any], name: str) -> Size | None:
    text = base.text(fields, name)
    if text is None:
        return None
    size = base.sides(text, "[x*]")
    if size is None:
        raise BadSize(f"{name} must be WIDTH*HEIGHT, such as 1024*768.", field=name)
    with base.naming(name):
        check_size(*size, base.SIDE_MIN, base.SIDE_MAX)
    return size


def _by_sides(fields: Mapping[str, Any], *names: str) -> Size | None:
    if all(fields.get(name) is None for name in names):
        return None
    width, height = (_side(fields, name) for name in names)
    return width, height


def _side(fields: Mapping[str, Any], name: str) -> int:
    side = base.whole_number(fields.get(name))
    if side is None or not base.SIDE_MIN <= side <= base.SIDE_MAX:
        raise BadSize(
            f"width and height must both be whole numbers from {base.SIDE_MIN} to {base.SIDE_MAX}.",
            field=name,
        )
    return side


def _seed(fields: Mapping[str, Any], name: str) -> int | None:
    if fields.get(name) is None:
        return None
    seed = base.whole_number(fields[name])
    if seed is None or not ANY_SEED <= seed <= SEED_MAX:
        raise BadSeed(
            f"{name} must be {ANY_SEED} or a whole number from 0 to {SEED_MAX}.", field=name
        )
    return None if seed == ANY_SEED else seed


def task_ids(fields: Mapping[str, Any]) -> Sequence[str]:
    """The id in the query or the body."""
    return [base.task_id(fields.get("task_id"), "task_id")]


def created(view: TaskView) -> Answer:
    """The task's id, in progress whatever has become of it since."""
    return _success({"task_id": view.task.public_id, "status": STATES[TaskState.QUEUED]})


def shown(view: TaskView) -> Answer:
    """The task as it is."""
    task = view.task
    return _success(
        {
            "status": STATES[task.state],
            "task_id": task.public_id,
            "request": _request(task),
            "response": list(view.links),
            "consumed_credits": _credits(view),
            "created_at": base.utc_text(task.created_at),
            "error_message": _error_message(task),
        }
    )


def waited(view: TaskView) -> Answer:
    """The reply to a submit that waited: where the picture is there, also as `images`."""
    data = {"task_id": view.task.public_id, "status": STATES[view.task.state]}
    if view.task.state is not TaskState.SUCCEEDED:
        return _success(data)
    return _success(data | {"images": list(view.links)})


def told(view: TaskView, _available: int) -> Mapping[str, Any]:
    """The answer to a look: this format has no callbacks."""
    return shown(view).body


def signature(_public_id: str, _secret: str, _now: int) -> Mapping[str, str]:
    """None: this format has no callbacks."""
    return {}


def _success(data: dict[str, Any]) -> Answer:
    return Answer(200, {"code": 200, "message": "success", "data": data})


def _request(task: Task) -> dict[str, str]:
    """What was asked for, all of it text."""
    asked = task.request
    request = {
        "prompt": asked.prompt,
        "size": f"{asked.width}*{asked.height}",
        "seed": str(ANY_SEED if asked.seed is None else asked.seed),
    }
    if task.dialect == NAME and task.fields.get("aspect_ratio"):
        request["aspect_ratio"] = task.fields["aspect_ratio"]
    return request


def _credits(view: TaskView) -> int | float:
    if view.task.state is not TaskState.SUCCEEDED:
        return 0
    return base.in_units(view.task.cost, view.price, CREDITS_A_PICTURE)


def _error_message(task: Task) -> str | None:
    if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
        return None
    return str(base.failure(task))


def refused(error: ZingError) -> Answer:
    """The error by HTTP status."""
    status = base.word(ERRORS, error)
    body = {"code": status, "message": MESSAGES.get(status, base.said(error)), "data": None}
    return Answer(status, body, base.retry_after(error))


ROUTES: tuple[Route, ...] = (
    Route("POST", "/api/generate", Use.SUBMIT, Reads.JSON, parse, created),
    Route("GET", "/api/status", Use.LOOK, Reads.QUERY, task_ids, shown),
    Route("POST", "/api/status", Use.LOOK, Reads.ANY, task_ids, shown),
)
