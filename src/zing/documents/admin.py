"""The admin API's document: made from its table of operations, with samples of what it answers."""

from collections.abc import Sequence
from typing import Any

from zing import __version__, facts, keys
from zing.accounts import Account
from zing.admin_api import ERRORS, NAME, OPERATIONS, Operation, refusal
from zing.audit import Report
from zing.dialects import evolink
from zing.documents import curl, samples
from zing.documents.base import BEARER, HEADERS, OF_EVERY
from zing.documents.curl import JSON_TYPE, Call
from zing.documents.schemas import Json, answered, integer, or_null, ref, said, string, words
from zing.errors import BadContentType, BadField, UnknownRoute, ZingError
from zing.fields import Fields
from zing.keys import Key, Scope
from zing.ledger import Balance, Entry, Kind
from zing.limits import Rules
from zing.store import audit_log
from zing.store.series import SERIES
from zing.store.switches import MAINTENANCE, Switch
from zing.task import Attempt, Delivery, DeliveryState, TaskState

TITLE = "zing: the admin API"
TEXT = (
    "What the operator does and sees, for keys with the scope admin: `zing keys create NAME "
    "--scopes admin` makes one. Lists come by pages, the newest first: `next` of one page is "
    "`after` of the next one. Times are UTC seconds; money is in credits and in whole "
    "micro-credits. Every change is in the audit log."
)
CHINESE = "管理接口：账户、密钥、账本、任务、回调、工作进程、限制与审计日志。"
AT = samples.CREATED_AT
OF_ALL: tuple[ZingError, ...] = (
    *OF_EVERY,
    BadContentType(),
    BadField("There is no field 'x' here."),
)
# What stands in the path of an example, and the variable that a shell has it in.
PLACES = {
    "account": ("acct_0123456789ab", "ACCOUNT"),
    "key": ("k3v9x0ab", "KEY_ID"),
    "task": (samples.task_id(evolink), "TASK"),
    "callback": ("msg_0123456789abcdef01234567", "CALLBACK"),
    "dialect": ("kie", "DIALECT"),
}
ACCOUNT, KEY, TASK, CALLBACK, _ = (sample for sample, _ in PLACES.values())


def document(origin: str) -> Json:
    """The OpenAPI 3.1 document of the admin API that is served at `origin`."""
    paths: Json = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    info = {"title": TITLE, "description": TEXT, "version": __version__}
    return {
        "openapi": "3.1.0",
        "info": info | {"x-chinese": CHINESE},
        "servers": [{"url": origin}],
        "tags": [{"name": NAME, "description": TITLE}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS | {"Refusal": _refusal()},
            "headers": {name: HEADERS[name] for name in ("X-Request-Id", "Retry-After", "Allow")},
            "parameters": {},
            "securitySchemes": {"key": BEARER},
        },
        "x-errors": _errors(),
    }


def _operation(operation: Operation) -> Json:
    places = [each for each in PLACES if f"{{{each}}}" in operation.path]
    made: Json = {
        "operationId": f"{NAME}_{operation.name}",
        "tags": [NAME],
        "summary": operation.summary,
        "description": operation.text,
        "security": [{"key": []}],
        "parameters": [*map(_place, places), *_query(operation.query)],
        "responses": _responses(operation),
        "x-codeSamples": [{"lang": "Shell", "label": operation.name, "source": _curl(operation)}],
    }
    if operation.body is not None:
        required = any(each.required for each in operation.body.values())
        content = {
            "schema": _body(operation.body),
            "examples": {"usual": {"value": _sent(operation)}},
        }
        made["requestBody"] = {"required": required, "content": {JSON_TYPE: content}}
    return made


def _place(name: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": "Its name." if name == "dialect" else "Its id.",
        "schema": string(pattern="^[A-Za-z0-9_.:-]{1,128}$"),
        "example": PLACES[name][0],
    }


def _query(query: Fields) -> list[Json]:
    return [
        {
            "name": name,
            "in": "query",
            "required": each.required,
            "description": each.text,
            "schema": each.kind.schema,
            **({} if each.sample is None else {"example": each.sample}),
        }
        for name, each in query.items()
    ]


