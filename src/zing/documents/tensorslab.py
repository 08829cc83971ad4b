"""TensorsLab's document: form fields in, an envelope with the codes 1000, 9999 and 9000 out."""

from zing.dialects import tensorslab
from zing.dialects.base import Dialect
from zing.documents import samples, schemas
from zing.documents.base import Api, Body, Operation, operation_id, route
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
from zing.task import PROMPT_MAX, SEED_MAX, TaskState

LEAST: Json = {"prompt": samples.PROMPT}
FULL: Json = {
    "prompt": "一座红色的谷仓",
    "resolution": "1280*720",
    "seed": "12345",
    "prompt_extend": "0",
}
KEY: Json = {
    "type": "apiKey",
    "in": "header",
    "name": "Authorization",
    "description": "The key alone, or Bearer and the key.",
}
DONE, FAILED = tensorslab.STATES[TaskState.SUCCEEDED], tensorslab.STATES[TaskState.FAILED]

TEXT = (
    "TensorsLab's API for Z-Image. The `code` in the body tells the outcome: 1000 done, 9000 not "
    "enough credits, 9999 anything else that was refused. A task that failed is still code 1000; "
    "its `image_status` tells. Pictures are PNG."
)


def api(dialect: Dialect) -> Api:
    """The API as the dialect speaks it here."""
    return Api(
        dialect=dialect,
        title="TensorsLab: Z-Image",
        text=TEXT,
        chinese="兼容 TensorsLab 的 Z-Image 接口：表单提交，按任务 ID 查询和删除。",
        security=KEY,
        authorization="$KEY",
        code_at=("code",),
        id_words="zimg_[0-9a-f]*",
        schemas=_schemas(),
        operations=(_submit(dialect), _look(dialect), _delete(dialect)),
    )


def _submit(dialect: Dialect) -> Operation:
    method, path = "POST", "/v1/images/zimage"
    view = samples.views(dialect, LEAST)["queued"]
    typed = FULL | {"seed": 12345, "prompt_extend": False}
    return Operation(
        method=method,
        path=path,
        name="submit",
        summary="Ask for a picture",
        text="The reply comes at once, with the task's id. A prompt that safety refuses makes a "
        "task that has failed.",
        returns="The task's id.",
        reply=_envelope("OK", answered({"taskid": schemas.task_id()})),
        answers={"created": route(dialect, method, path).words(view)},
        refusals=(BadPrompt("prompt is missing: say what to draw.", field="prompt"),),
        bodies={
            MULTIPART_TYPE: Body(ref("ImageForm"), {"least": LEAST, "full": FULL}),
            URLENCODED_TYPE: Body(ref("ImageForm"), {"urlencoded": FULL}),
            JSON_TYPE: Body(ref("ImageRequest"), {"json": typed}),
        },
        links={
            "look": {
                "operationId": operation_id(dialect, "look"),
                "requestBody": {"taskid": "$response.body#/data/taskid"},
            },
            "delete": {
                "operationId": operation_id(dialect, "delete"),
                "requestBody": {"taskids": ["$response.body#/data/taskid"]},
            },
        },
    )


def _look(dialect: Dialect) -> Operation:
    method, path = "POST", "/v1/images/infobytaskid"
    words_of = route(dialect, method, path).words
    body = asked({"taskid": schemas.task_id()}, ["taskid"])
    return Operation(
        method=method,
        path=path,
        name="look",
        summary="Look at a task",
        text="It may be a task made through another of the APIs.",
        returns="The task as it is.",
        reply=_envelope("OK", ref("Task")),
        answers={name: words_of(view) for name, view in samples.views(dialect, LEAST).items()},
        refusals=(
            BadField("taskid is missing: write the id of a task.", field="taskid"),
            UnknownTask(),
        ),
        bodies={JSON_TYPE: Body(body, {"look": {"taskid": samples.task_id(dialect)}})},
    )


