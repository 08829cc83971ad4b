"""kie.ai's document: an envelope whose `code` tells the outcome, mostly in HTTP 200."""

from zing.dialects import kie
from zing.dialects.base import Dialect
from zing.documents import callbacks, samples, schemas
from zing.documents.base import BEARER, Api, Body, Operation, operation_id, route
from zing.documents.curl import JSON_TYPE
from zing.documents.schemas import (
    Json,
    answered,
    asked,
    integer,
    or_null,
    ref,
    said,
    string,
    words,
)
from zing.errors import BadField, BadPrompt, UnknownTask
from zing.task import Credits, TaskState

LEAST: Json = {"model": kie.MODELS[0], "input": {"prompt": samples.PROMPT}}
FULL: Json = {
    "model": kie.MODELS[0],
    "input": {
        "prompt": "一座红色的谷仓",
        "aspect_ratio": "16:9",
        "nsfw_checker": False,
        "seed": 12345,
    },
}
SIGNATURE: dict[str, str] = {
    "X-Webhook-Timestamp": "When it was sent, UTC seconds.",
    "X-Webhook-Signature": "The base64 of the HMAC-SHA256 over TASKID.TIMESTAMP with the "
    "account's secret.",
}

TEXT = (
    "kie.ai's API for Z-Image. The `code` in the body tells the outcome; the HTTP status is 200 "
    "but for unknown addresses, wrong methods and rate limits (the operator may set "
    "ZING_KIE_HTTP=mirror, and then it is the code). `param` and `resultJson` are JSON inside "
    "texts. Pictures are PNG; one counts as 1 credit."
)


def api(dialect: Dialect) -> Api:
    """The API as the dialect speaks it here."""
    return Api(
        dialect=dialect,
        title="kie.ai: Z-Image",
        text=TEXT,
        chinese="兼容 kie.ai 的 Z-Image 接口：创建任务，查询记录，接收回调。",
        security=BEARER,
        authorization="Bearer $KEY",
        code_at=("code",),
        id_words="task_z-image_[0-9]*",
        schemas=_schemas(),
        operations=(_submit(dialect), _look(dialect), _credits(dialect), _link(dialect)),
    )


def _submit(dialect: Dialect) -> Operation:
    method, path = "POST", "/api/v1/jobs/createTask"
    view = samples.views(dialect, LEAST)["queued"]
    return Operation(
        method=method,
        path=path,
        name="submit",
        summary="Ask for a picture",
        text="The reply comes at once, with the task's id. A prompt that safety refuses makes a "
        "task that has failed.",
        returns="The task's id.",
        reply=_envelope(answered({"taskId": schemas.task_id()})),
        answers={"created": route(dialect, method, path).words(view)},
        refusals=(BadPrompt("input.prompt is missing: say what to draw.", field="input.prompt"),),
        bodies={JSON_TYPE: Body(ref("CreateTask"), {"least": LEAST, "full": FULL})},
        links={
            "look": {
                "operationId": operation_id(dialect, "look"),
                "parameters": {"taskId": "$response.body#/data/taskId"},
            }
        },
        callbacks=_callback(dialect),
    )


def _callback(dialect: Dialect) -> Json:
    views = samples.ended(dialect, LEAST)
    told = {name: dialect.told(view, 99 * view.price) for name, view in views.items()}
    text = "The code is 200 where there is a picture and 501 where there is none."
    headers = callbacks.HEADERS | SIGNATURE
    return callbacks.ended("callBackUrl", Body(ref("Ended"), told), headers, text)


def _look(dialect: Dialect) -> Operation:
    method, path = "GET", "/api/v1/jobs/recordInfo"
    words_of = route(dialect, method, path).words
    return Operation(
        method=method,
        path=path,
        name="look",
        summary="Look at a task",
        text="Once in two or three seconds is often enough.",
        returns="The task as it is.",
        reply=_envelope(ref("Record"), message=True),
        answers={name: words_of(view) for name, view in samples.views(dialect, LEAST).items()},
        refusals=(
            BadField("taskId is missing: write the id of a task.", field="taskId"),
            UnknownTask(),
        ),
        parameters=(
            {
                "name": "taskId",
                "in": "query",
                "required": True,
                "description": "The task's id; it may be of a task made through another of the "
                "APIs.",
                "schema": schemas.task_id(),
                "example": samples.task_id(dialect),
            },
        ),
    )


