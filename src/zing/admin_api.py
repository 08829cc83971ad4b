"""The admin API: `/admin/v1`, the operator's use cases in JSON, for keys with the scope admin.

`OPERATIONS` is the one table of what there is: addresses, fields and what each does; the routes
here and the document in documents/admin.py are made from it.
"""

import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from zing import bodies, dialects, fields
from zing.accounts import OPEN_MAX, RUNNING_MAX, WEIGHT_MAX
from zing.admin import Operator
from zing.authentication import Gate, Wanted
from zing.dialects.base import retry_after, word
from zing.errors import (
    BadBody,
    BadContentType,
    BadField,
    BadInput,
    BadKey,
    BadSetting,
    BodyTooLarge,
    Internal,
    KeyDenied,
    KeyDisabled,
    KeyEnded,
    LastKey,
    NotCancellable,
    QueueFull,
    RateLimited,
    Refused,
    Unavailable,
    UnknownAccount,
    UnknownKey,
    UnknownRoute,
    UnknownTask,
    WrongMethod,
    ZingError,
)
from zing.fields import Choice, Credits, Field, Fields, Line, Number, Often, Shaped, Some, Whole
from zing.keys import NAME_MAX, Allowed, Scope
from zing.ledger import REASON_MAX
from zing.ledger import Span as Entries
from zing.measured import REFUSED, REQUEST_ID
from zing.service import Service
from zing.store.series import SERIES, Span
from zing.store.switches import MESSAGE_MAX
from zing.store.tasks import Search
from zing.task import DeliveryState, TaskState

NAME = "admin"  # in the metrics and at /docs
PREFIX = "/admin/v1"
WANTED = Wanted(Scope.ADMIN)
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
JSON_TYPE, CSV_TYPE = "application/json", "text/csv"
PAGE, PAGE_MAX = 50, 500
TIME_MAX = 10.0**11
STEP_MAX = 10.0**8
DAY_S, QUARTER_S = 86_400.0, 900.0
MODELS_MAX = 50
OVERLAP_MAX_S = 100 * 366 * 86_400.0
CSV_PART = 64 * 1024
ID = r"[A-Za-z0-9_.:-]{1,128}"

ERRORS: dict[type[ZingError], tuple[int, str]] = {
    BadKey: (401, "unauthorized"),
    KeyEnded: (401, "key_ended"),
    KeyDisabled: (403, "key_disabled"),
    KeyDenied: (403, "permission_denied"),
    BadInput: (400, "invalid_field"),
    BadSetting: (400, "refused"),
    BadBody: (400, "invalid_body"),
    BadContentType: (415, "unsupported_media_type"),
    BodyTooLarge: (413, "request_too_large"),
    UnknownRoute: (404, "not_found"),
    WrongMethod: (405, "method_not_allowed"),
    UnknownAccount: (404, "account_not_found"),
    UnknownKey: (404, "key_not_found"),
    UnknownTask: (404, "task_not_found"),
    NotCancellable: (409, "task_has_ended"),
    LastKey: (409, "last_admin_key"),
    RateLimited: (429, "rate_limited"),
    QueueFull: (503, "unavailable"),
    Unavailable: (503, "unavailable"),
    Refused: (400, "refused"),
    ZingError: (500, "internal_error"),
}

# What is at the places of a path that no id can be at, so that nothing is looked for.
UNKNOWN: dict[str, type[Refused]] = {
    "account": UnknownAccount,
    "key": UnknownKey,
    "task": UnknownTask,
    "callback": UnknownTask,
    "dialect": UnknownRoute,
}

