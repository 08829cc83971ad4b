"""Requests sent as they are, byte for byte, and what the four dialects must answer.

The table of words is dialects.md 4.2, typed from there.
"""

import http.client
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Headers = Mapping[str, str | bytes]
Body = bytes | Iterable[bytes] | None

JSON = {"Content-Type": "application/json"}
NO_HEADERS: Headers = {}
SMALL = {"evolink": {"size": "376x376"}, "tensorslab": {"resolution": "376*376"}}

INPUT = "400 invalid_request", "422 in 200", "9999 in 200", "400"

# Cause: HTTP and code of EvoLink, code in HTTP of kie and of TensorsLab, HTTP of zimageturbo.
WORDS: dict[str, tuple[str, str, str, str]] = {
    "bad key": ("401 unauthorized", "401 in 200", "9999 in 200", "401"),
    "key ended": ("401 unauthorized", "401 in 200", "9999 in 200", "401"),
    "key disabled": ("403 key_disabled", "401 in 200", "9999 in 200", "401"),
    "key may not do this": ("403 permission_denied", "401 in 200", "9999 in 200", "403"),
    "bad input": INPUT,
    "idempotency conflict": ("409 idempotency_conflict", "422 in 200", "9999 in 200", "409"),
    "idempotency in flight": ("409 paid_outcome_unknown", "422 in 200", "9999 in 200", "409"),
    "no task id": ("400 invalid_request", "400 in 200", "9999 in 200", "400"),
    "key cap": ("402 key_quota_exhausted", "433 in 200", "9000 in 200", "402"),
    "daily cap": ("402 key_daily_quota_exhausted", "433 in 200", "9000 in 200", "402"),
    "rate limit": ("429 rate_limit_exceeded", "429 in 429", "9999 in 429", "429"),
    "queue full": ("503 resource_exhausted", "429 in 429", "9999 in 503", "429"),
    "key may not use the model": ("403 model_access_denied", "505 in 200", "9999 in 200", "403"),
    "insufficient credits": ("402 insufficient_quota", "402 in 200", "9000 in 200", "402"),
    "maintenance": ("503 service_unavailable", "455 in 200", "9999 in 200", "503"),
    "switched off": ("503 service_unavailable", "505 in 200", "9999 in 200", "503"),
    "unknown task": ("404 task_not_found", "422 in 200", "9999 in 200", "404"),
    "not cancellable": ("409 task_not_cancellable", "", "", ""),
    "body too large": ("413 request_too_large", "422 in 200", "9999 in 413", "413"),
    "bad body": INPUT,
    "bad content type": ("415 unsupported_media_type", "422 in 200", "9999 in 200", "415"),
    "unknown route": ("404 not_found", "404 in 404", "9999 in 404", "404"),
    "wrong method": ("405 method_not_allowed", "405 in 405", "9999 in 405", "405"),
    "internal": ("500 internal_error", "500 in 200", "9999 in 200", "500"),
}
NAMES = ("evolink", "kie", "tensorslab", "zimageturbo")
# By EvoLink's HTTP status, where it is not invalid_request_error.
TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
}

SUBMIT = {
    "evolink": "/v1/images/generations",
    "kie": "/api/v1/jobs/createTask",
    "tensorslab": "/v1/images/zimage",
    "zimageturbo": "/api/generate",
}
LEAST: dict[str, dict[str, Any]] = {
    "evolink": {"model": "z-image-turbo", "prompt": "a red barn"},
    "kie": {"model": "z-image", "input": {"prompt": "a red barn"}},
    "tensorslab": {"prompt": "a red barn"},
    "zimageturbo": {"prompt": "a red barn"},
}


@dataclass(frozen=True)
class Reply:
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def send(
    url: str, method: str, path: str, body: Body = None, headers: Headers = NO_HEADERS
) -> Reply:
    """One request on a connection of its own, so that none can spoil the next."""
    host = urlsplit(url)
    with closing(http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)) as line:
        # An error that comes before all is sent closes the connection, with the answer in it.
        with suppress(BrokenPipeError, ConnectionResetError):
            line.request(method, path, body=body, headers=headers)
        answer = line.getresponse()
        return Reply(
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            answer.read(),
        )


def compact(body: Any) -> bytes:
    """A body as it goes over the wire."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def with_field(fields: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The fields with one set; a name such as input.prompt is a field of a field."""
    outer, _, inner = name.partition(".")
    value = {**fields[outer], inner: value} if inner else value
    return {**fields, outer: value}


def without_field(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields without one, named as in `with_field`."""
    outer, _, inner = name.partition(".")
    kept = {each: value for each, value in fields.items() if each != outer}
    if inner:
        kept[outer] = {each: value for each, value in fields[outer].items() if each != inner}
    return kept


def look(name: str, task_id: str) -> tuple[str, str, bytes | None]:
    """Method, path and body of a dialect's query."""
    match name:
        case "evolink":
            return "GET", f"/v1/tasks/{task_id}", None
        case "kie":
            return "GET", f"/api/v1/jobs/recordInfo?taskId={task_id}", None
        case "tensorslab":
            return "POST", "/v1/images/infobytaskid", compact({"taskid": task_id})
    return "GET", f"/api/status?task_id={task_id}", None


def task_id(name: str, reply: Reply) -> str:
    """The id in the answer to a submit; fails where it was refused."""
    body = reply.json()
    code = {"evolink": None, "tensorslab": 1000}.get(name, 200)
    assert (reply.status, body.get("code")) == (200, code), body
    inner = body if name == "evolink" else body["data"]
    found = inner.get("id") or inner.get("taskId") or inner.get("taskid") or inner["task_id"]
    assert isinstance(found, str)
    return found


def check_reply(reply: Reply) -> None:
    """What is true of every answer in JSON: its type, its id, and not a space too many."""
    assert reply.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])
    assert reply.body == compact(reply.json())


def check_refusal(name: str, reply: Reply, cause: str) -> None:
    """The answer is the documented one for this cause: status, code, and the body's shape."""
    check_reply(reply)
    assert said(name, reply) == WORDS[cause][NAMES.index(name)], reply


def said(name: str, reply: Reply) -> str:
    """An answer's status and code in the words of WORDS; the body's shape is checked."""
    body = reply.json()
    match name:
        case "evolink":
            return f"{reply.status} {_evolink(body['error'], reply.status)}"
        case "kie":
            assert list(body) == ["code", "msg", "message", "data"]
            assert body["msg"] == body["message"] != ""
            assert body["data"] is None
        case "tensorslab":
            assert list(body) == ["code", "msg"]
            assert body["msg"]
        case _:
            assert list(body) == ["code", "message", "data"]
            assert body["message"]
            assert (body["code"], body["data"]) == (reply.status, None)
            return str(reply.status)
    return f"{body['code']} in {reply.status}"


def _evolink(error: dict[str, Any], status: int) -> str:
    assert list(error)[:3] == ["code", "message", "type"]
    assert set(error) <= {"code", "message", "type", "param", "fallback_suggestion"}
    assert all(isinstance(value, str) and value for value in error.values())
    assert error["type"] == TYPES.get(status, "invalid_request_error")
    return str(error["code"])