def _body(body: Fields) -> Json:
    """A body: these members and no other."""
    members = {
        name: said(each.text, or_null(each.kind.schema) if each.empty else each.kind.schema)
        for name, each in body.items()
    }
    needed = [name for name, each in body.items() if each.required]
    return {
        "type": "object",
        "properties": members,
        "required": needed,
        "additionalProperties": False,
    }


def _sent(operation: Operation) -> Json:
    body = operation.body or {}
    return {name: each.sample for name, each in body.items() if each.sample is not None}


def _curl(operation: Operation) -> str:
    path = operation.path
    for name, (_, variable) in PLACES.items():
        path = path.replace(f"{{{name}}}", f"${variable}")
    query = {
        name: str(each.sample) for name, each in operation.query.items() if each.sample is not None
    }
    body = _sent(operation) or None
    call = Call(operation.method, path, query, JSON_TYPE if body else "", body)
    return curl.line(call, "Bearer $KEY", {})


def _responses(operation: Operation) -> Json:
    """By HTTP status, what succeeds and what is refused."""
    by_status: dict[int, list[ZingError]] = {}
    for error in _refusals(operation):
        by_status.setdefault(refusal(error)[0], []).append(error)
    responses = {status: _refused(errors) for status, errors in by_status.items()}
    responses[operation.status] = _done(operation)
    return {str(status): responses[status] for status in sorted(responses)}


def _refusals(operation: Operation) -> Sequence[ZingError]:
    nowhere = (UnknownRoute(),) if "{dialect}" in operation.path else ()
    return (*operation.refusals, *nowhere, *OF_ALL)


def _done(operation: Operation) -> Json:
    name = operation.reply.removesuffix("[]")
    schema: Json = ref(name)
    value: Json = SAMPLES[name]
    if operation.reply != name:
        schema = answered({"data": {"type": "array", "items": ref(name)}, "next": _next()})
        value = {"data": [value], "next": None}
    content: Json = {JSON_TYPE: {"schema": schema, "examples": {"usual": {"value": value}}}}
    if "format" in operation.query:
        content["text/csv"] = {"schema": string(), "examples": {}}
    return _headed(f"{operation.summary}: done.", ()) | {"content": content}


def _next() -> Json:
    return said("Where the next page begins; null where there is none.", or_null(string()))


def _refused(errors: Sequence[ZingError]) -> Json:
    codes = [refusal(error)[1]["error"]["code"] for error in errors]
    narrow = {"properties": {"error": {"properties": {"code": words(codes)}}}}
    examples = {
        type(error).__name__: {"summary": str(error), "value": refusal(error)[1]}
        for error in errors
    }
    names = {"Retry-After" for error in errors if error.retry_after_s}
    names |= {"Allow" for error in errors if refusal(error)[0] == 405}
    content = {"schema": {"allOf": [ref("Refusal"), narrow]}, "examples": examples}
    told = _headed(" ".join(dict.fromkeys(map(str, errors))), sorted(names))
    return told | {"content": {JSON_TYPE: content}}


def _headed(text: str, headers: Sequence[str]) -> Json:
    names = ["X-Request-Id", *headers]
    return {
        "description": text,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }


def _refusal() -> Json:
    codes = words(code for _, code in ERRORS.values())
    error = answered({"code": codes, "message": said("What happened, to be read.", string())})
    return answered({"error": error})


def _errors() -> list[Json]:
    """Each refusal once."""
    found = {}
    for operation in OPERATIONS:
        for error in _refusals(operation):
            status, body = refusal(error)
            row = {"status": status, "code": body["error"]["code"], "meaning": str(error)}
            found[type(error)] = row
    return sorted(found.values(), key=lambda row: (row["status"], row["code"]))


# What it answers with


def _money(name: str, text: str) -> Json:
    """An amount, in credits and in micro-credits."""
    micro = said("The same in micro-credits.", integer())
    return {name: said(text, {"type": "number"}), f"{name}_micro": micro}


_TIME: Json = {"type": "number"}
_NO_TIME = or_null(_TIME)
_NAMES: Json = {"type": "array", "items": string()}
_COUNT, _FLAG = integer(0), {"type": "boolean"}
_STATES = words(str(each) for each in TaskState)

