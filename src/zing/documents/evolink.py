"""EvoLink's document: a flat task object, errors by HTTP status."""

from collections.abc import Sequence

from zing.dialects import evolink
from zing.dialects.base import Answer, Dialect
from zing.documents import callbacks, samples, schemas
from zing.documents.base import BEARER, Api, Body, Operation, operation_id, route
from zing.documents.curl import EVENTS_TYPE, JSON_TYPE
from zing.documents.schemas import (
    Json,
    answered,
    asked,
    integer,
    only_when,
    or_null,
    ref,
    said,
    string,
    words,
)
from zing.errors import BadField, BadPrompt, NotCancellable, UnknownRoute, UnknownTask
from zing.sizes import RATIOS
from zing.task import PROMPT_MAX, Credits, Listing, TaskPage, TaskState

LEAST: Json = {"model": evolink.MODEL, "prompt": samples.PROMPT}
FULL: Json = LEAST | {
    "prompt": "一座红色的谷仓",
    "size": "640x480",
    "seed": 12345,
    "nsfw_check": False,
}
FAILED_WORDS = [evolink.STATES[TaskState.FAILED], evolink.STATES[TaskState.CANCELLED]]

TEXT = (
    "EvoLink's API for Z-Image-Turbo: a request makes a task, the task is looked at until it is "
    "completed, and then its link opens the picture (WebP). A picture costs what the operator set "
    "(ZING_PRICE); it is reserved when a task is made and given back where there is no picture."
)


def api(dialect: Dialect) -> Api:
    """The API as the dialect speaks it here."""
    return Api(
        dialect=dialect,
        title="EvoLink: images",
        text=TEXT,
        chinese="兼容 EvoLink 的图像接口：提交任务，查询状态，取回图片。",
        security=BEARER,
        authorization="Bearer $KEY",
        code_at=("error", "code"),
        id_words="task-unified-[0-9a-z-]*",
        schemas=_schemas(),
        operations=(
            _submit(dialect),
            _list(dialect),
            _batch(dialect),
            _look(dialect),
            _follow(dialect),
            _cancel(dialect, "DELETE", "/v1/tasks/{id}", "delete"),
            _cancel(dialect, "POST", "/v1/tasks/{id}/cancel", "cancel"),
            _credits(dialect),
        ),
    )


def _answers(dialect: Dialect, method: str, path: str, states: Sequence[str]) -> dict[str, Answer]:
    views = samples.views(dialect, LEAST)
    return {state: route(dialect, method, path).words(views[state]) for state in states}


def _submit(dialect: Dialect) -> Operation:
    method, path = "POST", "/v1/images/generations"
    of_task = {"parameters": {"id": "$response.body#/id"}}
    return Operation(
        method=method,
        path=path,
        name="submit",
        summary="Ask for a picture",
        text="The reply comes at once, with the task's id. The same prompt, size and seed give the "
        "same picture. A prompt that safety refuses makes a task that has failed.",
        returns="The task.",
        reply=ref("Task"),
        answers=_answers(dialect, method, path, ["queued"]),
        refusals=(BadPrompt("prompt is missing: say what to draw.", field="prompt"),),
        bodies={JSON_TYPE: Body(ref("ImageRequest"), {"least": LEAST, "full": FULL})},
        links={
            name: {"operationId": operation_id(dialect, name), **of_task}
            for name in ("look", "cancel", "delete")
        },
        callbacks=_callback(dialect),
    )


def _callback(dialect: Dialect) -> Json:
    views = samples.ended(dialect, LEAST)
    body = Body(ref("Task"), {name: dialect.told(view, 0) for name, view in views.items()})
    return callbacks.ended("callback_url", body, callbacks.HEADERS)


def _path_id(dialect: Dialect) -> Json:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The task's id; it may be of a task made through another of the APIs.",
        "schema": schemas.task_id(),
        "example": samples.task_id(dialect),
    }


def _look(dialect: Dialect) -> Operation:
    method, path = "GET", "/v1/tasks/{id}"
    return Operation(
        method=method,
        path=path,
        name="look",
        summary="Look at a task",
        text="Once in one or two seconds is often enough; `Prefer: wait=20` needs no second look.",
        returns="The task as it is.",
        reply=ref("Task"),
        answers=_answers(dialect, method, path, [*samples.views(dialect, LEAST)]),
        refusals=(UnknownTask(), UnknownRoute()),
        parameters=(_path_id(dialect),),
    )