def _credits(dialect: Dialect) -> Operation:
    method, path = "GET", "/api/v1/chat/credit"
    money = Credits(available=99 * samples.COST, used=0, used_by_key=0, price=samples.COST)
    return Operation(
        method=method,
        path=path,
        name="credits",
        summary="See the balance",
        returns="How many pictures may be asked for, in whole ones.",
        reply=_envelope(integer()),
        answers={"credits": route(dialect, method, path).words(money)},
    )


def _link(dialect: Dialect) -> Operation:
    method, path = "POST", "/api/v1/common/download-url"
    url = samples.link(dialect)
    body = asked({"url": said("The link to a picture.", string(format="uri"))}, ["url"])
    return Operation(
        method=method,
        path=path,
        name="link",
        summary="Get a fresh link to a picture",
        text="The URL must be that of one of the account's pictures.",
        returns="The link.",
        reply=_envelope(string(format="uri")),
        answers={"link": route(dialect, method, path).words(url)},
        refusals=(BadField("url is missing: write the URL of a picture.", field="url"),),
        bodies={JSON_TYPE: Body(body, {"link": {"url": url}})},
    )


def _envelope(data: Json, *, message: bool = False) -> Json:
    success = words(["success"])
    texts = {"msg": success, "message": success} if message else {"msg": success}
    return answered({"code": words([200]), **texts, "data": data})


def _schemas() -> Json:
    return {
        "CreateTask": _create_task(),
        "Record": _record(),
        "Ended": _ended(),
        "Refusal": _refusal(),
    }


def _create_task() -> Json:
    ratio = {"enum": [*kie.ASPECT_RATIOS, "auto", None], "default": "1:1"}
    inner = asked(
        {
            "prompt": schemas.prompt(kie.PROMPT_MAX),
            "aspect_ratio": said("auto is 1:1.", ratio),
            "nsfw_checker": said(
                "The strict safety level; the basic one holds either way.",
                {"type": ["boolean", "null"], "default": False},
            ),
            "seed": said("A whole number from 1 to 2147483647; anything else is random.", {}),
        },
        ["prompt"],
    )
    properties = {"model": words(kie.MODELS), "callBackUrl": schemas.callback(), "input": inner}
    return asked(properties, ["model", "input"])


def _times() -> Json:
    time = integer(0)
    return {
        "costTime": said("Seconds that it took.", or_null(time)),
        "completeTime": said("When it ended, UTC milliseconds.", or_null(time)),
        "createTime": said("When it was made, UTC milliseconds.", time),
        "updateTime": said("When it changed last, UTC milliseconds.", time),
    }


def _record() -> Json:
    json_text = {"contentMediaType": JSON_TYPE}
    return answered(
        {
            "taskId": schemas.task_id(),
            "model": words(kie.MODELS[:1]),
            "state": words([*kie.STATES.values(), kie.QUEUING]),
            "param": said("The request as it came.", string(**json_text)),
            "resultJson": said('{"resultUrls":[…]}; empty before there is one.', string()),
            "failCode": said(
                "Why there is no picture; empty where nothing failed.",
                words(["", *kie.TASK_ERRORS.values()]),
            ),
            "failMsg": string(),
            **_times(),
            "progress": said("Percent.", integer(0, 100)),
            "creditsConsumed": said("Once it has ended.", {"type": ["number", "null"]}),
        }
    )


def _ended() -> Json:
    states = [kie.STATES[TaskState.SUCCEEDED], kie.STATES[TaskState.FAILED]]
    data = answered(
        {
            "taskId": schemas.task_id(),
            "task_id": said("The same.", schemas.task_id()),
            "model": words(kie.MODELS[:1]),
            "state": words(states),
            "param": string(contentMediaType=JSON_TYPE),
            "resultJson": string(contentMediaType=JSON_TYPE),
            "failCode": words([*kie.TASK_ERRORS.values(), None]),
            "failMsg": or_null(string()),
            "consumeCredits": {"type": "number"},
            "remainedCredits": integer(),
            **_times(),
        },
        optional=["resultJson"],
    )
    return answered({"code": words([200, 501]), "msg": string(), "data": data})


def _refusal() -> Json:
    codes = [code for code, _ in kie.ERRORS.values()]
    return answered(
        {
            "code": words([kie.BAD_TASK_ID, *codes]),
            "msg": string(),
            "message": said("The same.", string()),
            "data": {"type": "null"},
        }
    )