_KEY: Json = {
    "id": string(),
    "name": string(),
    "account": string(),
    "state": words(["active", "expired", "revoked", "disabled"]),
    "created_at": _TIME,
    "expires_at": _NO_TIME,
    "revoked_at": _NO_TIME,
    "disabled_at": _NO_TIME,
    "last_used_at": said("When it last made a task.", _NO_TIME),
    "scopes": {"type": "array", "items": words(str(each) for each in Scope)},
    "dialects": said("Empty: all.", _NAMES),
    "models": said("Empty: all.", _NAMES),
    "rate": said("How often it may create, such as 20/10.", or_null(string())),
    "cap": said("Credits that it may spend in all.", or_null({"type": "number"})),
    "daily_cap": said("Credits that it may spend on one day.", or_null({"type": "number"})),
    "spent": said("Credits that its tasks were charged or hold.", {"type": "number"}),
    "spent_today": said("What its tasks of this day cost.", {"type": "number"}),
}
_TASK: Json = {
    "id": string(),
    "account": string(),
    "dialect": said("The API that it came by.", string()),
    "state": _STATES,
    "prompt": string(),
    "extended": or_null(string()),
    "size": string(),
    "seed": integer(),
    "credits": {"type": "number"},
    "attempt": _COUNT,
    "error": string(),
    "error_message": string(),
    "created_at": _TIME,
    "started_at": _NO_TIME,
    "ended_at": _NO_TIME,
    "result": {"type": "object"},
}
_CALLBACK: Json = {
    "id": string(),
    "task": string(),
    "account": string(),
    "dialect": string(),
    "url": said("Without its query, which may hold a secret.", string()),
    "host": string(),
    "state": words(str(each) for each in DeliveryState),
    "attempt": _COUNT,
    "next_at": _NO_TIME,
    "created_at": _TIME,
    "ended_at": _NO_TIME,
}
_ATTEMPT: Json = {
    "number": _COUNT,
    "started_at": _TIME,
    "took_s": {"type": "number"},
    "status": said("HTTP; null where no answer came.", or_null(integer())),
    "error": string(),
}
_STEPS = answered({"task": string(), "step": _COUNT, "steps": _COUNT})
_FINDING = answered(
    {
        "invariant": string(),
        "what": string(),
        "account": or_null(string()),
        "task": or_null(string()),
    }
)
_POINT: Json = {
    "type": "object",
    "properties": {"at": said("The begin of its step.", _TIME)},
    "required": ["at"],
    "additionalProperties": {"type": ["number", "null"]},
}

SCHEMAS: dict[str, Json] = {
    "Account": answered(
        {
            "id": string(),
            "created_at": _TIME,
            **_money("available", "What it may spend."),
            **_money("held", "What open tasks hold."),
            **_money("used", "What tasks were charged."),
            "queued": _COUNT,
            "running": _COUNT,
            "weight": said("Its share beside other accounts that wait.", integer(1)),
            "max_running": said("null: any.", or_null(_COUNT)),
            "max_open": said("null: as the settings say.", or_null(_COUNT)),
        }
    ),
    "Entry": answered(
        {
            "id": integer(1),
            "created_at": _TIME,
            "account": string(),
            "kind": words(str(each) for each in Kind),
            **_money("credits", "How much."),
            "task": or_null(string()),
            "reason": string(),
        }
    ),
    "Key": answered(_KEY),
    "NewKey": answered({"key": said("Shown this once.", string()), **_KEY}),
    "Task": answered(_TASK),
    "TaskView": answered(
        {
            **_TASK,
            "progress": integer(0, 100),
            "estimated_s": _COUNT,
            "links": {"type": "array", "items": string(format="uri")},
        }
    ),
    "Callback": answered(_CALLBACK),
    "CallbackView": answered(
        {**_CALLBACK, "attempts": {"type": "array", "items": answered(_ATTEMPT)}}
    ),
    "Worker": answered(
        {
            "id": string(),
            "host": string(),
            "state": string(),
            "alive": said("Whether its lease is not over.", _FLAG),
            "draining": _FLAG,
            "started_at": _TIME,
            "lease_until": _TIME,
            "capacity": _COUNT,
            "model": or_null(string()),
            "tasks": {"type": "array", "items": _STEPS},
        }
    ),
    "Limits": answered(
        {
            "queue_max": said("Tasks that wait, of all accounts.", integer()),
            "open_max": said("Tasks of one account that wait or are drawn.", integer()),
            "rates": said(
                "How often an account may create, by API.",
                {"type": "object", "additionalProperties": string()},
            ),
            **_money("price", "Of one picture."),
        }
    ),
    "Maintenance": answered(
        {"maintenance": _FLAG, "since": _TIME, "message": string()}, ["since", "message"]
    ),
    "Dialect": answered({"name": string(), "enabled": _FLAG, "since": _NO_TIME}),
    "LogEntry": answered(
        {
            "id": integer(1),
            "at": _TIME,
            "actor": said("A key's id, or `command line`.", string()),
            "address": string(),
            "action": string(),
            "target": string(),
            "detail": string(),
        }
    ),
    "Audit": answered(
        {
            "clean": _FLAG,
            "checked": {"type": "object", "additionalProperties": _COUNT},
            "findings": {"type": "array", "items": _FINDING},
            "took_s": {"type": "number"},
        }
    ),
    "Series": answered(
        {
            "name": words(SERIES),
            "from": _TIME,
            "until": _TIME,
            "step": {"type": "number"},
            "points": {"type": "array", "items": _POINT},
        }
    ),
}


