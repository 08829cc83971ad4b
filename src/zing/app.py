"""The composition root of the HTTP service: the dialects' addresses over the use cases.

Nothing is decided here: a dialect reads and words, the service does. Bodies are read whole, up to
64 kB, before anything else is looked at; what blocks runs in threads.
"""

import hashlib
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any
from urllib.parse import quote

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from zing import admin_api, authentication, bodies, dialects, documents, events, keys, quotas
from zing.authentication import Gate, Wanted
from zing.blobs import LINK_PATH, MEDIA_TYPES
from zing.config import GROUP_MAX
from zing.dialects.base import Answer, Dialect, Reads, Use
from zing.dialects.base import Route as Address
from zing.errors import (
    BadField,
    IdempotencyInFlight,
    Internal,
    RateLimited,
    Refused,
    UnknownRoute,
    WrongMethod,
    ZingError,
)
from zing.events import Watch
from zing.extension import Extender, Off
from zing.keys import Key
from zing.measured import REFUSED, REQUEST_ID, Measured, RequestId
from zing.metrics import MEDIA_TYPE, Metrics
from zing.rates import Rate
from zing.service import Answered, Asking, Service
from zing.store.group import COMMIT_WAIT_S, READ_MAX, READ_WAIT_S, Group
from zing.store.idem import Sent
from zing.task import Delivery, Moment, Task, TaskView

WAIT_MAX_S = 60  # of a look that waits
STILL_THERE_S = 15.0  # a sign of life on a stream that tells nothing, for the proxies between
PREFER = re.compile(r"(?:^|,)\s*wait=(\d{1,9})\s*(?=$|[,;])", re.ASCII | re.IGNORECASE)
EVENT_STREAM = "text/event-stream"
STREAM = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep the events back
    "X-Content-Type-Options": "nosniff",
}
# What a key must be for; to read wherever it is not said here.
SCOPES = {
    Use.SUBMIT: keys.Scope.CREATE,
    Use.CANCEL: keys.Scope.CANCEL,
    Use.DELETE: keys.Scope.CANCEL,
}
IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}
EXTENDED = "X-Zing-Prompt-Extend"
WORDS_MAX = 1000  # bytes of a header that names words; proxies take some thousands for all
SCRAPE_S = 2.0  # that the database has to tell its part of the metrics

log = logging.getLogger(__name__)

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def build(parts: "Wiring", lifespan: Lifespan | None = None) -> Starlette:
    """The ASGI application."""
    addresses = [
        Route(address.path, Endpoint(parts, dialect, address).answer, methods=[address.method])
        for dialect in parts.dialects
        for address in dialect.ROUTES
    ]
    own = Pages(parts)
    built = Starlette(
        routes=[
            *addresses,
            *admin_api.routes(parts.service, parts.gate),
            Route(LINK_PATH + "{link}", own.picture),
            *(Route(path, own.described) for path in documents.PATHS),
            Route("/healthz", own.healthz),
            Route("/readyz", own.readyz),
            Route("/metrics", own.metrics),
            Route("/", own.front),
        ],
        exception_handlers={404: own.no_route, 405: own.no_route},
        lifespan=lifespan,
    )
    # A redirect would go where the caller's Host header says.
    built.router.redirect_slashes = False
    built.add_middleware(Measured, metrics=parts.metrics)
    built.add_middleware(RequestId)
    return built


@dataclass(frozen=True)
class Wiring:
    """What the addresses stand on: the use cases, the dialects, who extends prompts.

    answering  the idempotency keys whose first request is being answered, by account and address
    stopping   set when the service is to end: nobody waits for a task any more
    group_max  tasks that one commit accepts, at most
    metrics    what is counted
    failures   wrong keys that an address may send; None: any number
    """

    service: Service
    dialects: tuple[Dialect, ...] = dialects.ALL
    extender: Extender = field(default_factory=Off)
    answering: set[tuple[str, str, str]] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)
    group_max: int = int(GROUP_MAX.default)
    metrics: Metrics = field(default_factory=Metrics)
    failures: Rate | None = authentication.USUAL

    @cached_property
    def gate(self) -> Gate:
        """Who comes in."""
        return Gate(self.service, self.failures)

    @cached_property
    def looks(self) -> Group[tuple[str, str | None], TaskView]:
        """The tasks of ids as they are now, for the accounts that ask."""
        return Group(self.service.look_all, READ_MAX, READ_WAIT_S)

    @cached_property
    def watch(self) -> Watch:
        """Who waits for tasks."""
        return Watch(self.service.glance_all, self.stopping)

    @cached_property
    def accepts(self) -> Group[Asking, Answered]:
        """What comes of requests, durable with one commit for a set."""
        return Group(self.service.submit_all, self.group_max, COMMIT_WAIT_S)


