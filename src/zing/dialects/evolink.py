"""EvoLink's wire format: a flat task object, strict fields, errors by HTTP status.

Source: EvoLink, "Z Image Turbo" (OpenAPI document of POST /v1/images/generations). The page does
not show its query reply; that follows the submit reply and what clients of it read.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from zing.dialects import base
from zing.dialects.base import Answer, Reads, Route, Use
from zing.errors import (
    BadCallback,
    BadContentType,
    BadField,
    BadKey,
    BadPicture,
    BadSeed,
    BadSize,
    Blocked,
    BodyTooLarge,
    Cancelled,
    EngineFailed,
    EngineLost,
    IdempotencyConflict,
    IdempotencyInFlight,
    InsufficientCredits,
    KeyCapReached,
    KeyDailyCapReached,
    KeyDenied,
    KeyDisabled,
    KeyEnded,
    ModelDenied,
    ModelGone,
    NotCancellable,
    NotEncoded,
    OutOfMemory,
    QueueFull,
    RateLimited,
    Refused,
    StorageFull,
    SwitchedOff,
    TimedOut,
    Unavailable,
    UnknownRoute,
    UnknownTask,
    Unreadable,
    WrongMethod,
    WrongSize,
    ZingError,
)
from zing.sizes import RATIOS, Size, check_size
from zing.task import (
    PROMPT_MAX,
    SEED_MAX,
    Credits,
    ImageRequest,
    Listing,
    Moment,
    TaskPage,
    TaskState,
    TaskView,
    credits_number,
)

NAME = "evolink"
PREFIXES: tuple[str, ...] = ("/v1",)
SUFFIX = ".webp"
MODEL = "z-image-turbo"

CANCEL_WAIT_S = 5.0
BATCH_MAX = 50
PAGE_SIZE, PAGE_SIZE_MAX, PAGE_MAX = 20, 100, 10_000
OUTPUTS = ("text", "image", "audio", "video")
PICTURE = "image"

STATES: dict[TaskState, str] = {
    TaskState.QUEUED: "pending",
    TaskState.RUNNING: "processing",
    TaskState.SUCCEEDED: "completed",
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "cancelled",
}

# What a list may be filtered by; a client that waits asks for `processing`.
FILTERS: dict[str, tuple[TaskState, ...]] = {
    "pending": (TaskState.QUEUED,),
    "processing": (TaskState.QUEUED, TaskState.RUNNING),
    "completed": (TaskState.SUCCEEDED,),
    "failed": (TaskState.FAILED,),
    "cancelled": (TaskState.CANCELLED,),
}

# Error type of the body by HTTP status, where it is not invalid_request_error.
TYPES: dict[int, str] = {
    401: "authentication_error",
    402: "insufficient_quota",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
}

ERRORS: dict[type[ZingError], tuple[int, str]] = {
    BadKey: (401, "unauthorized"),
    KeyEnded: (401, "unauthorized"),
    KeyDisabled: (403, "key_disabled"),
    KeyDenied: (403, "permission_denied"),
    ModelDenied: (403, "model_access_denied"),
    InsufficientCredits: (402, "insufficient_quota"),
    KeyCapReached: (402, "key_quota_exhausted"),
    KeyDailyCapReached: (402, "key_daily_quota_exhausted"),
    RateLimited: (429, "rate_limit_exceeded"),
    QueueFull: (503, "resource_exhausted"),
    Unavailable: (503, "service_unavailable"),
    SwitchedOff: (503, "service_unavailable"),
    UnknownTask: (404, "task_not_found"),
    NotCancellable: (409, "task_not_cancellable"),
    IdempotencyInFlight: (409, "paid_outcome_unknown"),
    IdempotencyConflict: (409, "idempotency_conflict"),
    BodyTooLarge: (413, "request_too_large"),
    BadContentType: (415, "unsupported_media_type"),
    UnknownRoute: (404, "not_found"),
    WrongMethod: (405, "method_not_allowed"),
    Refused: (400, "invalid_request"),
    ZingError: (500, "internal_error"),
}

# The messages that the provider documents, word for word.
MESSAGES: dict[str, str] = {
    "invalid_request": "Invalid request parameters",
    "unauthorized": "Invalid or expired token",
    "insufficient_quota": "Insufficient quota. Please top up your account.",
    "model_access_denied": "Token does not have access to model: z-image-turbo",
    "rate_limit_exceeded": "Too many requests, please try again later",
    "internal_error": "Internal server error",
}

TASK_ERRORS: dict[type[ZingError], str] = {
    Blocked: "content_policy_violation",
    Unreadable: "invalid_parameters",
    NotEncoded: "image_processing_error",
    WrongSize: "image_dimension_mismatch",
    Cancelled: "request_cancelled",
    BadPicture: "generation_failed_no_content",
    EngineFailed: "service_error",
    TimedOut: "generation_timeout",
    OutOfMemory: "resource_exhausted",
    StorageFull: "quota_exceeded",
    EngineLost: "service_unavailable",
    ModelGone: "resource_not_found",
    ZingError: "unknown_error",
}


def key(authorization: str) -> str:
    """The key of a Bearer header."""
    return base.bearer(authorization)


def new_id(now: float, pick: random.Random) -> str:
    """An id such as task-unified-1763630000-k3v9x0ab."""
    return f"task-unified-{int(now)}-{''.join(pick.choices(base.LOWER_ALNUM, k=8))}"


def parse(fields: Mapping[str, Any]) -> ImageRequest:
    """The request in a JSON body; types are strict, other fields than these are ignored."""
    base.model(fields, "model", [MODEL])
    prompt = base.prompt(fields, "prompt", PROMPT_MAX)
    width, height = _size(fields, "size")
    _one_picture(fields, "n")
    return ImageRequest(
        prompt=prompt,
        width=width,
        height=height,
        seed=_seed(fields, "seed"),
        strict=base.boolean(fields, "nsfw_check"),
        callback_url=base.text(fields, "callback_url") or None,
    )


def _size(fields: Mapping[str, Any], name: str) -> Size:
    text = base.text(fields, name)
    size = RATIOS["1:1"] if text is None else RATIOS.get(text) or base.sides(text, "x")
    if size is None:
        raise BadSize(
            f"{name} must be WIDTHxHEIGHT, such as 1024x768, or one of {', '.join(RATIOS)}.",
            field=name,
        )
    with base.naming(name):
        check_size(*size, base.SIDE_MIN, base.SIDE_MAX)
    return size


def _seed(fields: Mapping[str, Any], name: str) -> int | None:
    if fields.get(name) is None:
        return None
    seed = base.integer(fields[name], 1, SEED_MAX)
    if seed is None:
        raise BadSeed(f"{name} must be an integer from 1 to {SEED_MAX}.", field=name)
    return seed


def _one_picture(fields: Mapping[str, Any], name: str) -> None:
    if fields.get(name) is not None and base.integer(fields[name], 1, 1) is None:
        raise BadField(f"{name} must be 1: a request is for one picture.", field=name)


def task_ids(fields: Mapping[str, Any]) -> Sequence[str]:
    """The id in the path."""
    return [base.task_id(fields.get("id"), "id")]


def ids_of_some(fields: Mapping[str, Any]) -> Sequence[str]:
    """The ids that a batch names; what cannot be an id is none of the account's."""
    ids = base.text_list(fields.get("task_ids"), "task_ids", BATCH_MAX)
    return [each for each in dict.fromkeys(ids) if base.is_task_id(each)]