log = logging.getLogger(__name__)
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Facts = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a request says, read: what stands in its path, its query and its body."""

    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    accept: str = ""


@dataclass(frozen=True)
class Operation:
    """One address.

    reply     the name of the object that it answers with, in the document; Page of them where
              it ends in `[]`
    body      the fields of its body; None where it has none
    refusals  the errors beside those of every address
    """

    method: str
    path: str
    name: str
    summary: str
    reply: str
    does: Callable[[Operator, Asked], Any]
    text: str = ""
    query: Fields = field(default_factory=dict)
    body: Fields | None = None
    status: int = 200
    refusals: Sequence[ZingError] = ()


@dataclass(frozen=True)
class Endpoint:
    """One address, served."""

    service: Service
    gate: Gate
    operation: Operation

    @property
    def counted(self) -> tuple[str, str]:
        """By what its answers are counted."""
        return NAME, "read" if self.operation.method == "GET" else "change"

    async def answer(self, request: Request) -> Response:
        """The reply, whatever happens; an error we did not foresee is logged and says little."""
        try:
            body = await bodies.read(request)
            operator = await self._operator(request)
            asked = self._asked(request, body)
            done = await to_thread.run_sync(self.operation.does, operator, asked)
        except ZingError as error:
            request.scope[REFUSED] = type(error).__name__
            return refused(error)
        except Exception:  # the last door: nobody else would answer
            name, request.scope[REFUSED] = request.scope[REQUEST_ID], Internal.__name__
            log.exception("no answer to %s %s (%s)", request.method, self.operation.path, name)
            return refused(Internal())
        if isinstance(done, dict):
            return _json(self.operation.status, done)
        return StreamingResponse(_parts(done), headers=HEADERS, media_type=CSV_TYPE)

    async def _operator(self, request: Request) -> Operator:
        """Who asks, where their key is for this; the one place that decides it."""
        if "authorization" not in request.headers:
            raise BadKey  # also where requests for pictures need no key
        key = await self.gate.enter(request, WANTED)
        address = request.client.host if request.client else ""
        return Operator(self.service, key.id, address)

    def _asked(self, request: Request, body: bytes) -> Asked:
        for name, value in request.path_params.items():
            if not re.fullmatch(ID, value, re.ASCII):
                raise UNKNOWN[name]
        query = fields.of_query(request.query_params.multi_items(), self.operation.query)
        accept = request.headers.get("accept", "")
        return Asked(request.path_params, query, self._body(request, body), accept)

    def _body(self, request: Request, body: bytes) -> Mapping[str, Any]:
        """The fields of the body; a request without any may leave it out."""
        said = bodies.json_object(request.headers, body) if body else {}
        return fields.of_object(said, self.operation.body or {})


def routes(service: Service, gate: Gate) -> list[Route]:
    """The addresses of the admin API over the use cases."""
    return [
        Route(each.path, Endpoint(service, gate, each).answer, methods=[each.method])
        for each in OPERATIONS
    ]


def below(path: str) -> bool:
    """Whether a path is the admin API's."""
    return path == "/admin" or path.startswith("/admin/")


def refused(error: ZingError, headers: Mapping[str, str] | None = None) -> Response:
    """The reply to a request that could not be served."""
    status, body = refusal(error)
    return _json(status, body, {**retry_after(error), **(headers or {})})


def refusal(error: ZingError) -> tuple[int, Facts]:
    """The HTTP status and the body of a refusal; what is our turn is told in a general sentence."""
    status, code = word(ERRORS, error)
    message = str(error if isinstance(error, Refused) else Internal())
    return status, {"error": {"code": code, "message": message}}


def _json(status: int, body: Facts, headers: Mapping[str, str] | None = None) -> Response:
    own = {**HEADERS, **(headers or {})}
    return Response(_ENCODE(body), status, headers=own, media_type=JSON_TYPE)


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while part := file.read(CSV_PART):
            yield part


# What each does


def _entries(operator: Operator, asked: Asked) -> Any:
    query = asked.query
    span = Entries(asked.path["account"], query.get("from", 0.0), query.get("until", math.inf))
    kind = query.get("format", "csv" if CSV_TYPE in asked.accept else "json")
    if kind == "csv":
        return operator.entries_csv(span)
    return operator.entries(span, _limit(asked), query.get("after"))


def _grant(operator: Operator, asked: Asked) -> Facts:
    body = asked.body
    return operator.grant(asked.path["account"], body["credits"], body.get("reason", ""))


def _adjust(operator: Operator, asked: Asked) -> Facts:
    return operator.adjust(asked.path["account"], asked.body["credits"], asked.body["reason"])


def _create_key(operator: Operator, asked: Asked) -> Facts:
    body = asked.body
    allowed = Allowed(**_allowed(body))
    return operator.create_key(
        body["name"], body.get("account", ""), body.get("credits", 0), allowed
    )


