"""The composition root of the HTTP service: the dialects' addresses over the use cases.

Nothing is decided here: a dialect reads and words, the service does. Bodies are read whole, up to
64 kB, before anything else is looked at; what blocks runs in threads.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zing import bodies, dialects
from zing.blobs import LINK_PATH, MEDIA_TYPES
from zing.dialects.base import Answer, Dialect, Reads, Use
from zing.dialects.base import Route as Address
from zing.errors import (
    Internal,
    UnknownRoute,
    WrongMethod,
    ZingError,
)
from zing.keys import Key
from zing.service import Service
from zing.task import TaskView

CANCEL_WAIT_S = 5.0
CANCEL_LOOK_S = 0.05

log = logging.getLogger(__name__)

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def build(service: Service, lifespan: Lifespan | None = None) -> Starlette:
    """The ASGI application."""
    addresses = [
        Route(address.path, Endpoint(service, dialect, address).answer, methods=[address.method])
        for dialect in dialects.ALL
        for address in dialect.ROUTES
    ]
    own = Pages(service)
    built = Starlette(
        routes=[
            *addresses,
            Route(LINK_PATH + "{link}", own.picture),
            Route("/healthz", own.healthz),
            Route("/readyz", own.readyz),
            Route("/", own.front),
        ],
        exception_handlers={404: _no_route, 405: _no_route},
        lifespan=lifespan,
    )
    # A redirect would go where the caller's Host header says.
    built.router.redirect_slashes = False
    built.add_middleware(RequestId)
    return built


class RequestId:
    """Gives every reply a name of its own, which a caller can quote."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and name its reply."""

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                name = (b"x-request-id", secrets.token_hex(16).encode())
                message["headers"] = [*message["headers"], name]
            await send(message)

        await self._app(scope, receive, named)


@dataclass(frozen=True)
class Endpoint:
    """One address of one dialect."""

    service: Service
    dialect: Dialect
    address: Address

    async def answer(self, request: Request) -> Response:
        """The reply, whatever happens; an error we did not foresee is logged and says little."""
        try:
            body = await bodies.read(request)
            answer = await to_thread.run_sync(self._serve, request, body)
            if self.address.use is Use.CANCEL:
                answer = await self._when_ended(request, answer)
        except ZingError as error:
            answer = self.dialect.refused(error)
        except Exception:  # the last door: nobody else would answer
            log.exception("no answer to %s %s", request.method, self.address.path)
            answer = self.dialect.refused(Internal())
        return _response(answer)

    def _serve(self, request: Request, body: bytes) -> Answer:
        """Who asks, what they ask, what comes of it; runs in a thread."""
        key = self.service.authenticate(self.dialect.key(request.headers.get("authorization", "")))
        fields = self._fields(request, body)
        match self.address.use:
            case Use.SUBMIT:
                asked = self.dialect.parse(fields)
                return self.dialect.created(
                    self.service.submit(key, self.dialect, asked, dict(fields))
                )
            case Use.LOOK:
                return self._look(key, self.dialect.task_ids(fields)[0])
            case Use.CANCEL:
                identity = self.dialect.task_ids(fields)[0]
                return self.dialect.cancelled(self.service.cancel(identity, key.account_id))
            case Use.DELETE:
                return self._delete(key, self.dialect.task_ids(fields))

    def _fields(self, request: Request, body: bytes) -> Mapping[str, Any]:
        match self.address.reads:
            case Reads.PATH:
                return request.path_params
            case Reads.QUERY:
                return dict(request.query_params)
            case Reads.FORM:
                return bodies.form(request.headers, body)
            case Reads.JSON:
                return bodies.json_object(request.headers, body)

    def _look(self, key: Key, public_id: str) -> Answer:
        view = self.service.look(public_id, key.account_id)
        answer = self.dialect.shown(view)
        return Answer(answer.status, answer.body, {**answer.headers, **_tokens(view)})

    def _delete(self, key: Key, public_ids: Any) -> Answer:
        """Delete all or, where one of the ids is none of the account's, nothing."""
        identities = list(dict.fromkeys(public_ids))
        for each in identities:
            self.service.look(each, key.account_id)
        views = [self.service.delete(each, key.account_id) for each in identities]
        return self.dialect.cancelled(views[-1])

    async def _when_ended(self, request: Request, answer: Answer) -> Answer:
        """The task as it is when it has ended, or after CANCEL_WAIT_S."""
        public_id = self.dialect.task_ids(request.path_params)[0]
        latest = time.monotonic() + CANCEL_WAIT_S
        while True:
            view = await to_thread.run_sync(self.service.look, public_id, None)
            if view.task.state.ended or time.monotonic() > latest:
                return self.dialect.cancelled(view)
            await asyncio.sleep(CANCEL_LOOK_S)


@dataclass(frozen=True)
class Pages:
    """What every server has: pictures by link, health, a front page."""

    service: Service

    async def picture(self, request: Request) -> Response:
        """A picture by its signed link; 404 where it is none, 410 when its time is over."""
        try:
            found = await to_thread.run_sync(self.service.picture, request.path_params["link"])
        except LookupError:
            return PlainTextResponse("This picture's time is over.\n", 410)
        except ZingError as error:
            return PlainTextResponse(f"{error}\n", 503)
        if found is None:
            return PlainTextResponse("There is no such picture.\n", 404)
        file, data = found
        left_s = max(0, int(file.expires_at - self.service.clock()))
        headers = {
            "ETag": f'"{file.sha256}"',
            "Cache-Control": f"private, max-age={left_s}",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        return Response(data, headers=headers, media_type=MEDIA_TYPES[file.suffix])

    async def healthz(self, _request: Request) -> Response:
        """The process answers."""
        return _json(200, {"ok": True})

    async def readyz(self, _request: Request) -> Response:
        """Whether a picture asked for now would be drawn now, and what each part does."""
        try:
            facts = await to_thread.run_sync(self.service.ready)
        except ZingError as error:
            facts = {"ready": False, "database": str(error)}
        return _json(200 if facts["ready"] else 503, facts)

    async def front(self, _request: Request) -> Response:
        """What this is, for a person who opens the address."""
        lines = ["zing is running.", ""]
        for dialect in dialects.ALL:
            lines += [f"{each.method:5} {each.path}" for each in dialect.ROUTES]
        return PlainTextResponse("\n".join([*lines, "", "GET   /readyz", ""]))


async def _no_route(request: Request, error: Exception) -> Response:
    """An unknown address or method, in the words of the dialect whose prefix it is below."""
    path = request.scope["path"]
    wrong_method = isinstance(error, HTTPException) and error.status_code == 405
    refusal = WrongMethod() if wrong_method else UnknownRoute()
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    dialect = dialects.below(path)
    if dialect is None:
        return _json(405 if wrong_method else 404, {"error": {"message": str(refusal)}}, headers)
    answer = dialect.refused(refusal)
    return _response(Answer(answer.status, answer.body, {**answer.headers, **headers}))


def _tokens(view: TaskView) -> dict[str, str]:
    """Says how much of the prompt the model saw, where it is known."""
    result = view.task.result
    if "prompt_tokens" not in result:
        return {}
    used, total = result["prompt_tokens_used"], result["prompt_tokens"]
    return {"X-Zing-Prompt-Tokens": f"{used}/{total}"}


def _response(answer: Answer) -> Response:
    return _json(answer.status, answer.body, answer.headers)


def _json(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """Compact JSON, fields in their order: shell clients search it as text."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, headers=dict(headers or {}), media_type="application/json")
