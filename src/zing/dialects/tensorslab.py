"""TensorsLab's wire format: form fields in, an envelope with the codes 1000, 9999 and 9000 out.

Source: TensorsLab, "Z-Image" (OpenAPI document of POST /v1/images/zimage); query and delete are
those of its common image pages. A failed task is still code 1000: its `image_status` tells.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from zing.dialects import base
from zing.dialects.base import Answer, Reads, Route, Use
from zing.errors import (
    BadField,
    BadSeed,
    BadSize,
    BodyTooLarge,
    InsufficientCredits,
    KeyCapReached,
    KeyDailyCapReached,
    NotCancellable,
    QueueFull,
    RateLimited,
    UnknownRoute,
    UnknownTask,
    WrongMethod,
    ZingError,
)
from zing.sizes import RATIOS, Size
from zing.task import PROMPT_MAX, SEED_MAX, ImageRequest, Task, TaskState, TaskView

NAME = "tensorslab"
SUFFIX = ".png"
IDS_MAX = 100

RESOLUTIONS: dict[str, Size] = {
    "1K": (1024, 1024),
    "2K": (base.SIDE_MAX, base.SIDE_MAX),
    "4K": (base.SIDE_MAX, base.SIDE_MAX),
    "9:16": RATIOS["9:16"],
    "16:9": RATIOS["16:9"],
    "1:1": RATIOS["1:1"],
    "3:4": RATIOS["3:4"],
    "4:3": RATIOS["4:3"],
    "2:3": RATIOS["2:3"],
    "3:2": RATIOS["3:2"],
}

STATES: dict[TaskState, int] = {
    TaskState.QUEUED: 1,
    TaskState.RUNNING: 2,
    TaskState.SUCCEEDED: 3,
    TaskState.FAILED: 4,
    TaskState.CANCELLED: 4,
}

DONE, REFUSED, NO_CREDITS = 1000, 9999, 9000

# Code and HTTP status: clients read the body, proxies and patient clients the status.
ERRORS: dict[type[ZingError], tuple[int, int]] = {
    InsufficientCredits: (NO_CREDITS, 200),
    KeyCapReached: (NO_CREDITS, 200),
    KeyDailyCapReached: (NO_CREDITS, 200),
    RateLimited: (REFUSED, 429),
    QueueFull: (REFUSED, 503),
    BodyTooLarge: (REFUSED, 413),
    UnknownRoute: (REFUSED, 404),
    WrongMethod: (REFUSED, 405),
    ZingError: (REFUSED, 200),
}


def key(authorization: str) -> str:
    """The whole header, as documented, or the key of a Bearer header, as some clients send it."""
    return base.bearer(authorization) or authorization.strip()


def new_id(now: float, pick: random.Random) -> str:
    """An id such as zimg_0f3a9c5e77b1d204; no time is in it."""
    return f"zimg_{pick.getrandbits(64):016x}"


def parse(fields: Mapping[str, Any]) -> ImageRequest:
    """The request in form fields, whose values are text, or in the same fields as JSON."""
    for name in ("sourceImage", "imageUrl"):
        if fields.get(name):
            raise BadField(f"{name} is not supported: a picture comes from text.", field=name)
    extend = _switch(fields, "prompt_extend")
    prompt = base.prompt(fields, "prompt", PROMPT_MAX)
    width, height = _size(fields, "resolution")
    seed = _seed(fields, "seed")
    return ImageRequest(prompt=prompt, width=width, height=height, seed=seed, extend=extend)


def _switch(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None or value == "" or isinstance(value, bool):
        return value is True
    if base.whole_number(value) not in (0, 1):
        raise BadField(f"{name} must be 0 or 1.", field=name)
    return base.whole_number(value) == 1


def _size(fields: Mapping[str, Any], name: str) -> Size:
    text = (base.text(fields, name) or "1:1").upper()
    size = RESOLUTIONS.get(text) or base.sides(text, "[X*]")
    if size is None:
        raise BadSize(
            f"{name} must be WIDTH*HEIGHT, such as 1024*768, or one of {', '.join(RESOLUTIONS)}.",
            field=name,
        )
    if min(size) < base.SIDE_MIN:
        raise BadSize(f"{name} must have sides of at least {base.SIDE_MIN} pixels.", field=name)
    return _fitted(size)


def _fitted(size: Size) -> Size:
    """A larger size scaled down into the largest square; its short side may have to stay longer."""
    longest = max(*size, base.SIDE_MAX)
    width, height = (max(base.SIDE_MIN, round(side * base.SIDE_MAX / longest)) for side in size)
    return width, height


def _seed(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    seed = base.whole_number(value)
    if seed is None or not -1 <= seed <= SEED_MAX:
        raise BadSeed(f"{name} must be a whole number from 1 to {SEED_MAX}.", field=name)
    return seed if seed > 0 else None


def task_ids(fields: Mapping[str, Any]) -> Sequence[str]:
    """The id in `taskid`, or of a delete those in `taskids`."""
    ids = fields.get("taskids")
    if ids is None:
        return [base.task_id(fields.get("taskid"), "taskid")]
    found = base.text_list(ids, "taskids", IDS_MAX)
    if not all(map(base.is_task_id, found)):
        raise UnknownTask
    return found


def created(view: TaskView) -> Answer:
    """The task's id."""
    return Answer(200, {"code": DONE, "msg": "OK", "data": {"taskid": view.task.public_id}})