def tell(parts: Wiring, delivery: Delivery) -> str:
    """The body of a callback, in the words of the dialect that its task came by."""
    view, available = parts.service.owed(delivery)
    dialect = next(each for each in parts.dialects if delivery.dialect == each.NAME)
    return _compact(dialect.told(view, available))


def sign(parts: Wiring, delivery: Delivery, secret: str, now: int) -> Mapping[str, str]:
    """The headers by which a dialect's own receivers check a callback."""
    dialect = next(each for each in parts.dialects if delivery.dialect == each.NAME)
    return dialect.signature(delivery.public_id, secret, now)


@dataclass(frozen=True)
class Endpoint:
    """One address of one dialect."""

    parts: Wiring
    dialect: Dialect
    address: Address

    @property
    def counted(self) -> tuple[str, str]:
        """By what its answers are counted: whose they are and what they are for."""
        return self.dialect.NAME, self.address.use.value

    async def answer(self, request: Request) -> Response:
        """The reply, whatever happens; an error we did not foresee is logged and says little."""
        try:
            if self.address.use is Use.FOLLOW:
                return await self._follow(request)
            answer = await self._answered(request)
        except ZingError as error:
            request.scope[REFUSED] = type(error).__name__
            answer = self._refused(error)
        except Exception:  # the last door: nobody else would answer
            name, request.scope[REFUSED] = request.scope[REQUEST_ID], Internal.__name__
            log.exception("no answer to %s %s (%s)", request.method, self.address.path, name)
            answer = self.dialect.refused(Internal())
        return _response(answer)

    def _refused(self, error: ZingError) -> Answer:
        answer = self.dialect.refused(error)
        told = quotas.passed(error) if isinstance(error, RateLimited) else {}
        return replace(answer, headers={**answer.headers, **told})

    async def _answered(self, request: Request) -> Answer:
        """The body, who asks, what they ask, what comes of it, in this order."""
        body = await bodies.read(request)
        key = await self._key(request)
        fields = self._fields(request, body)
        asked = self.address.asks(fields)
        match self.address.use:
            case Use.SUBMIT:
                sent = self._sent(request, key, fields)
                asking = Asking(key, self.dialect, asked, dict(fields), sent, self._text)
                return await self._submit(asking)
            case Use.LOOK:
                return await self._look(asked[0], key.account_id, request)
            case Use.CANCEL:
                cancel = partial(self.parts.service.cancel, asked[0], key.account_id)
                return await self._when_ended(await to_thread.run_sync(cancel))
        return await to_thread.run_sync(self._serve, key, asked)

    def _serve(self, key: Key, asked: Any) -> Answer:
        """What is asked for less often; runs in a thread."""
        service, account_id = self.parts.service, key.account_id
        match self.address.use:
            case Use.BATCH:
                return self.address.words(service.batch(asked, account_id))
            case Use.LIST:
                return self.address.words(service.list_tasks(account_id, asked))
            case Use.DELETE:
                return self._delete(asked, account_id)
            case Use.CREDITS:
                return self.address.words(service.credits(key))
            case Use.LINK:
                return self.address.words(service.fresh_link(asked, account_id))
        raise AssertionError(f"{self.address.use} is served elsewhere")

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
            case Reads.ANY:
                inside = bodies.form(request.headers, body) if body else {}
                return dict(request.query_params) | inside

    async def _key(self, request: Request) -> Key:
        return await self.parts.gate.enter(request, self._wanted)

    @cached_property
    def _wanted(self) -> Wanted:
        scope = SCOPES.get(self.address.use, keys.Scope.READ)
        return Wanted(scope, self.dialect.NAME, self.dialect.key)

    async def _look(self, public_id: str, account_id: str, request: Request) -> Answer:
        """The task as it is or, where the caller prefers to wait, in its end (RFC 7240)."""
        view = await self.parts.looks((public_id, account_id))
        wait_s, headers = _wait_s(request), {}
        if wait_s is not None:
            headers = {"Preference-Applied": f"wait={wait_s}"}
            view = await self._ended(view, wait_s)
        answer = self.address.words(view)
        return replace(answer, headers={**answer.headers, **_seen(view.task), **headers})

    async def _follow(self, request: Request) -> Response:
        """The events of a task, from the one after Last-Event-ID on."""
        await bodies.read(request)
        key = await self._key(request)
        (public_id,) = self.address.asks(self._fields(request, b""))
        view = await self.parts.looks((public_id, key.account_id))
        reader = events.Reader(request.headers.get("last-event-id"))
        if view.task.state.ended and reader.last >= events.end_number(view.task.attempt):
            return Response(status_code=204)  # which ends a browser's trying again
        if request.method == "HEAD":
            return Response(headers=STREAM, media_type=EVENT_STREAM)
        self.parts.watch.check_room()
        stream = self._events(view.task.public_id, reader)
        return StreamingResponse(stream, headers=STREAM, media_type=EVENT_STREAM)

    async def _events(self, public_id: str, reader: events.Reader) -> AsyncIterator[str]:
        """Each moment of a task as an event, the last of them its end."""
        async with aclosing(self.parts.watch.changes(public_id, STILL_THERE_S)) as changes:
            async for glance in changes:
                if glance is None:
                    yield ": still there\n\n"
                    continue
                for moment in reader.news(glance):
                    yield self._event(moment)
                if glance.state.ended:
                    with suppress(ZingError):  # the reader comes again, with Last-Event-ID
                        view = await self.parts.looks((public_id, None))
                        yield self._event(events.end(glance, view))

    def _event(self, moment: Moment) -> str:
        return f"id: {moment.number}\ndata: {_compact(self.address.words(moment).body)}\n\n"

    def _delete(self, public_ids: Sequence[str], account_id: str) -> Answer:
        """Delete all or, where one of the ids is none of the account's, nothing."""
        identities = list(dict.fromkeys(public_ids))
        for each in identities:
            self.parts.service.look(each, account_id)
        views = [self.parts.service.delete(each, account_id) for each in identities]
        return self.address.words(views[-1])

    async def _submit(self, asking: Asking) -> Answer:
        """A new task's answer, or the first one's where this idempotency key had one."""
        with self._alone(asking.sent):
            first = await self._first_answer(asking.sent)
            if first is not None:
                return first
            try:
                return await self._accepted(asking)
            except Refused:
                # Another replica may have accepted it meanwhile, with the last of the credits.
                first = await self._first_answer(asking.sent)
                if first is None:
                    raise
                return first

    async def _first_answer(self, sent: Sent | None) -> Answer | None:
        if sent is None:
            return None
        text = await to_thread.run_sync(self.parts.service.first_answer, sent)
        return None if text is None else Answer(200, json.loads(text), REPLAYED)

    async def _accepted(self, asking: Asking) -> Answer:
        asking, extended = await self._extended(asking)
        answered = await self.parts.accepts(asking)
        service = self.parts.service
        service.tell_refused(answered)
        if answered.view is None:
            return Answer(200, json.loads(answered.answer), REPLAYED)
        counted = {} if answered.quota is None else quotas.of(answered.quota)
        headers = {**extended, **counted}
        if asking.sent is not None:
            return Answer(200, json.loads(answered.answer), headers)
        answer = await self._when_ended(answered.view)
        return replace(answer, headers={**answer.headers, **headers})

    def _text(self, view: TaskView) -> str:
        return _compact(self.address.words(view).body)

    def _sent(self, request: Request, key: Key, fields: Mapping[str, Any]) -> Sent | None:
        """The request under its idempotency key; None where it has none."""
        text = request.headers.get(IDEMPOTENCY_KEY)
        if text is None:
            return None
        if not re.fullmatch(r"[!-~]{1,255}", text):
            raise BadField(
                f"{IDEMPOTENCY_KEY} must have 1 to 255 letters, digits and signs, and no space.",
                field=IDEMPOTENCY_KEY,
            )
        asked = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return Sent(key.account_id, self.address.path, text, asked)

    @contextmanager
    def _alone(self, sent: Sent | None) -> Iterator[None]:
        """Refuse a second request with an idempotency key while the first is being answered."""
        if sent is None:
            yield
            return
        place = (sent.account_id, sent.route, sent.key)
        if place in self.parts.answering:
            raise IdempotencyInFlight(retry_after_s=1)
        self.parts.answering.add(place)
        try:
            yield
        finally:
            self.parts.answering.discard(place)

    async def _extended(self, asking: Asking) -> tuple[Asking, Mapping[str, str]]:
        """The request with its prompt extended where it asks for that, and what to say of it."""
        asked = asking.request
        if not asked.extend:
            return asking, {}
        if isinstance(self.parts.extender, Off):
            return asking, {EXTENDED: "off"}
        await to_thread.run_sync(self.parts.service.check_open, asking)
        text = await self.parts.extender.extend(asked.prompt)
        extended = replace(asking, request=replace(asked, extended=text))
        return extended, {EXTENDED: "done" if text else "failed"}

    async def _when_ended(self, view: TaskView) -> Answer:
        """The task in the address's words when it has ended, or after the address's time.

        It is accepted: whatever happens while it is waited for, the reply has its id.
        """
        return self.address.words(await self._ended(view, self.address.wait_s))

    async def _ended(self, view: TaskView, wait_s: float) -> TaskView:
        """The task when it has ended, or after so long."""
        if wait_s and not view.task.state.ended:
            with suppress(ZingError):
                await self.parts.watch.ended(view.task.public_id, wait_s)
                view = await self.parts.looks((view.task.public_id, None))
        return view