def _follow(dialect: Dialect) -> Operation:
    method, path = "GET", "/v1/tasks/{id}/events"
    words_of = route(dialect, method, path).words
    moments = samples.moments(dialect, LEAST)
    return Operation(
        method=method,
        path=path,
        name="follow",
        summary="Follow a task",
        text="Server-sent events, as they happen: the place in the queue, each step, the end. "
        "First come those that were before. Every event has an `id`, a number that grows, and as "
        "`data` one line of JSON; the last one's is the task in its end, and the stream ends. "
        "A line that begins with a colon says that nothing has happened for 15 seconds. Where the "
        "connection breaks or the server stops, ask again with `Last-Event-ID`.",
        returns="The events; the schema is that of each one's `data`.",
        reply={"anyOf": [ref("Waiting"), ref("Drawing"), ref("Task")]},
        answers={name: words_of(moment) for name, moment in moments.items()},
        refusals=(UnknownTask(), UnknownRoute()),
        parameters=(_path_id(dialect),),
        media_type=EVENTS_TYPE,
        empty={204: "The task has ended, and `Last-Event-ID` is that of its end."},
    )


def _cancel(dialect: Dialect, method: str, path: str, name: str) -> Operation:
    return Operation(
        method=method,
        path=path,
        name=name,
        summary="Cancel a task",
        text="What was reserved is given back. The reply waits up to 5 seconds for a running task "
        "to stop.",
        returns="200: the task in its end. 202: it has not stopped yet.",
        reply=ref("Task"),
        answers=_answers(dialect, method, path, ["cancelled", "running"]),
        refusals=(UnknownTask(), UnknownRoute(), NotCancellable()),
        parameters=(_path_id(dialect),),
    )


def _query(name: str, text: str, schema: Json, example: str = "") -> Json:
    """A filter; an empty one says as much as leaving it out."""
    empty = {"anyOf": [schema, words([""])]}
    parameter = {"name": name, "in": "query", "description": text, "schema": empty}
    return parameter | ({"example": example} if example else {})


def _list(dialect: Dialect) -> Operation:
    states, last = evolink.FILTERS, evolink.PAGE_MAX
    views = tuple(samples.views(dialect, LEAST).values())
    page = TaskPage(views, len(views), Listing(tuple(TaskState), 1, evolink.PAGE_SIZE))
    return Operation(
        method="GET",
        path="/v1/tasks",
        name="list",
        summary="List tasks",
        text="The account's tasks, the newest first, in pages; links are in the tasks themselves.",
        returns="A page.",
        reply=ref("TaskPage"),
        answers={"page": route(dialect, "GET", "/v1/tasks").words(page)},
        refusals=(BadField("status must be one of these words.", field="status"),),
        parameters=(
            _query("status", "Only in this state; processing includes pending.", words([*states])),
            _query("type", "Only with this output; here all are pictures.", words(evolink.OUTPUTS)),
            _query("model", "Only of this model.", string(minLength=1)),
            _query("page", "Counts from 1.", {**integer(1, last), "default": 1}, "1"),
            _query(
                "page_size",
                "Tasks on a page.",
                {**integer(1, evolink.PAGE_SIZE_MAX), "default": evolink.PAGE_SIZE},
                "10",
            ),
        ),
    )


def _batch(dialect: Dialect) -> Operation:
    method, path = "POST", "/v1/tasks/batch"
    views = [*samples.views(dialect, LEAST).values()]
    ids = {"type": "array", "items": string(minLength=1), "minItems": 1}
    body = asked({"task_ids": ids | {"maxItems": evolink.BATCH_MAX}}, ["task_ids"])
    return Operation(
        method=method,
        path=path,
        name="batch",
        summary="Look at several tasks",
        text="Ids that are none of the account's are left out.",
        returns="The tasks as they are.",
        reply=answered({"data": {"type": "array", "items": ref("Task")}}),
        answers={"some": route(dialect, method, path).words(views[:1])},
        refusals=(BadField("task_ids must be a list of 1 to 50 task ids.", field="task_ids"),),
        bodies={JSON_TYPE: Body(body, {"batch": {"task_ids": [samples.task_id(dialect)]}})},
    )


def _credits(dialect: Dialect) -> Operation:
    money = Credits(available=98_700_000, used=1_300_000, used_by_key=260_000, price=samples.COST)
    return Operation(
        method="GET",
        path="/v1/credits",
        name="credits",
        summary="See the balance",
        returns="What may be spent (what is reserved is taken off), and what was.",
        reply=ref("Credits"),
        answers={"credits": route(dialect, "GET", "/v1/credits").words(money)},
    )


def _schemas() -> Json:
    return {
        "ImageRequest": _image_request(),
        "Task": _task(),
        "Waiting": _waiting(),
        "Drawing": _drawing(),
        "TaskPage": _task_page(),
        "Credits": _money(),
        "Refusal": _refusal(),
    }