def shown(view: TaskView) -> Answer:
    """The task as it is."""
    return Answer(200, {"code": DONE, "msg": "OK", "data": _data(view)})


def cancelled(view: TaskView) -> Answer:
    """That it is deleted, whatever it was."""
    return _deleted()


def _deleted() -> Answer:
    return Answer(200, {"code": DONE, "msg": "Successfully", "data": {"status": "Success"}})


def told(view: TaskView, _available: int) -> Mapping[str, Any]:
    """The answer to a look: this format has no callbacks."""
    return shown(view).body


def signature(_public_id: str, _secret: str, _now: int) -> Mapping[str, str]:
    """None: this format has no callbacks."""
    return {}


def _data(view: TaskView) -> dict[str, Any]:
    task = view.task
    data: dict[str, Any] = {
        "taskid": task.public_id,
        "category": "zimage",
        "starttime": base.utc_text(task.created_at),
        "url": list(view.links),
        "image_status": STATES[task.state],
        "width": task.request.width,
        "height": task.request.height,
        "prompt": task.request.prompt,
        "negative": "",
    }
    if task.request.extended is not None:
        data["actual_prompt"] = task.request.extended
    if task.state is TaskState.SUCCEEDED:
        data["origseed"] = task.seed
    elif task.state.ended:
        data["error_message"] = _error_message(task)
    return data


def _error_message(task: Task) -> str:
    return "cancelled" if task.state is TaskState.CANCELLED else str(base.failure(task))


def refused(error: ZingError) -> Answer:
    """The error's code and message; a delete of what cannot be cancelled has nothing to refuse."""
    if isinstance(error, NotCancellable):
        return _deleted()
    code, status = base.word(ERRORS, error)
    message = base.said(error)
    if isinstance(error, InsufficientCredits):
        message = "Insufficient credits"
    return Answer(status, {"code": code, "msg": message}, base.retry_after(error))


ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/images/zimage", Use.SUBMIT, Reads.FORM, parse, created),
    Route("POST", "/v1/images/infobytaskid", Use.LOOK, Reads.JSON, task_ids, shown),
    Route("POST", "/v1/images/deleteimagestask", Use.DELETE, Reads.JSON, task_ids, cancelled),
)
PREFIXES: tuple[str, ...] = tuple(route.path for route in ROUTES)
