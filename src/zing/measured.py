"""What every request passes on its way in: it is given a name, and its answer is counted.

An endpoint that says by what its answers are `counted` is told apart in the metrics; whatever else
answers is a page of the server's own.
"""

import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zing import logs
from zing.dialects.base import Use
from zing.metrics import Metrics

REFUSED = "zing.refused"  # the place in a request's scope of the error that it was refused with
REQUEST_ID = "zing.request_id"  # its place in a request's scope
_AGAIN = (b"idempotency-replayed", b"true")
_CALLERS_NAME = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Gives every request a name: its reply has it, to be quoted, and every line of the log.

    The caller's own name is kept where it is short and plain.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and name its reply."""

        name = _named_by_caller(scope) or secrets.token_hex(16)
        scope[REQUEST_ID] = name
        logs.request_id.set(name)  # of this task alone: every request has one

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            await send(message)

        await self._app(scope, receive, named)


class Measured:
    """Counts every answer, what it was to and the seconds until it began."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count its answer."""
        started = time.perf_counter()

        async def measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message, time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, measured)

    def _count(self, scope: Scope, start: Message, seconds: float) -> None:
        endpoint = scope.get("endpoint")  # none where the address is none
        counted = getattr(getattr(endpoint, "__self__", None), "counted", None)
        if counted is None:
            page = getattr(endpoint, "__name__", "nothing")
            self._metrics.answered("none", page, start["status"], seconds)
            return
        dialect, use = counted
        self._metrics.answered(dialect, use, start["status"], seconds)
        if REFUSED in scope:
            self._metrics.refused(dialect, scope[REFUSED])
        elif use == Use.SUBMIT and _AGAIN not in start["headers"]:
            self._metrics.accepted(dialect)


def _named_by_caller(scope: Scope) -> str:
    for header, value in scope.get("headers", ()):
        if header == b"x-request-id" and _CALLERS_NAME.fullmatch(value):
            return str(value, "ascii")
    return ""
