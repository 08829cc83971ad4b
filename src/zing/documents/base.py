"""What an API's document is made of: its operations, and the OpenAPI 3.1 object that they make.

The replies shown are not written by hand: they are what the dialect itself answers for a sample
task and for each error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zing import __version__
from zing.dialects.base import Answer, Dialect, Route, Use
from zing.documents import curl, samples
from zing.documents.curl import Call
from zing.documents.schemas import Json, words
from zing.errors import (
    BadBody,
    BadContentType,
    BadKey,
    BodyTooLarge,
    IdempotencyConflict,
    IdempotencyInFlight,
    InsufficientCredits,
    Internal,
    KeyCapReached,
    KeyDailyCapReached,
    KeyDenied,
    KeyDisabled,
    KeyEnded,
    ModelDenied,
    QueueFull,
    RateLimited,
    SwitchedOff,
    Unavailable,
    UnknownRoute,
    WrongMethod,
    ZingError,
)

OF_EVERY: tuple[ZingError, ...] = (
    BadKey(),
    KeyEnded(),
    KeyDisabled(),
    KeyDenied(),
    BodyTooLarge(),
    BadBody(),
    RateLimited(retry_after_s=3),
    WrongMethod(),
    Unavailable(retry_after_s=1),
    Internal(),
)
OF_SUBMIT: tuple[ZingError, ...] = (
    ModelDenied(),
    InsufficientCredits(),
    KeyCapReached(),
    KeyDailyCapReached(),
    IdempotencyInFlight(retry_after_s=1),
    IdempotencyConflict(),
    QueueFull(retry_after_s=10),
    SwitchedOff(),
)

HEADERS: Json = {
    "X-Request-Id": {
        "description": "The reply's own name, to quote when you ask about it.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "Retry-After": {
        "description": "Seconds after which it is worth trying again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit": {
        "description": "Where new tasks are counted: how many more are taken now (`r`), and the "
        "seconds until all are again (`t`).",
        "schema": {"type": "string", "pattern": '^"create";r=[0-9]+;t=[0-9]+$'},
    },
    "RateLimit-Policy": {
        "description": "Where new tasks are counted: at most so many (`q`) in so many seconds "
        "(`w`). X-RateLimit-Limit, -Remaining and -Reset say the same.",
        "schema": {"type": "string", "pattern": '^"create";q=[0-9]+;w=[0-9]+$'},
    },
    "Allow": {
        "description": "The methods that the address takes.",
        "schema": {"type": "string"},
    },
    "X-Zing-Prompt-Tokens": {
        "description": "How many of the prompt's tokens the model saw, as SEEN/ALL, once drawn.",
        "schema": {"type": "string", "pattern": "^[0-9]+/[0-9]+$"},
    },
    "X-Zing-Prompt-Words": {
        "description": "The words of the prompt that the model knows, percent-encoded UTF-8 with "
        "commas between, once drawn; empty where it knows none, absent where it has no list.",
        "schema": {"type": "string", "pattern": "^[!-~]{0,1000}$"},
    },
    "X-Zing-Prompt-Extend": {
        "description": "What became of extending the prompt, where that was asked for.",
        "schema": {"enum": ["off", "done", "failed"]},
    },
    "Preference-Applied": {
        "description": "The wait that was asked for, where one was; 60 seconds at most.",
        "schema": {"type": "string", "pattern": "^wait=[0-9]+$"},
    },
    "Idempotency-Replayed": {
        "description": "The answer is that of an earlier request with the same Idempotency-Key.",
        "schema": {"enum": ["true"]},
    },
}
HEADERS_OF: dict[Use, tuple[str, ...]] = {
    Use.SUBMIT: (
        "Idempotency-Replayed",
        "X-Zing-Prompt-Extend",
        "RateLimit",
        "RateLimit-Policy",
    ),
    Use.LOOK: ("X-Zing-Prompt-Tokens", "X-Zing-Prompt-Words", "Preference-Applied"),
}
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A text of your choice without spaces. However often the same request is sent "
    "with it, there is one task and one charge; every repetition gets the first answer.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
PREFER: Json = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=20`: the reply comes when the task has ended, or after 20 seconds as the "
    "task is then (RFC 7240). What is no such wait is ignored.",
    "schema": {"type": "string"},
}
LAST_EVENT_ID: Json = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id` of the last event that you have: only what came after it is sent. "
    "What is no such id is ignored.",
    "schema": {"type": "string"},
}
PARAMETERS: dict[str, Json] = {
    "IdempotencyKey": IDEMPOTENCY_KEY,
    "Prefer": PREFER,
    "LastEventId": LAST_EVENT_ID,
}
PARAMETERS_OF: dict[Use, tuple[str, ...]] = {
    Use.SUBMIT: ("IdempotencyKey",),
    Use.LOOK: ("Prefer",),
    Use.FOLLOW: ("LastEventId",),
}
BEARER: Json = {
    "type": "http",
    "scheme": "bearer",
    "description": "Authorization: Bearer KEY; keys come from the operator of this server.",
}


@dataclass(frozen=True)
class Body:
    """A body of one Content-Type; a request's examples can be sent as they are."""

    schema: Json
    examples: Mapping[str, Any]

    def told(self) -> Json:
        """OpenAPI's media type object."""
        examples = {name: {"value": value} for name, value in self.examples.items()}
        return {"schema": self.schema, "examples": examples}