def _image_request() -> Json:
    size = {
        "anyOf": [words([*RATIOS]), schemas.size("x"), {"type": "null"}],
        "default": "1:1",
    }
    properties = {
        "model": words([evolink.MODEL]),
        "prompt": schemas.prompt(PROMPT_MAX),
        "size": said("A ratio, or exact pixels.", size),
        "seed": said("Random where there is none.", or_null(schemas.seed())),
        "nsfw_check": said(
            "The strict safety level; the basic one holds either way.",
            {"type": ["boolean", "null"], "default": False},
        ),
        "callback_url": schemas.callback(),
        "n": said("A request is for one picture.", {"enum": [1, None]}),
    }
    return asked(properties, ["model", "prompt"])


def _task() -> Json:
    properties = {
        "created": said("When it was made, UTC seconds.", integer(0)),
        "id": schemas.task_id(),
        "model": words([evolink.MODEL]),
        "object": words(["image.generation.task"]),
        "progress": said("Percent.", integer(0, 100)),
        "results": said("Links to the picture; they need no key.", schemas.links()),
        "status": words(evolink.STATES.values()),
        "error": said("Why there is no picture.", _task_error()),
        "task_info": answered(
            {
                "can_cancel": {"type": "boolean"},
                "estimated_time": said("Seconds until it ends.", integer(0)),
            },
            optional=["estimated_time"],
        ),
        "type": words([evolink.PICTURE]),
        "usage": _usage(),
        "duration": said("Seconds that it took.", {"type": "number", "minimum": 0}),
    }
    done = evolink.STATES[TaskState.SUCCEEDED]
    task = answered(properties, ["results", "error", "duration"])
    return task | {
        "allOf": [
            only_when("status", [done], ["results"]),
            only_when("status", FAILED_WORDS, ["error"]),
            only_when("status", [done, *FAILED_WORDS], ["duration"]),
        ]
    }


def _task_error() -> Json:
    return answered({"code": words(evolink.TASK_ERRORS.values()), "message": string()})


def _usage() -> Json:
    credits = {"type": "number", "minimum": 0}
    usage = answered(
        {
            "billing_rule": words(["per_call"]),
            "credits_reserved": said("While it is open.", credits),
            "credits_used": said("Once it has ended; 0 where there is no picture.", credits),
            "user_group": words(["default"]),
        },
        optional=["credits_reserved", "credits_used"],
    )
    one = [{"required": ["credits_reserved"]}, {"required": ["credits_used"]}]
    return usage | {"oneOf": one}


def _waiting() -> Json:
    return answered(
        {
            "status": words([evolink.STATES[TaskState.QUEUED]]),
            "progress": said("Percent.", words([0])),
            "queue_place": said("Tasks that are drawn before it; an estimate.", integer(0)),
        }
    )


def _drawing() -> Json:
    return answered(
        {
            "status": words([evolink.STATES[TaskState.RUNNING]]),
            "progress": said("Percent.", integer(1, 99)),
            "step": said("So many steps are done.", integer(0)),
            "steps": said("So many there are.", integer(1)),
            "preview": said("The picture so far, as a data URL.", string(pattern="^data:image/")),
        },
        optional=["preview"],
    )


def _task_page() -> Json:
    line = answered(
        {
            "id": schemas.task_id(),
            "model": words([evolink.MODEL]),
            "type": words([evolink.PICTURE]),
            "status": words(evolink.STATES.values()),
            "progress": integer(0, 100),
            "created_at": said("UTC seconds.", integer(0)),
            "duration": said("Seconds, once it has ended.", {"type": "number", "minimum": 0}),
            "has_results": {"type": "boolean"},
            "result_count": integer(0),
            "has_error": {"type": "boolean"},
            "credits_used": {"type": "number", "minimum": 0},
        },
        optional=["duration"],
    )
    return answered(
        {
            "data": {"type": "array", "items": line, "maxItems": evolink.PAGE_SIZE_MAX},
            "total": said("Tasks on all pages.", integer(0)),
            "page": integer(1, evolink.PAGE_MAX),
            "page_size": integer(1, evolink.PAGE_SIZE_MAX),
        }
    )


def _money() -> Json:
    number = {"type": "number"}
    token = {
        "remaining_credits": number,
        "unlimited_credits": {"type": "boolean"},
        "used_credits": number,
    }
    user = {"remaining_credits": number, "used_credits": number}
    data = {
        "token": said("This key.", answered(token)),
        "user": said("Its account.", answered(user)),
    }
    return answered({"data": answered(data), "message": words([""]), "success": words([True])})


def _refusal() -> Json:
    types = {*evolink.TYPES.values(), "invalid_request_error"}
    properties = {
        "code": words([code for _, code in evolink.ERRORS.values()]),
        "message": string(),
        "type": words(sorted(types)),
        "param": said("The field that cannot be used.", string()),
        "fallback_suggestion": said("What exactly was wrong.", string()),
    }
    return answered({"error": answered(properties, ["param", "fallback_suggestion"])})