def _samples() -> dict[str, Json]:
    """What the facts are of sample nouns."""
    key = keys.facts(Key(KEY, "shop", ACCOUNT, AT), AT)
    view = samples.views(evolink, {})["succeeded"]
    callback = facts.of_callback(_delivery())
    attempt = facts.of_attempt(Attempt(1, samples.ENDED_AT, 0.21, 200, ""))
    entry = Entry(1, ACCOUNT, None, Kind.GRANT, 10_000_000, "paid", AT)
    account = Account(ACCOUNT, AT, Balance(ACCOUNT, 9_974_000, 0, 26_000), 0, 0, 1, None, None)
    log = audit_log.Entry(AT, "k3v9x0ab", "192.0.2.7", "key created", "x1y2z3a4", "shop")
    text = f"zk_live_{KEY}_{'0' * 43}"
    switched = {MAINTENANCE: Switch(MAINTENANCE, AT, "Back at five.")}
    return {
        "Account": facts.of_account(account),
        "Entry": facts.of_entry(entry),
        "Key": key,
        "NewKey": {"key": text, **key},
        "Task": facts.of_task(view.task),
        "TaskView": facts.of_view(view),
        "Callback": callback,
        "CallbackView": {**callback, "attempts": [attempt]},
        "Worker": _worker(),
        "Limits": facts.of_limits(Rules(), samples.COST),
        "Maintenance": facts.of_maintenance(switched),
        "Dialect": facts.of_dialect("kie", {}),
        "LogEntry": facts.of_log(1, log),
        "Audit": facts.of_report(Report({"accounts": 3, "tasks": 40}, [], 0.01, False)),
        "Series": _series(),
    }


def _delivery() -> Delivery:
    return Delivery(
        id=CALLBACK,
        task_id="t1",
        account_id=ACCOUNT,
        public_id=TASK,
        dialect=evolink.NAME,
        url="https://hooks.example/zing",
        host="hooks.example",
        state=DeliveryState.DELIVERED,
        attempt=1,
        next_at=samples.ENDED_AT,
        body=None,
        created_at=samples.ENDED_AT,
        ended_at=samples.ENDED_AT,
    )


def _worker() -> Json:
    said_by: dict[str, Any] = {
        "id": "host-1-0",
        "host": "host-1",
        "state": "ready",
        "alive": True,
        "draining": False,
        "started_at": AT,
        "lease_until": samples.ENDED_AT,
        "capacity": 1,
        "model": "builtin",
        "tasks": [{"task": "t1", "step": 3, "steps": 8}],
    }
    return said_by


def _series() -> Json:
    point = {"at": AT, "succeeded": 12, "failed": 0, "cancelled": 1}
    return {"name": "tasks_ended", "from": AT, "until": AT + 900, "step": 900.0, "points": [point]}


SAMPLES = _samples()
