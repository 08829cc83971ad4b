"""zimageturbo.ai's document: an envelope, errors by HTTP status and the same code in the body."""

from dataclasses import replace
from typing import Any, cast

from zing.dialects import zimageturbo
from zing.dialects.base import SIDE_MAX, SIDE_MIN, Dialect
from zing.documents import samples, schemas
from zing.documents.base import BEARER, Api, Body, Operation, operation_id, route
from zing.documents.curl import JSON_TYPE, MULTIPART_TYPE, URLENCODED_TYPE
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
from zing.errors import BadField, BadPrompt, UnknownTask
from zing.task import SEED_MAX, TaskState

LEAST: Json = {"prompt": samples.PROMPT, "aspect_ratio": "4:3"}
FULL: Json = {"prompt": "一座红色的谷仓", "size": "640*480", "seed": 12345}
OPEN, DONE = zimageturbo.STATES[TaskState.QUEUED], zimageturbo.STATES[TaskState.SUCCEEDED]

TEXT = (
    "zimageturbo.ai's API. The HTTP status and the `code` in the body are the same. A task that "
    "was cancelled counts as FAILED. Pictures are JPEG; one counts as 15 credits."
)


def api(dialect: Dialect) -> Api:
    """The API as the dialect speaks it here."""
    return Api(
        dialect=dialect,
        title="zimageturbo.ai: Z Image Turbo",
        text=TEXT,
        chinese="兼容 zimageturbo.ai 的接口：提交生成任务，查询状态。",
        security=BEARER,
        authorization="Bearer $KEY",
        code_at=("code",),
        id_words="task_[0-9][0-9]*",
        schemas=_schemas(cast(Any, dialect).PROMPT_MAX),
        operations=(_submit(dialect), _look(dialect), _look_by_post(dialect)),
    )


def _submit(dialect: Dialect) -> Operation:
    submit = route(dialect, "POST", "/api/generate")
    wait_s, views = submit.wait_s, samples.views(dialect, LEAST)
    samples_of = {"created": "queued"} | ({"waited": "succeeded"} if wait_s else {})
    of_task = {"parameters": {"task_id": "$response.body#/data/task_id"}}
    return Operation(
        method=submit.method,
        path=submit.path,
        name="submit",
        summary="Ask for a picture",
        text=f"{_when(wait_s)} A size goes before the ratio. A prompt that safety refuses makes a "
        "task that has failed.",
        returns="The task's id.",
        reply=_envelope(_waited() if wait_s else _created()),
        answers={name: submit.words(views[state]) for name, state in samples_of.items()},
        refusals=(BadPrompt("prompt is missing: say what to draw.", field="prompt"),),
        bodies={JSON_TYPE: Body(ref("ImageRequest"), {"least": LEAST, "full": FULL})},
        links={"look": {"operationId": operation_id(dialect, "look"), **of_task}},
    )


def _when(wait_s: float) -> str:
    """When the reply to a submit comes."""
    if not wait_s:
        return "The reply comes at once, with the task's id."
    return (
        f"The reply waits up to {wait_s:g} seconds for the picture, unless the request has an "
        "Idempotency-Key."
    )


def _look(dialect: Dialect) -> Operation:
    return Operation(
        method="GET",
        path="/api/status",
        name="look",
        summary="Look at a task",
        text="It may be a task made through another of the APIs.",
        returns="The task as it is.",
        reply=_envelope(ref("Task")),
        answers={
            name: route(dialect, "GET", "/api/status").words(view)
            for name, view in samples.views(dialect, LEAST).items()
        },
        refusals=(
            BadField("task_id is missing: write the id of a task.", field="task_id"),
            UnknownTask(),
        ),
        parameters=(
            {
                "name": "task_id",
                "in": "query",
                "required": True,
                "description": "The task's id.",
                "schema": schemas.task_id(),
                "example": samples.task_id(dialect),
            },
        ),
    )


def _look_by_post(dialect: Dialect) -> Operation:
    look = _look(dialect)
    body, sample = ref("Look"), {"task_id": samples.task_id(dialect)}
    (by_query,) = look.parameters
    text = "The task's id, where the body has none."
    optional = {"name": by_query["name"], "in": "query", "description": text, "schema": string()}
    return replace(
        look,
        method="POST",
        name="look_by_post",
        text="As with GET; the id is in the query, in a form or in a JSON object.",
        parameters=(optional,),
        body_required=False,
        bodies={
            JSON_TYPE: Body(body, {"json": sample}),
            URLENCODED_TYPE: Body(body, {"urlencoded": sample}),
            MULTIPART_TYPE: Body(body, {"multipart": sample}),
        },
    )


def _envelope(data: Json) -> Json:
    return answered({"code": words([200]), "message": words(["success"]), "data": data})


def _schemas(prompt_max: int) -> Json:
    return {
        "ImageRequest": _image_request(prompt_max),
        "Look": asked({"task_id": schemas.task_id()}),
        "Task": _task(),
        "Refusal": _refusal(),
    }


def _image_request(prompt_max: int) -> Json:
    side_text = string(pattern=f"^{schemas.SIDE}$")
    side = {"anyOf": [integer(SIDE_MIN, SIDE_MAX), side_text, {"type": "null"}]}
    seed = {
        "anyOf": [integer(-1, SEED_MAX), string(pattern=schemas.NUMBER), {"type": "null"}],
        "default": -1,
    }
    ratio = {"enum": [*zimageturbo.ASPECT_RATIOS, None], "default": "1:1"}
    properties = {
        "prompt": schemas.prompt(prompt_max),
        "aspect_ratio": ratio,
        "size": or_null(schemas.size("[*x]")),
        "width": said("In pixels; with a height only.", side),
        "height": said("In pixels; with a width only.", side),
        "seed": said("-1 is random.", seed),
    }
    pair = {"width": ["height"], "height": ["width"]}
    return asked(properties, ["prompt"]) | {"dependentRequired": pair}


def _created() -> Json:
    return answered({"task_id": schemas.task_id(), "status": words([OPEN])})


def _waited() -> Json:
    """As `_created`, where the task may have ended before the reply."""
    waited = answered(
        {
            "task_id": schemas.task_id(),
            "status": words(zimageturbo.STATES.values()),
            "images": said("Links to the picture, where there is one.", schemas.links()),
        },
        optional=["images"],
    )
    return waited | only_when("status", [DONE], ["images"])


def _task() -> Json:
    request = answered(
        {
            "prompt": string(),
            "size": string(pattern=r"^[0-9]+\*[0-9]+$"),
            "seed": said("As it was asked for.", string(pattern="^(-1|[0-9]+)$")),
            "aspect_ratio": words(zimageturbo.ASPECT_RATIOS),
        },
        optional=["aspect_ratio"],
    )
    return answered(
        {
            "status": words(zimageturbo.STATES.values()),
            "task_id": schemas.task_id(),
            "request": request,
            "response": said("Links to the picture; they need no key.", schemas.links()),
            "consumed_credits": said("0 where there is no picture.", {"type": "number"}),
            "created_at": said("UTC.", string(pattern=schemas.TIME)),
            "error_message": said("Why there is no picture.", or_null(string())),
        }
    )


def _refusal() -> Json:
    codes = [*zimageturbo.ERRORS.values()]
    return answered({"code": words(codes), "message": string(), "data": {"type": "null"}})