def _change_key(operator: Operator, asked: Asked) -> Facts:
    return operator.change_key(asked.path["key"], asked.body.get("name"), _allowed(asked.body))


def _allowed(body: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a body that say what a key may do, as Allowed has them."""
    found = {name: body[name] for name in ALLOWED if name in body}
    if "scopes" in found:
        found["scopes"] = frozenset(map(Scope, found["scopes"]))
    for name in ("dialects", "models"):
        if name in found:
            found[name] = frozenset(found[name])
    return found


def _tasks(operator: Operator, asked: Asked) -> Facts:
    query = asked.query
    state = query.get("state")
    wanted = Search(
        None if state is None else TaskState(state),
        query.get("account", ""),
        query.get("dialect", ""),
        query.get("from"),
        query.get("until"),
        query.get("after", ""),
    )
    return operator.tasks(wanted, _limit(asked))


def _callbacks(operator: Operator, asked: Asked) -> Facts:
    query = asked.query
    state = DeliveryState(query["state"]) if "state" in query else None
    account, after = query.get("account", ""), query.get("after", "")
    return operator.callbacks(state, account, _limit(asked), after)


def _dialect(act: Callable[[Operator, str], Facts]) -> Callable[[Operator, Asked], Facts]:
    def does(operator: Operator, asked: Asked) -> Facts:
        name = asked.path["dialect"]
        if name not in DIALECTS:
            raise UnknownRoute(f"There is no API {name[:40]!r}: {', '.join(DIALECTS)} are there.")
        return act(operator, name)

    return does


def _audit_log(operator: Operator, asked: Asked) -> Facts:
    query = asked.query
    action, actor = query.get("action", ""), query.get("actor", "")
    return operator.audit_log(_limit(asked), query.get("after"), action, actor)


def _series(operator: Operator, asked: Asked) -> Facts:
    query = asked.query
    until = query.get("until", operator.service.clock())
    start = query.get("from", max(0.0, until - DAY_S))
    return operator.series(query["name"], Span(start, until, query.get("step", QUARTER_S)))


def _all(found: Sequence[Facts]) -> Facts:
    """What has no pages in the form of one."""
    return {"data": list(found), "next": None}


def _limit(asked: Asked) -> int:
    return int(asked.query.get("limit", PAGE))


# What is said


DIALECTS = tuple(each.NAME for each in dialects.ALL)
_ID = Shaped(ID, "an id")
_LINE = Shaped(ID, "the `next` of the page before")
_TIME = Number(0.0, TIME_MAX)
LIMIT: Fields = {
    "limit": Field(Whole(1, PAGE_MAX), f"So many at most; {PAGE} where it is not said."),
}
PAGES: Fields = {**LIMIT, "after": Field(_LINE, "`next` of the page before.")}
NUMBERED: Fields = {
    **LIMIT,
    "after": Field(Whole(1, 2**63 - 1), "`next` of the page before."),
}
OF_ACCOUNT: Fields = {"account": Field(_ID, "Only of this account.")}
OF_TIME: Fields = {
    "from": Field(_TIME, "From this time on, UTC seconds."),
    "until": Field(_TIME, "Before this time, UTC seconds."),
}
REASON = Line(0, REASON_MAX)
WHY = Field(Line(1, REASON_MAX), "Why; it stays with the entry.", required=True, sample="goodwill")
PLACE: Fields = {
    "weight": Field(Whole(1, WEIGHT_MAX), "Its share beside other accounts that wait.", sample=2),
    "max_running": Field(
        Whole(0, RUNNING_MAX), "So many of its tasks are drawn at once; null: any.", empty=True
    ),
    "max_open": Field(
        Whole(0, OPEN_MAX),
        "So many of its tasks wait or are drawn; null: as the settings say.",
        empty=True,
    ),
}
ALLOWED: Fields = {
    "scopes": Field(
        Some(Choice([str(each) for each in Scope]), 1, len(Scope)),
        "What it is for; create, read and cancel where it is not said.",
    ),
    "dialects": Field(
        Some(Choice(DIALECTS), 0, len(DIALECTS)), "The APIs it may use; none named: all."
    ),
    "models": Field(Some(Line(1, 200), 0, MODELS_MAX), "The models it may use; none named: all."),
    "cap": Field(Credits(), "Credits that it may spend in all; null: any.", empty=True),
    "daily_cap": Field(
        Credits(), "Credits that it may spend on one day (UTC); null: any.", empty=True, sample=5
    ),
    "rate": Field(Often(), "How often it may create; null: any.", empty=True, sample="20/10"),
    "expires_at": Field(_TIME, "When it ends by itself, UTC seconds; null: never.", empty=True),
}
NEW_KEY: Fields = {
    "name": Field(Line(1, NAME_MAX), "What to call it.", required=True, sample="shop"),
    "account": Field(_ID, "An account that exists; a new one where it is not said."),
    "credits": Field(Credits(), "Credits for the account, as a number or a text.", sample=10),
    **ALLOWED,
}


def _key_to(
    verb: str, summary: str, act: Callable[[Operator, str], Facts], **more: Any
) -> Operation:
    return Operation(
        "POST",
        f"{PREFIX}/keys/{{key}}/{verb}",
        f"{verb}_key",
        summary,
        "Key",
        lambda operator, asked: act(operator, asked.path["key"]),
        refusals=(UnknownKey(), LastKey()),
        **more,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        f"{PREFIX}/accounts",
        "list_accounts",
        "List accounts",
        "Account[]",
        lambda operator, asked: operator.accounts(_limit(asked), asked.query.get("after", "")),
        query=PAGES,
    ),
    Operation(
        "POST",
        f"{PREFIX}/accounts",
        "open_account",
        "Open an account",
        "Account",
        lambda operator, asked: operator.open_account(
            asked.body.get("credits", 0), asked.body.get("reason", "")
        ),
        body={
            "credits": Field(Credits(), "Credits, as a number or a text.", sample="2.5"),
            "reason": Field(REASON, "Why; it stays with the entry."),
        },
        status=201,
        refusals=(BadSetting("The account cannot hold that many credits."),),
    ),
    Operation(
        "GET",
        f"{PREFIX}/accounts/{{account}}",
        "show_account",
        "Show an account",
        "Account",
        lambda operator, asked: operator.account(asked.path["account"]),
        refusals=(UnknownAccount(),),
    ),
    Operation(
        "PATCH",
        f"{PREFIX}/accounts/{{account}}",
        "change_account",
        "Change an account's place in the queue",
        "Account",
        lambda operator, asked: operator.change_account(asked.path["account"], asked.body),
        text="What is not named stays as it is. What waits or is drawn already is not touched.",
        body=PLACE,
        refusals=(UnknownAccount(),),
    ),
    Operation(
        "GET",
        f"{PREFIX}/accounts/{{account}}/ledger",
        "list_entries",
        "List an account's entries",
        "Entry[]",
        _entries,
        text="The newest first; as CSV, with `format=csv` or `Accept: text/csv`, all of them, the "
        "oldest first.",
        query={
            **NUMBERED,
            **OF_TIME,
            "format": Field(Choice(("json", "csv")), "In which form."),
        },
        refusals=(UnknownAccount(),),
    ),
    Operation(
        "POST",
        f"{PREFIX}/accounts/{{account}}/grants",
        "grant",
        "Give credits",
        "Account",
        _grant,
        body={
            "credits": Field(
                Credits(least=1), "Credits, as a number or a text.", required=True, sample="10"
            ),
            "reason": Field(REASON, "Why; it stays with the entry.", sample="paid"),
        },
        status=201,
        refusals=(UnknownAccount(), BadSetting("The account cannot hold that many credits.")),
    ),
    Operation(
        "POST",
        f"{PREFIX}/accounts/{{account}}/adjustments",
        "adjust",
        "Give or take credits for a reason",
        "Account",
        _adjust,
        text="Less than nothing takes credits away, never more than are available.",
        body={
            "credits": Field(
                Credits(least=-(10**18)),
                "Credits, as a number or a text.",
                required=True,
                sample="-0.5",
            ),
            "reason": WHY,
        },
        status=201,
        refusals=(UnknownAccount(), BadSetting("0.5 credits cannot be taken off.")),
    ),
    Operation(
        "GET",
        f"{PREFIX}/keys",
        "list_keys",
        "List keys",
        "Key[]",
        lambda operator, asked: operator.keys(
            _limit(asked), asked.query.get("after", ""), asked.query.get("account", "")
        ),
        query={**PAGES, **OF_ACCOUNT},
    ),
    Operation(
        "POST",
        f"{PREFIX}/keys",
        "create_key",
        "Make a key",
        "NewKey",
        _create_key,
        text="Its text is in `key`, this once: only a hash of it is kept.",
        body=NEW_KEY,
        status=201,
        refusals=(UnknownAccount(), BadSetting("The account cannot hold that many credits.")),
    ),
    Operation(
        "GET",
        f"{PREFIX}/keys/{{key}}",
        "show_key",
        "Show a key",
        "Key",
        lambda operator, asked: operator.key(asked.path["key"]),
        refusals=(UnknownKey(),),
    ),
    Operation(
        "PATCH",
        f"{PREFIX}/keys/{{key}}",
        "change_key",
        "Change what a key may do",
        "Key",
        _change_key,
        text="What is not named stays as it is.",
        body={"name": Field(Line(1, NAME_MAX), "What to call it."), **ALLOWED},
        refusals=(UnknownKey(), LastKey()),
    ),
    _key_to("revoke", "End a key for good", Operator.revoke_key),
    _key_to("disable", "Stop a key until it is enabled", Operator.disable_key),
    _key_to("enable", "Let a disabled key work again", Operator.enable_key),
    Operation(
        "POST",
        f"{PREFIX}/keys/{{key}}/rotate",
        "rotate_key",
        "Replace a key",
        "NewKey",
        lambda operator, asked: operator.rotate_key(
            asked.path["key"], asked.body.get("overlap_s", 0.0)
        ),
        text="A new key of the same name and account that may do the same; its text is in `key`, "
        "this once. What was left of the old one's caps is the new one's.",
        body={
            "overlap_s": Field(
                Number(0.0, OVERLAP_MAX_S),
                "Seconds that the old one goes on; it ends at once where it is not said.",
                sample=86_400,
            )
        },
        status=201,
        refusals=(UnknownKey(), BadSetting("The key is revoked: only an active one is replaced.")),
    ),
    Operation(
        "GET",
        f"{PREFIX}/tasks",
        "list_tasks",
        "List tasks",
        "Task[]",
        _tasks,
        query={
            **PAGES,
            "state": Field(Choice([str(each) for each in TaskState]), "Only in this state."),
            **OF_ACCOUNT,
            "dialect": Field(Choice(DIALECTS), "Only those that came by this API."),
            **OF_TIME,
        },
    ),
    Operation(
        "GET",
        f"{PREFIX}/tasks/{{task}}",
        "show_task",
        "Show a task",
        "TaskView",
        lambda operator, asked: operator.task(asked.path["task"]),
        refusals=(UnknownTask(),),
    ),
    Operation(
        "POST",
        f"{PREFIX}/tasks/{{task}}/cancel",
        "cancel_task",
        "Cancel a task",
        "TaskView",
        lambda operator, asked: operator.cancel_task(asked.path["task"]),
        text="A task that is drawn now ends at its next step.",
        refusals=(UnknownTask(), NotCancellable()),
    ),
    Operation(
        "POST",
        f"{PREFIX}/tasks/{{task}}/refund",
        "refund_task",
        "Give back what a task was charged",
        "Account",
        lambda operator, asked: operator.refund(asked.path["task"], asked.body["reason"]),
        text="All of it, once. The task keeps its picture.",
        body={"reason": WHY},
        status=201,
        refusals=(UnknownTask(), BadSetting("The task was refunded already.")),
    ),
    Operation(
        "GET",
        f"{PREFIX}/callbacks",
        "list_callbacks",
        "List callbacks",
        "Callback[]",
        _callbacks,
        query={
            **PAGES,
            "state": Field(Choice([str(each) for each in DeliveryState]), "Only in this state."),
            **OF_ACCOUNT,
        },
    ),
    Operation(
        "GET",
        f"{PREFIX}/callbacks/{{callback}}",
        "show_callback",
        "Show a callback and every attempt",
        "CallbackView",
        lambda operator, asked: operator.callback(asked.path["callback"]),
        text="By its id or its task's.",
        refusals=(UnknownTask("There is no callback of this id."),),
    ),
    Operation(
        "POST",
        f"{PREFIX}/callbacks/{{callback}}/resend",
        "resend_callback",
        "Send a callback again",
        "Callback",
        lambda operator, asked: operator.resend_callbacks([asked.path["callback"]])[0],
        text="It is due at once, with all its attempts: the same bytes as before.",
        refusals=(UnknownTask("There is no callback of this id."),),
    ),
    Operation(
        "GET",
        f"{PREFIX}/workers",
        "list_workers",
        "List workers",
        "Worker[]",
        lambda operator, _: _all(operator.workers()),
    ),
    Operation(
        "GET",
        f"{PREFIX}/limits",
        "show_limits",
        "Show the limits in force",
        "Limits",
        lambda operator, _: operator.limits(),
        text="What holds where an account or a key has nothing else.",
    ),
    Operation(
        "GET",
        f"{PREFIX}/maintenance",
        "show_maintenance",
        "Show whether new tasks are refused",
        "Maintenance",
        lambda operator, _: operator.maintenance(),
    ),
    Operation(
        "PUT",
        f"{PREFIX}/maintenance",
        "start_maintenance",
        "Refuse new tasks",
        "Maintenance",
        lambda operator, asked: operator.start_maintenance(asked.body.get("message", "")),
        text="What was accepted is drawn and can be looked up.",
        body={
            "message": Field(Line(0, MESSAGE_MAX), "What callers are told.", sample="Back at five.")
        },
    ),
    Operation(
        "DELETE",
        f"{PREFIX}/maintenance",
        "end_maintenance",
        "Take new tasks again",
        "Maintenance",
        lambda operator, _: operator.end_maintenance(),
    ),
    Operation(
        "GET",
        f"{PREFIX}/dialects",
        "list_dialects",
        "List the APIs that new tasks come by",
        "Dialect[]",
        lambda operator, _: _all(operator.dialects()),
    ),
    Operation(
        "GET",
        f"{PREFIX}/dialects/{{dialect}}",
        "show_dialect",
        "Show whether an API takes new tasks",
        "Dialect",
        _dialect(Operator.dialect),
    ),
    Operation(
        "PUT",
        f"{PREFIX}/dialects/{{dialect}}",
        "enable_dialect",
        "Take new tasks by an API",
        "Dialect",
        _dialect(Operator.enable_dialect),
    ),
    Operation(
        "DELETE",
        f"{PREFIX}/dialects/{{dialect}}",
        "disable_dialect",
        "Take no new tasks by an API",
        "Dialect",
        _dialect(Operator.disable_dialect),
        text="Its tasks can still be looked up.",
    ),
    Operation(
        "GET",
        f"{PREFIX}/audit-log",
        "list_audit_log",
        "List what was done and who was refused",
        "LogEntry[]",
        _audit_log,
        query={
            **NUMBERED,
            "action": Field(Line(1, 40), "Only this action, such as `key revoked`."),
            "actor": Field(Line(1, 40), "Only by this key's id, or `command line`."),
        },
    ),
    Operation(
        "GET",
        f"{PREFIX}/audit",
        "audit",
        "Examine whether everything holds that must",
        "Audit",
        lambda operator, _: operator.audit(),
        text="It goes through the whole database, though it holds up nobody; pictures are not "
        "read, as `zing audit --pictures` does.",
    ),
    Operation(
        "GET",
        f"{PREFIX}/series",
        "series",
        "Read what happened over time, for plots",
        "Series",
        _series,
        text="At most 1,000 points. Each value is of the step that begins `at`; `queue` is what "
        "waited at its end. Tasks that were purged are in none.",
        query={
            "name": Field(Choice(tuple(SERIES)), "Of what.", required=True, sample="tasks_ended"),
            "from": Field(_TIME, "The begin, UTC seconds; a day before `until`."),
            "until": Field(_TIME, "The end, UTC seconds; now."),
            "step": Field(Number(1.0, STEP_MAX), f"Seconds of a step; {QUARTER_S:g}."),
        },
        refusals=(BadField("from must be before until."),),
    ),
)
