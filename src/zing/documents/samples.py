"""A task to show: what the dialects' own functions answer for it are the documents' samples."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zing.blobs import LINK_PATH
from zing.dialects.base import Dialect
from zing.errors import Blocked, Cancelled, ZingError
from zing.task import ImageRequest, Moment, Task, TaskState, TaskView

PROMPT = "a red barn in a green field"
COST = 26_000  # micro-credits
CREATED_AT, ENDED_AT = 1763630000.123, 1763630002.456
ORIGIN = "https://img.example"
PREVIEW = "data:image/webp;base64,UklGRgAAAABXRUJQ"  # only begins as one does


def task_id(dialect: Dialect) -> str:
    """The sample task's id in a dialect's shape, the same each time."""
    return dialect.new_id(CREATED_AT, random.Random(1))


def link(dialect: Dialect) -> str:
    """The link to the sample task's picture."""
    return f"{ORIGIN}{LINK_PATH}f1-1763716403-{'0123456789abcdef' * 2}{dialect.SUFFIX}"


def views(dialect: Dialect, fields: Mapping[str, Any]) -> dict[str, TaskView]:
    """By state, the task that these fields ask of a dialect."""
    return {
        "queued": _view(dialect, fields, TaskState.QUEUED),
        "running": _view(dialect, fields, TaskState.RUNNING, progress=38),
        "succeeded": _view(dialect, fields, TaskState.SUCCEEDED, progress=100),
        "blocked": _view(dialect, fields, TaskState.FAILED, error=Blocked()),
        "cancelled": _view(dialect, fields, TaskState.CANCELLED, error=Cancelled()),
    }


def moments(dialect: Dialect, fields: Mapping[str, Any]) -> dict[str, Moment]:
    """What may happen to the task, each as it is told."""
    running = Moment(4, TaskState.RUNNING, step=3, steps=8)
    return {
        "queued": Moment(0, TaskState.QUEUED, place=2),
        "running": running,
        "preview": replace(running, preview=PREVIEW),
    } | {
        name: Moment(1999, view.task.state, view=view)
        for name, view in ended(dialect, fields).items()
    }


def ended(dialect: Dialect, fields: Mapping[str, Any]) -> dict[str, TaskView]:
    """Those of `views` in which the task has ended."""
    return {name: view for name, view in views(dialect, fields).items() if view.task.state.ended}


def _view(
    dialect: Dialect,
    fields: Mapping[str, Any],
    state: TaskState,
    progress: int = 0,
    error: ZingError | None = None,
) -> TaskView:
    task = Task(
        id="t1",
        public_id=task_id(dialect),
        account_id="a1",
        dialect=dialect.NAME,
        state=state,
        request=ImageRequest(prompt=PROMPT, width=1024, height=1024),
        fields=dict(fields),
        seed=12345,
        cost=COST,
        created_at=CREATED_AT,
        updated_at=ENDED_AT if state.ended else CREATED_AT,
        attempt=0 if state is TaskState.QUEUED else 1,
        ended_at=ENDED_AT if state.ended else None,
        error=type(error).__name__ if error else "",
        error_message=str(error) if error else "",
    )
    links = (link(dialect),) if state is TaskState.SUCCEEDED else ()
    return TaskView(task, progress, 0 if state.ended else 3, links, COST)