def listing(fields: Mapping[str, Any]) -> Listing:
    """The filters and the page in a query."""
    status, kind = base.text(fields, "status"), base.text(fields, "type")
    states = FILTERS.get(status) if status else tuple(TaskState)
    if states is None:
        raise BadField(f"status must be one of {', '.join(FILTERS)}.", field="status")
    if kind and kind not in OUTPUTS:
        raise BadField(f"type must be one of {', '.join(OUTPUTS)}.", field="type")
    ours = kind in (None, "", PICTURE) and base.text(fields, "model") in (None, "", MODEL)
    page = _count(fields, "page", 1, PAGE_MAX)
    return Listing(
        states if ours else (), page, _count(fields, "page_size", PAGE_SIZE, PAGE_SIZE_MAX)
    )


def _count(fields: Mapping[str, Any], name: str, usual: int, most: int) -> int:
    if fields.get(name) in (None, ""):
        return usual
    count = base.whole_number(fields[name])
    if count is None or not 1 <= count <= most:
        raise BadField(f"{name} must be a whole number from 1 to {most}.", field=name)
    return count


def created(view: TaskView) -> Answer:
    """The pending task, also where it has ended since: the end is for the first look.

    What is reserved and whether it can be cancelled is as it is.
    """
    first = replace(view, task=replace(view.task, state=TaskState.QUEUED), progress=0)
    body = _body(first)
    if view.task.state.ended:
        body["task_info"] = {"can_cancel": False, "estimated_time": 0}
        body["usage"]["credits_reserved"] = 0
    return Answer(200, body)


def shown(view: TaskView) -> Answer:
    """The task as it is."""
    return Answer(200, _body(view))


def followed(moment: Moment) -> Answer:
    """A moment of the task; its end is the task as a look shows it. Not in EvoLink's documents."""
    if moment.view is not None:
        return shown(moment.view)
    body: dict[str, Any] = {"status": STATES[moment.state], "progress": moment.progress}
    if moment.state is TaskState.QUEUED:
        return Answer(200, body | {"queue_place": moment.place})
    body |= {"step": moment.step, "steps": moment.steps}
    return Answer(200, body | ({"preview": moment.preview} if moment.preview else {}))