def _delete(dialect: Dialect) -> Operation:
    method, path = "POST", "/v1/images/deleteimagestask"
    view = samples.views(dialect, LEAST)["succeeded"]
    ids = {"type": "array", "items": schemas.task_id(), "minItems": 1}
    body = asked({"taskids": ids | {"maxItems": tensorslab.IDS_MAX}}, ["taskids"])
    return Operation(
        method=method,
        path=path,
        name="delete",
        summary="Delete tasks",
        text="Cancels those that are open and removes the pictures of those that have ended. Where "
        "one of the ids is none of the account's, nothing is deleted.",
        returns="That it is done.",
        reply=_envelope("Successfully", answered({"status": words(["Success"])})),
        answers={"deleted": route(dialect, method, path).words(view)},
        refusals=(
            BadField("taskids must be a list of 1 to 100 task ids.", field="taskids"),
            UnknownTask(),
        ),
        bodies={JSON_TYPE: Body(body, {"delete": {"taskids": [samples.task_id(dialect)]}})},
    )


def _envelope(message: str, data: Json) -> Json:
    code, msg = words([tensorslab.DONE]), words([message])
    return answered({"code": code, "msg": msg, "data": data})


def _schemas() -> Json:
    return {
        "ImageForm": _image_form(),
        "ImageRequest": _image_request(),
        "Task": _task(),
        "Refusal": _refusal(),
    }


def _resolution() -> Json:
    names = "|".join(tensorslab.RESOLUTIONS).replace("K", "[kK]")
    text = (
        f"{', '.join(tensorslab.RESOLUTIONS)}, or WIDTH*HEIGHT in pixels from 376; what is larger "
        "than 1536 is scaled down to fit."
    )
    side = schemas.LONG_SIDE
    return said(text, string(pattern=f"^({names}|{side}[*xX]{side})?$", default="1024*1024"))


def _image_form() -> Json:
    return asked(
        {
            "prompt": schemas.prompt(PROMPT_MAX),
            "resolution": _resolution(),
            "seed": said("Random where it is -1, 0 or not there.", integer(-1, SEED_MAX)),
            "prompt_extend": said("1 asks for the prompt to be extended.", words(["0", "1"])),
        },
        ["prompt"],
    )


def _no_pictures() -> Json:
    """What clients of other models send."""
    nothing = said("Not supported: a picture comes from text.", words(["", None]))
    return {"sourceImage": nothing, "imageUrl": nothing}


def _image_request() -> Json:
    seed = {
        "anyOf": [
            integer(-1, SEED_MAX),
            string(pattern=schemas.NUMBER_OR_NOTHING),
            {"type": "null"},
        ]
    }
    switch = {"enum": ["0", "1", "", 0, 1, True, False, None]}
    return asked(
        {
            "prompt": schemas.prompt(PROMPT_MAX),
            "resolution": or_null(_resolution()),
            "seed": said("Random where it is -1, 0, empty or not there.", seed),
            "prompt_extend": said("1 asks for the prompt to be extended.", switch),
            **_no_pictures(),
        },
        ["prompt"],
    )


def _task() -> Json:
    task = answered(
        {
            "taskid": schemas.task_id(),
            "category": words(["zimage"]),
            "starttime": said("When it was made, UTC.", string(pattern=schemas.TIME)),
            "url": said("Links to the picture; they need no key.", schemas.links()),
            "image_status": said(
                "1 queued, 2 drawn now, 3 completed, 4 failed or cancelled.",
                words(tensorslab.STATES.values()),
            ),
            "width": integer(1),
            "height": integer(1),
            "prompt": string(),
            "negative": words([""]),
            "actual_prompt": said("The extended prompt, where it was extended.", string()),
            "origseed": said("The seed that was drawn with.", schemas.seed(0)),
            "error_message": said("Why there is no picture.", string()),
        },
        optional=["actual_prompt", "origseed", "error_message"],
    )
    return task | {
        "allOf": [
            only_when("image_status", [DONE], ["origseed"]),
            only_when("image_status", [FAILED], ["error_message"]),
        ]
    }


def _refusal() -> Json:
    codes = [code for code, _ in tensorslab.ERRORS.values()]
    return answered({"code": words(codes), "msg": string()})
