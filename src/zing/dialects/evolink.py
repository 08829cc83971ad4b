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
    IdempotencyConflict,
    IdempotencyInFlight,
    InsufficientCredits,
    KeyCapReached,
    KeyDailyCapReached,
    KeyDisabled,
    KeyEnded,
    ModelDenied,
    NotCancellable,
    OutOfMemory,
    QueueFull,
    RateLimited,
    Refused,
    TimedOut,
    Unavailable,
    UnknownRoute,
    UnknownTask,
    WrongMethod,
    ZingError,
)
from zing.sizes import RATIOS, Size, check_size
from zing.task import PROMPT_MAX, SEED_MAX, ImageRequest, TaskState, TaskView, credits_number

NAME = "evolink"
PREFIXES: tuple[str, ...] = ("/v1",)
SUFFIX = ".webp"
ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/images/generations", Use.SUBMIT, Reads.JSON),
    Route("GET", "/v1/tasks/{id}", Use.LOOK, Reads.PATH),
    Route("POST", "/v1/tasks/{id}/cancel", Use.CANCEL, Reads.PATH),
)

MODEL = "z-image-turbo"

STATES: dict[TaskState, str] = {
    TaskState.QUEUED: "pending",
    TaskState.RUNNING: "processing",
    TaskState.SUCCEEDED: "completed",
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "cancelled",
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
    ModelDenied: (403, "model_access_denied"),
    InsufficientCredits: (402, "insufficient_quota"),
    KeyCapReached: (402, "key_quota_exhausted"),
    KeyDailyCapReached: (402, "key_daily_quota_exhausted"),
    RateLimited: (429, "rate_limit_exceeded"),
    QueueFull: (503, "resource_exhausted"),
    Unavailable: (503, "service_unavailable"),
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
    BadPicture: "generation_failed_no_content",
    OutOfMemory: "resource_exhausted",
    TimedOut: "generation_timeout",
    EngineFailed: "service_error",
    Cancelled: "request_cancelled",
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


def cancelled(view: TaskView) -> Answer:
    """The task in its end; 202 and the task so far where it has not stopped yet."""
    return Answer(200 if view.task.state.ended else 202, _body(view))


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
    body["type"] = "image"
    body["usage"] = _usage(view)
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
