"""kie.ai's wire format: an envelope whose `code` tells the outcome, mostly in HTTP 200.

Source: kie.ai, "Z-Image" (POST /api/v1/jobs/createTask); the query reply is that of its common
"Get Task Details" page. `param` and `resultJson` are JSON inside strings.
"""

import base64
import hmac
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from zing.dialects import base
from zing.dialects.base import Answer, Reads, Route, Use
from zing.errors import (
    BadCallback,
    BadField,
    BadInput,
    BadKey,
    BadPicture,
    BadSize,
    Blocked,
    Cancelled,
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
    TimedOut,
    Unavailable,
    UnknownRoute,
    UnknownTask,
    Unreadable,
    WrongMethod,
    ZingError,
)
from zing.sizes import RATIOS, Size
from zing.task import SEED_MAX, Credits, ImageRequest, Task, TaskState, TaskView

NAME = "kie"
PREFIXES: tuple[str, ...] = ("/api/v1",)
SUFFIX = ".png"
MODELS = ("z-image", "z-image-turbo", "z-image/z-image")
PROMPT_MAX = 1000
ASPECT_RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16")
CREDITS_A_PICTURE = 1

QUEUING = "queuing"  # queued again: a worker had it and was lost
STATES: dict[TaskState, str] = {
    TaskState.QUEUED: "waiting",
    TaskState.RUNNING: "generating",
    TaskState.SUCCEEDED: "success",
    TaskState.FAILED: "fail",
    TaskState.CANCELLED: "fail",
}

NO_ACCESS = "You do not have access permissions"

# Code and, where the documentation has one, its message.
ERRORS: dict[type[ZingError], tuple[int, str]] = {
    BadKey: (401, NO_ACCESS),
    KeyEnded: (401, NO_ACCESS),
    KeyDisabled: (401, NO_ACCESS),
    KeyDenied: (401, NO_ACCESS),
    ModelDenied: (505, ""),
    InsufficientCredits: (402, ""),
    KeyCapReached: (433, ""),
    KeyDailyCapReached: (433, ""),
    RateLimited: (429, ""),
    QueueFull: (429, ""),
    Unavailable: (455, ""),
    SwitchedOff: (505, ""),
    UnknownTask: (422, "recordInfo is null"),
    UnknownRoute: (404, ""),
    WrongMethod: (405, ""),
    Refused: (422, ""),
    ZingError: (500, ""),
}
BAD_TASK_ID = 400
COMPLETED = "Playground task completed successfully."
STATUSES = (404, 405, 429)  # the codes that are the HTTP status too

# Clients pay for the whole task again on 500 to 599: never one of these where that cannot help.
TASK_ERRORS: dict[type[ZingError], str] = {
    Blocked: "422",
    Unreadable: "422",
    BadPicture: "501",
    TimedOut: "408",
    Cancelled: "499",
    ZingError: "500",
}


def key(authorization: str) -> str:
    """The key of a Bearer header."""
    return base.bearer(authorization)


def new_id(now: float, pick: random.Random) -> str:
    """An id such as task_z-image_1763630000123007: milliseconds and three digits by chance."""
    return f"task_z-image_{base.milliseconds(now)}{pick.randrange(1000):03d}"


def parse(fields: Mapping[str, Any]) -> ImageRequest:
    """The request in a JSON body; fields of `input` are named such as input.prompt."""
    base.model(fields, "model", MODELS)
    inner = _input(fields, "input")
    width, height = _size(inner, "input.aspect_ratio")
    return ImageRequest(
        prompt=base.prompt(inner, "input.prompt", PROMPT_MAX),
        width=width,
        height=height,
        # Not documented: what is no seed is ignored as any unknown field is.
        seed=base.integer(inner.get("input.seed"), 1, SEED_MAX),
        strict=base.boolean(inner, "input.nsfw_checker"),
        callback_url=base.text(fields, "callBackUrl") or None,
    )