def _wait_s(request: Request) -> int | None:
    """The seconds that a caller prefers to wait for the end of a task; None where it does not."""
    preferred = PREFER.search(",".join(request.headers.getlist("prefer")))
    return None if preferred is None else min(WAIT_MAX_S, int(preferred[1]))


class Parted(Response):
    """A body that is read while it is sent: a client that does not read holds one part of it.

    Where a part is gone the reply ends before its length, and its connection with it.
    """

    def __init__(
        self,
        first: bytes,
        size: int,
        more: Callable[[int], bytes | None],
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(headers={**headers, "Content-Length": str(size)}, media_type=media_type)
        self._first = first
        self._size = size
        self._more = more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        size = 0 if scope["method"] == "HEAD" else self._size
        sent, part = 0, self._first[:size]
        while True:
            sent += len(part)
            await send({"type": "http.response.body", "body": part, "more_body": sent < size})
            if sent >= size or await Request(scope, receive).is_disconnected():
                return
            read = await to_thread.run_sync(self._more, sent)
            if not read:
                return
            part = read


@dataclass(frozen=True)
class Pages:
    """What every server has: pictures by link, the APIs described, health, a front page."""

    parts: Wiring

    async def picture(self, request: Request) -> Response:
        """A picture by its signed link; 404 where it is none, 410 when its time is over."""
        try:
            found = await to_thread.run_sync(
                self.parts.service.picture, request.path_params["link"]
            )
        except LookupError:
            return PlainTextResponse("This picture's time is over.\n", 410)
        except ZingError as error:
            return PlainTextResponse(f"{error}\n", 503)
        if found is None:
            return PlainTextResponse("There is no such picture.\n", 404)
        file, data = found
        left_s = max(0, int(file.expires_at - self.parts.service.clock()))
        headers = {
            "Accept-Ranges": "none",  # pictures are small: whoever asks for a part gets the whole
            "ETag": f'"{file.sha256}"',
            "Cache-Control": f"private, max-age={left_s}",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        if _has(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        more = partial(self.parts.service.picture_part, file)
        return Parted(data, file.bytes, more, headers, MEDIA_TYPES[file.suffix])

    async def described(self, request: Request) -> Response:
        """A page or an OpenAPI document about the APIs."""
        media_type, text = await to_thread.run_sync(self._library.read, request.scope["path"])
        return Response(text, headers=documents.HEADERS, media_type=media_type)

    async def healthz(self, _request: Request) -> Response:
        """The process answers."""
        return _json(200, {"ok": True})

    async def readyz(self, _request: Request) -> Response:
        """Whether a picture asked for now would be drawn now, and what each part does."""
        try:
            ends = self.parts.stopping.is_set()
            facts = await to_thread.run_sync(self.parts.service.ready, ends)
        except ZingError as error:
            facts = {"ready": False, "reason": str(error)}
        return _json(200 if facts["ready"] else 503, facts)

    async def metrics(self, _request: Request) -> Response:
        """What is counted, for Prometheus; without the database where that does not answer."""
        metrics, place = self.parts.metrics, self.parts.service.place
        with anyio.move_on_after(SCRAPE_S) as scope:
            ask = partial(metrics.tell, place.store, place.rooms())
            text = await to_thread.run_sync(ask, abandon_on_cancel=True)
        if scope.cancelled_caught:
            text = metrics.tell_own(place.rooms())
        return Response(text, media_type=MEDIA_TYPE)

    async def front(self, _request: Request) -> Response:
        """What this is, for a person who opens the address."""
        lines = ["zing is running.", ""]
        for dialect in self.parts.dialects:
            lines += [f"{each.method:6} {each.path}" for each in dialect.ROUTES]
        return PlainTextResponse(
            "\n".join([*lines, "", "GET    /docs", "GET    /readyz", "GET    /metrics", ""])
        )

    async def no_route(self, request: Request, error: Exception) -> Response:
        """An unknown address or method, in the words of the dialect whose prefix it is below."""
        wrong_method = isinstance(error, HTTPException) and error.status_code == 405
        refusal = WrongMethod() if wrong_method else UnknownRoute()
        headers = {"Allow": _allowed(request)} if wrong_method else {}
        if admin_api.below(request.scope["path"]):
            return admin_api.refused(refusal, headers)
        dialect = dialects.below(request.scope["path"], self.parts.dialects)
        if dialect is None:
            status = 405 if wrong_method else 404
            return _json(status, {"error": {"message": str(refusal)}}, headers)
        answer = dialect.refused(refusal)
        return _response(replace(answer, headers={**answer.headers, **headers}))

    @cached_property
    def _library(self) -> documents.Library:
        return documents.Library(self.parts.dialects, self.parts.service.links.origin)


def _allowed(request: Request) -> str:
    """The methods that an address takes; it may have a route for each."""
    routes = request.app.routes
    found = next(each for each in routes if each.matches(request.scope)[0] != Match.NONE)
    methods = {method for each in routes if each.path == found.path for method in each.methods}
    return ", ".join(sorted(methods))


def _has(request: Request, tag: str) -> bool:
    """Whether the client says that it has what this tag names."""
    said = request.headers.get("if-none-match", "")
    return said.strip() == "*" or tag in [
        each.strip().removeprefix("W/") for each in said.split(",")
    ]


def _seen(task: Task) -> dict[str, str]:
    """Says how much of the prompt the model saw and which words it knew, where that is known."""
    result = task.result
    if "prompt_tokens" not in result:
        return {}
    used, total = result["prompt_tokens_used"], result["prompt_tokens"]
    tokens = {"X-Zing-Prompt-Tokens": f"{used}/{total}"}
    words = result.get("understood")  # pictures of earlier versions say nothing of it
    return tokens if words is None else {**tokens, "X-Zing-Prompt-Words": _header(words)}


def _header(words: Sequence[str]) -> str:
    """Words with commas between, percent-encoded as a header must be ASCII; not all of many."""
    encoded = [quote(word, safe="") for word in words]
    ends = accumulate(len(word) + 1 for word in encoded)
    return ",".join(word for word, end in zip(encoded, ends, strict=True) if end <= WORDS_MAX)


def _response(answer: Answer) -> Response:
    return _json(answer.status, answer.body, answer.headers)


def _json(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    text = _compact(body)
    return Response(text, status, headers=dict(headers or {}), media_type="application/json")


def _compact(body: Mapping[str, Any]) -> str:
    """Compact JSON, fields in their order: shell clients search it as text."""
    return _ENCODE(body)