@dataclass(frozen=True)
class Operation:
    """One address, as a reader needs it.

    path      as the dialect's ROUTES have it
    returns   what a reply that is no refusal holds, in a sentence
    reply     the schema of such a reply; of a stream, that of each event's `data`
    answers   samples of such replies, by name
    refusals  the errors that it may answer with, beside those of its use and of every address
    bodies    by Content-Type; none where the request has no body
    links     OpenAPI's, of a reply that is no refusal
    empty     by HTTP status, what a reply without a body says
    """

    method: str
    path: str
    name: str
    summary: str
    returns: str
    reply: Json
    answers: Mapping[str, Answer]
    text: str = ""
    refusals: Sequence[ZingError] = ()
    parameters: Sequence[Json] = ()
    bodies: Mapping[str, Body] = field(default_factory=dict)
    body_required: bool = True
    links: Json = field(default_factory=dict)
    callbacks: Json = field(default_factory=dict)
    media_type: str = curl.JSON_TYPE
    empty: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Api:
    """One dialect, as a reader needs it.

    chinese        what it is, in a line of Chinese
    security       OpenAPI's scheme for the key, and how a shell writes the header
    code_at        where in its body a refusal has its code
    id_words       a regular expression that finds a task's id in a reply
    """

    dialect: Dialect
    title: str
    text: str
    chinese: str
    security: Json
    authorization: str
    code_at: tuple[str, ...]
    id_words: str
    schemas: Json
    operations: Sequence[Operation]

    def route(self, operation: Operation) -> Route:
        """The dialect's route that an operation describes."""
        wanted = operation.method, operation.path
        return next(each for each in self.dialect.ROUTES if (each.method, each.path) == wanted)

    def of_use(self, use: Use) -> Operation:
        """The first operation of a use."""
        return next(each for each in self.operations if self.route(each).use is use)

    def errors(self, operation: Operation) -> list[ZingError]:
        """All that an operation may be refused for."""
        submits = OF_SUBMIT if self.route(operation).use is Use.SUBMIT else ()
        types = (BadContentType(),) if operation.bodies else ()
        return [*operation.refusals, *types, *submits, *OF_EVERY]


def route(dialect: Dialect, method: str, path: str) -> Route:
    """A dialect's route."""
    return next(each for each in dialect.ROUTES if (each.method, each.path) == (method, path))


def document(api: Api, origin: str) -> Json:
    """The OpenAPI 3.1 document of an API that is served at `origin`."""
    paths: Json = {}
    for each in api.operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(api, each)
    info = {"title": api.title, "description": api.text, "version": __version__}
    return {
        "openapi": "3.1.0",
        "info": info | {"x-chinese": api.chinese},
        "servers": [{"url": origin}],
        "tags": [{"name": api.dialect.NAME, "description": api.title}],
        "paths": paths,
        "components": {
            "schemas": api.schemas,
            "responses": {"UnknownRoute": _refusal(api, [UnknownRoute()])},
            "headers": HEADERS,
            "parameters": PARAMETERS,
            "securitySchemes": {"key": api.security},
        },
        "x-errors": _error_table(api),
    }


def _operation(api: Api, operation: Operation) -> Json:
    names = PARAMETERS_OF.get(api.route(operation).use, ())
    headers = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    made: Json = {
        "operationId": operation_id(api.dialect, operation.name),
        "tags": [api.dialect.NAME],
        "summary": operation.summary,
        "description": operation.text,
        "security": [{"key": []}],
        "parameters": [*operation.parameters, *headers],
        "responses": _responses(api, operation),
        "x-codeSamples": _code_samples(api, operation),
    }
    if operation.bodies:
        content = {kind: body.told() for kind, body in operation.bodies.items()}
        made["requestBody"] = {"required": operation.body_required, "content": content}
    if operation.callbacks:
        made["callbacks"] = operation.callbacks
    return made


def operation_id(dialect: Dialect, name: str) -> str:
    """An operation's id, of its own among all dialects."""
    return f"{dialect.NAME}_{name}"


def _responses(api: Api, operation: Operation) -> Json:
    """By HTTP status: what succeeds, what is refused, or in one status either."""
    refused: dict[int, list[ZingError]] = {}
    for error in api.errors(operation):
        refused.setdefault(api.dialect.refused(error).status, []).append(error)
    responses = {status: _refusal(api, errors) for status, errors in refused.items()}
    responses |= {status: _headed(text, ()) for status, text in operation.empty.items()}
    for status in {answer.status for answer in operation.answers.values()}:
        done = _done(api, operation, status)
        responses[status] = _either(done, responses[status]) if status in responses else done
    return {str(status): responses[status] for status in sorted(responses)}