def _input(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    inner = fields.get(name)
    if not isinstance(inner, Mapping):
        raise BadField(f"{name} must be an object.", field=name)
    return {f"{name}.{each}": value for each, value in inner.items()}


def _size(inner: Mapping[str, Any], name: str) -> Size:
    ratio = base.text(inner, name)
    if ratio is None or ratio == "auto":
        return RATIOS["1:1"]
    if ratio not in ASPECT_RATIOS:
        raise BadSize(f"{name} must be one of {', '.join(ASPECT_RATIOS)}.", field=name)
    return RATIOS[ratio]


def task_ids(fields: Mapping[str, Any]) -> Sequence[str]:
    """The id in the query."""
    return [base.task_id(fields.get("taskId"), "taskId")]


def created(view: TaskView) -> Answer:
    """The task's id."""
    return Answer(200, {"code": 200, "msg": "success", "data": {"taskId": view.task.public_id}})


def shown(view: TaskView) -> Answer:
    """The task as it is; `msg` and `message` both, as clients read either."""
    return Answer(200, {"code": 200, "msg": "success", "message": "success", "data": _data(view)})


def link(fields: Mapping[str, Any]) -> str:
    """The URL of a picture that a fresh link is asked for."""
    url = base.text(fields, "url")
    if not url:
        raise BadField("url is missing: write the URL of a picture.", field="url")
    return url


def fresh(url: str) -> Answer:
    """The link."""
    return Answer(200, {"code": 200, "msg": "success", "data": url})


def credits(money: Credits) -> Answer:
    """What the account may spend, in whole pictures of kie.ai."""
    balance = base.balance_in_units(money.available, money.price, CREDITS_A_PICTURE)
    return Answer(200, {"code": 200, "msg": "success", "data": balance})


def told(view: TaskView, available: int) -> Mapping[str, Any]:
    """The task as it ended; the outcome stands at the top, and the id has both of its names."""
    task, data = view.task, _data(view)
    succeeded = task.state is TaskState.SUCCEEDED
    identity = {"taskId": task.public_id, "task_id": task.public_id}
    result = {"resultJson": data["resultJson"]} if succeeded else {}
    ended = {
        **identity,
        "model": data["model"],
        "state": data["state"],
        "param": data["param"],
        **result,
        "failCode": data["failCode"] or None,
        "failMsg": data["failMsg"] or None,
        "consumeCredits": data["creditsConsumed"],
        "remainedCredits": base.balance_in_units(available, view.price, CREDITS_A_PICTURE),
        "costTime": data["costTime"],
        "createTime": data["createTime"],
        "completeTime": data["completeTime"],
        "updateTime": data["updateTime"],
    }
    code, message = (200, COMPLETED) if succeeded else (501, data["failMsg"])
    return {"code": code, "msg": message, "data": ended}


def signature(public_id: str, secret: str, now: int) -> Mapping[str, str]:
    """kie.ai's two headers; they sign the id and the time, not the body."""
    signed = hmac.digest(secret.encode(), f"{public_id}.{now}".encode(), "sha256")
    return {
        "X-Webhook-Timestamp": str(now),
        "X-Webhook-Signature": base64.b64encode(signed).decode(),
    }


def _data(view: TaskView) -> dict[str, Any]:
    task = view.task
    fail_code, fail_message = _failed(task)
    ended_at = task.ended_at if task.state.ended else None
    return {
        "taskId": task.public_id,
        "model": MODELS[0],
        "state": QUEUING if _lost_its_worker(task) else STATES[task.state],
        "param": _param(task),
        "resultJson": _result(view),
        "failCode": fail_code,
        "failMsg": fail_message,
        "costTime": None if ended_at is None else round(max(0.0, ended_at - task.created_at)),
        "completeTime": None if ended_at is None else base.milliseconds(ended_at),
        "createTime": base.milliseconds(task.created_at),
        "updateTime": base.milliseconds(task.updated_at),
        "progress": view.progress,
        "creditsConsumed": _credits(view),
    }


def _lost_its_worker(task: Task) -> bool:
    return task.state is TaskState.QUEUED and task.attempt > 0


def _failed(task: Task) -> tuple[str, str]:
    if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
        return "", ""
    error = base.failure(task)
    return base.word(TASK_ERRORS, error), str(error)


def _credits(view: TaskView) -> int | float | None:
    if not view.task.state.ended:
        return None
    if view.task.state is not TaskState.SUCCEEDED:
        return 0
    return base.in_units(view.task.cost, view.price, CREDITS_A_PICTURE)


def _result(view: TaskView) -> str:
    if view.task.state is not TaskState.SUCCEEDED:
        return ""
    return _json({"resultUrls": list(view.links)})


def _param(task: Task) -> str:
    """The body as it came; where it came in another dialect or was forgotten, what it would be."""
    if task.dialect == NAME and task.fields:
        return _json(task.fields)
    fields = {"prompt": task.request.prompt}
    for ratio in ASPECT_RATIOS:
        if RATIOS[ratio] == (task.request.width, task.request.height):
            fields["aspect_ratio"] = ratio
    return _json({"model": MODELS[0], "input": fields})


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Fields that nobody checked may hold half a character, which no reply can carry.
    return text.encode(errors="replace").decode()


def refused(error: ZingError) -> Answer:
    """The code in the body, and in the HTTP status where clients look for it there."""
    code, message = base.word(ERRORS, error)
    if isinstance(error, BadInput) and error.field == "taskId":
        code = BAD_TASK_ID
    message = message or base.said(error)
    if isinstance(error, BadCallback):
        message = f"callBackUrl: {message}"
    body = {"code": code, "msg": message, "message": message, "data": None}
    return Answer(code if code in STATUSES else 200, body, base.retry_after(error))


ROUTES: tuple[Route, ...] = (
    Route("POST", "/api/v1/jobs/createTask", Use.SUBMIT, Reads.JSON, parse, created),
    Route("GET", "/api/v1/jobs/recordInfo", Use.LOOK, Reads.QUERY, task_ids, shown),
    Route("GET", "/api/v1/chat/credit", Use.CREDITS, Reads.QUERY, base.nothing, credits),
    Route("POST", "/api/v1/common/download-url", Use.LINK, Reads.JSON, link, fresh),
)