def cancelled(view: TaskView) -> Answer:
    """The task in its end; 202 and the task so far where it has not stopped yet."""
    return Answer(200 if view.task.state.ended else 202, _body(view))


def batch(views: Sequence[TaskView]) -> Answer:
    """The tasks as they are."""
    return Answer(200, {"data": [_body(view) for view in views]})


def listed(page: TaskPage) -> Answer:
    """A line for each task, without links."""
    body = {
        "data": [_line(view) for view in page.views],
        "total": page.total,
        "page": page.listing.page,
        "page_size": page.listing.page_size,
    }
    return Answer(200, body)


def credits(money: Credits) -> Answer:
    """What the account may spend, which every key of it may, and what either used."""
    remaining = credits_number(money.available)
    data = {
        "token": {
            "remaining_credits": remaining,
            "unlimited_credits": False,
            "used_credits": credits_number(money.used_by_key),
        },
        "user": {"remaining_credits": remaining, "used_credits": credits_number(money.used)},
    }
    return Answer(200, {"data": data, "message": "", "success": True})


def told(view: TaskView, _available: int) -> Mapping[str, Any]:
    """The answer to a look, as documented."""
    return _body(view)


def signature(_public_id: str, _secret: str, _now: int) -> Mapping[str, str]:
    """None is documented."""
    return {}


def _line(view: TaskView) -> dict[str, Any]:
    task = view.task
    line: dict[str, Any] = {
        "id": task.public_id,
        "model": MODEL,
        "type": PICTURE,
        "status": STATES[task.state],
        "progress": view.progress,
        "created_at": int(task.created_at),
    }
    if task.state.ended:
        line["duration"] = base.duration(task)
    succeeded = task.state is TaskState.SUCCEEDED
    return line | {
        "has_results": succeeded,
        "result_count": int(succeeded),
        "has_error": task.state.ended and not succeeded,
        "credits_used": credits_number(task.cost) if succeeded else 0,
    }


def _body(view: TaskView) -> dict[str, Any]:
    """The task; shell clients take the first `id` and the first `status` that they find."""
    task = view.task
    body: dict[str, Any] = {
        "created": int(task.created_at),
        "id": task.public_id,
        "model": MODEL,
        "object": "image.generation.task",
        "progress": view.progress,
    }
    if task.state is TaskState.SUCCEEDED:
        body["results"] = list(view.links)
    body["status"] = STATES[task.state]
    if task.state in (TaskState.FAILED, TaskState.CANCELLED):
        error = base.failure(task)
        body["error"] = {"code": base.word(TASK_ERRORS, error), "message": str(error)}
    body["task_info"] = _task_info(view)
    body["type"] = PICTURE
    body["usage"] = _usage(view)
    if task.state.ended:
        body["duration"] = base.duration(task)
    return body


def _task_info(view: TaskView) -> dict[str, Any]:
    if view.task.state.ended:
        return {"can_cancel": False}
    return {"can_cancel": view.task.can_cancel, "estimated_time": view.estimated_s}


def _usage(view: TaskView) -> dict[str, Any]:
    task = view.task
    spent = "credits_used" if task.state.ended else "credits_reserved"
    free = task.state in (TaskState.FAILED, TaskState.CANCELLED)
    return {
        "billing_rule": "per_call",
        spent: 0 if free else credits_number(task.cost),
        "user_group": "default",
    }


def refused(error: ZingError) -> Answer:
    """The error by HTTP status; where the documented message is fixed, ours is a suggestion."""
    status, code = base.word(ERRORS, error)
    message = base.said(error)
    body = {
        "code": code,
        "message": MESSAGES.get(code, message),
        "type": TYPES.get(status, "invalid_request_error"),
    }
    field = error.field or ("callback_url" if isinstance(error, BadCallback) else "")
    if field:
        body["param"] = field
    if code in MESSAGES and isinstance(error, Refused):
        body["fallback_suggestion"] = message
    return Answer(status, {"error": body}, base.retry_after(error))


ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/images/generations", Use.SUBMIT, Reads.JSON, parse, created),
    Route("GET", "/v1/tasks", Use.LIST, Reads.QUERY, listing, listed),
    Route("POST", "/v1/tasks/batch", Use.BATCH, Reads.JSON, ids_of_some, batch),
    Route("GET", "/v1/tasks/{id}", Use.LOOK, Reads.PATH, task_ids, shown),
    Route("GET", "/v1/tasks/{id}/events", Use.FOLLOW, Reads.PATH, task_ids, followed),
    Route("DELETE", "/v1/tasks/{id}", Use.CANCEL, Reads.PATH, task_ids, cancelled, CANCEL_WAIT_S),
    Route(
        "POST", "/v1/tasks/{id}/cancel", Use.CANCEL, Reads.PATH, task_ids, cancelled, CANCEL_WAIT_S
    ),
    Route("GET", "/v1/credits", Use.CREDITS, Reads.QUERY, base.nothing, credits),
)