def _done(api: Api, operation: Operation, status: int) -> Json:
    examples = {
        name: {"value": answer.body}
        for name, answer in operation.answers.items()
        if answer.status == status
    }
    names = HEADERS_OF.get(api.route(operation).use, ())
    response = _response(operation.returns, operation.reply, examples, names, operation.media_type)
    return response | ({"links": operation.links} if operation.links else {})


def _refusal(api: Api, errors: Sequence[ZingError]) -> Json:
    """The response of these errors, which share an HTTP status; only their codes may come."""
    answers = [api.dialect.refused(error) for error in errors]
    narrow: Json = words([code(api, answer) for answer in answers])
    for member in reversed(api.code_at):
        narrow = {"properties": {member: narrow}}
    examples = {
        type(error).__name__: {"summary": str(error), "value": answer.body}
        for error, answer in zip(errors, answers, strict=True)
    }
    names = {name for answer in answers for name in answer.headers}
    names |= {"Allow" for error in errors if isinstance(error, WrongMethod)}
    schema = {"allOf": [{"$ref": "#/components/schemas/Refusal"}, narrow]}
    return _response(" ".join(map(str, errors)), schema, examples, sorted(names))


def code(api: Api, answer: Answer) -> Any:
    """The code in a refusal's body."""
    found: Any = answer.body
    for member in api.code_at:
        found = found[member]
    return found


def _response(
    text: str,
    schema: Json,
    examples: Json,
    headers: Sequence[str],
    media_type: str = curl.JSON_TYPE,
) -> Json:
    content = {media_type: {"schema": schema, "examples": examples}}
    return _headed(text, headers) | {"content": content}


def _headed(text: str, headers: Sequence[str]) -> Json:
    """A response without a body."""
    names = ["X-Request-Id", *headers]
    return {
        "description": text,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }


def _either(done: Json, refusal: Json) -> Json:
    """One response for what shares an HTTP status; the code in the body tells which."""
    first, second = (each["content"][curl.JSON_TYPE] for each in (done, refusal))
    content = {
        "schema": {"oneOf": [first["schema"], second["schema"]]},
        "examples": first["examples"] | second["examples"],
    }
    return done | {
        "description": f"{done['description']} Or a refusal, told by its code.",
        "headers": done["headers"] | refusal["headers"],
        "content": {curl.JSON_TYPE: content},
    }


def _error_table(api: Api) -> list[Json]:
    """What an API refuses requests with, each error once, the most particular first."""
    errors: dict[type[ZingError], ZingError] = {}
    for operation in api.operations:
        errors = {type(each): each for each in api.errors(operation)} | errors
    errors[UnknownRoute] = UnknownRoute()
    rows = [(api.dialect.refused(error), error) for error in errors.values()]
    table = [
        {"status": answer.status, "code": code(api, answer), "meaning": str(error)}
        for answer, error in rows
    ]
    return sorted(table, key=lambda row: (row["status"], str(row["code"])))


def _code_samples(api: Api, operation: Operation) -> list[Json]:
    known = {samples.task_id(api.dialect): "TASK", samples.link(api.dialect): "LINK"}
    found = []
    for name, call in _calls(operation).items():
        line = curl.line(call, api.authorization, known, operation.media_type)
        source = "\n".join([*_before(api, line), line])
        found.append({"lang": "Shell", "label": name, "source": source})
    return found


def _calls(operation: Operation) -> dict[str, Call]:
    """The requests that an operation's examples make, by name."""
    path, query = operation.path, {}
    for each in operation.parameters:
        if "example" in each and each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", each["example"])
        elif "example" in each:
            query[each["name"]] = str(each["example"])
    if not operation.bodies:
        return {operation.name: Call(operation.method, path, query, "", None)}
    return {
        name: Call(operation.method, path, query, kind, body)
        for kind, each in operation.bodies.items()
        for name, body in each.examples.items()
    }


def _before(api: Api, line: str) -> list[str]:
    """The commands that give the variables in a line their values."""
    if "$TASK" not in line and "$LINK" not in line:
        return []
    known = {samples.task_id(api.dialect): "TASK"}
    submit, look = (next(iter(_calls(api.of_use(use)).values())) for use in (Use.SUBMIT, Use.LOOK))
    made = curl.line(submit, api.authorization, known)
    lines = [f"TASK=$({made} \\\n  | grep -o '{api.id_words}')"]
    if "$LINK" in line:
        seen = curl.line(look, api.authorization, known)
        picture = f'http[^"\\]*{api.dialect.SUFFIX}'
        lines.append(f"until LINK=$({seen} \\\n  | grep -o '{picture}'); do sleep 1; done")
    return lines
