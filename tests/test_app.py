"""The addresses of every server: links to pictures, health, and what is true of all replies."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import update

from tests import goldens, requests, servers
from tests.requests import (
    JSON,
    LEAST,
    NAMES,
    NO_HEADERS,
    SMALL,
    SUBMIT,
    Headers,
    Reply,
    check_refusal,
    check_reply,
    compact,
    task_id,
)
from zing import app, dialects, pictures
from zing.app import Wiring
from zing.blobs import Links
from zing.data import Data
from zing.dialects.base import Dialect
from zing.dialects.manners import Manners, spoken
from zing.errors import InsufficientCredits, Unavailable, ZingError
from zing.keys import Key
from zing.service import Answered, Service
from zing.store import Store
from zing.store.schema import file
from zing.task import Task

# What each dialect's clients are used to: suffix, Content-Type, the first bytes.
KINDS = {
    "evolink": (".webp", "image/webp", b"RIFF"),
    "kie": (".png", "image/png", b"\x89PNG\r\n\x1a\n"),
    "tensorslab": (".png", "image/png", b"\x89PNG\r\n\x1a\n"),
    "zimageturbo": (".jpeg", "image/jpeg", b"\xff\xd8\xff"),
}
HOUR = 3600.0

each_dialect = pytest.mark.parametrize("name", NAMES)


def get(server: servers.Server, path: str, method: str = "GET") -> Reply:
    return requests.send(server.url, method, path)


def ask(server: servers.Server, method: str, path: str, body: bytes | None = None) -> Reply:
    headers = JSON | {"Authorization": f"Bearer {server.key}"}
    return requests.send(server.url, method, path, body, headers)


def look(server: servers.Server, name: str, identity: str) -> Any:
    return ask(server, *requests.look(name, identity)).json()


def draw(server: servers.Server, name: str, **asked: Any) -> str:
    """The id of a task that came by this dialect and has a picture."""
    fields = compact(LEAST[name] | SMALL.get(name, {}) | asked)
    identity = task_id(name, ask(server, "POST", SUBMIT[name], fields))
    servers.until(lambda: look(server, "evolink", identity)["status"] == "completed")
    return identity


def link_of(server: servers.Server, identity: str) -> str:
    """The path of a task's picture."""
    url: str = look(server, "evolink", identity)["results"][0]
    assert url.startswith(f"{server.url}/f/")
    return urlsplit(url).path


@pytest.fixture(scope="module")
def drawn(server: servers.Server) -> dict[str, str]:
    """By dialect, the id of a task that came by it and has a picture."""
    return {name: draw(server, name) for name in NAMES}


@pytest.fixture(scope="module")
def link(server: servers.Server, drawn: dict[str, str]) -> str:
    """The path of a picture."""
    return link_of(server, drawn["kie"])


@pytest.fixture(scope="module")
def store(server: servers.Server) -> Iterator[Store]:
    """The service's own database."""
    opened = Store(f"sqlite:///{server.data / 'zing.db'}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def links(server: servers.Server) -> Links:
    """What signs the service's links."""
    return Links(Data(server.data).secret(), server.url)


# Pictures by their links


@each_dialect
def test_a_link_opens_the_picture_without_a_key(
    name: str, server: servers.Server, drawn: dict[str, str]
) -> None:
    suffix, media_type, start = KINDS[name]
    link = link_of(server, drawn[name])
    reply = get(server, link)
    assert link.endswith(suffix)
    assert (reply.status, reply.headers["content-type"]) == (200, media_type)
    assert reply.body.startswith(start)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["etag"] == f'"{pictures.sha256_bytes(reply.body)}"'
    assert "private" in reply.headers["cache-control"]
    assert int(reply.headers["content-length"]) == len(reply.body)


def test_head_of_a_link_is_get_without_the_picture(server: servers.Server, link: str) -> None:
    head, whole = get(server, link, "HEAD"), get(server, link)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "content-length", "etag", "x-content-type-options"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_link_is_only_read(method: str, server: servers.Server, link: str) -> None:
    reply = get(server, link, method)
    assert reply.status == 405
    assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert get(server, link).status == 200


def test_what_stands_behind_a_question_mark_does_not_count(
    server: servers.Server, link: str
) -> None:
    assert get(server, f"{link}?download=1").status == 200


def spoilt(link: str) -> dict[str, str]:
    """Paths near a link's that are not it."""
    head, _, name = link.rpartition("/")
    file_id, ends, rest = name.split("-")
    signature, suffix = rest.split(".")
    first, last = ("0" if each != "0" else "1" for each in (signature[0], signature[-1]))
    paths = {
        "no signature": f"{file_id}.{suffix}",
        "no end": f"{file_id}-{signature}.{suffix}",
        "no id": f"-{ends}-{signature}.{suffix}",
        "no suffix": f"{file_id}-{ends}-{signature}",
        "only the id": file_id,
        "a later end": f"{file_id}-{int(ends) + 1}-{signature}.{suffix}",
        "an end in 100 years": f"{file_id}-9{ends}-{signature}.{suffix}",
        "an earlier end": f"{file_id}-{int(ends) - 1}-{signature}.{suffix}",
        "an end below zero": f"{file_id}--{ends}-{signature}.{suffix}",
        "an end with a zero before": f"{file_id}-0{ends}-{signature}.{suffix}",
        "an end in words": f"{file_id}-never-{signature}.{suffix}",
        "an end in other digits": f"{file_id}-%D9%A1{ends[1:]}-{signature}.{suffix}",
        "another first letter": f"{file_id}-{ends}-{first}{signature[1:]}.{suffix}",
        "another last letter": f"{file_id}-{ends}-{signature[:-1]}{last}.{suffix}",
        "signature in capitals": f"{file_id}-{ends}-{'A' * 32}.{suffix}",
        "signature of zeros": f"{file_id}-{ends}-{'0' * 32}.{suffix}",
        "a shorter signature": f"{file_id}-{ends}-{signature[:-1]}.{suffix}",
        "a longer signature": f"{file_id}-{ends}-{signature}0.{suffix}",
        "an empty signature": f"{file_id}-{ends}-.{suffix}",
        "a signature twice": f"{file_id}-{ends}-{signature}-{signature}.{suffix}",
        "another id": f"f{'0' * 24}-{ends}-{signature}.{suffix}",
        "the id in capitals": f"{file_id.upper()}-{ends}-{signature}.{suffix}",
        "a letter of the id more": f"{file_id}0-{ends}-{signature}.{suffix}",
        "a task's id": f"task_z-image_1763630000123007-{ends}-{signature}.{suffix}",
        "jpeg": f"{file_id}-{ends}-{signature}.jpeg",
        "webp": f"{file_id}-{ends}-{signature}.webp",
        "html": f"{file_id}-{ends}-{signature}.html",
        "svg": f"{file_id}-{ends}-{signature}.svg",
        "PNG": f"{file_id}-{ends}-{signature}.PNG",
        "two suffixes": f"{name}.png",
        "a dot": f"{name}.",
        "a space": f"{name}%20",
        "a space before": f"%20{name}",
        "a newline": f"{name}%0a",
        "a newline and a return": f"{name}%0d%0a",
        "a NUL": f"{name}%00",
        "a NUL and a suffix": f"{name}%00.png",
        "a slash": f"{name}/",
        "an escaped slash": f"{name}%2f",
        "a semicolon": f"{name};x",
        "a tilde": f"{name}~",
        "bad UTF-8": f"{name}%ff",
        "escaped twice": name.replace("-", "%252d"),
        "full width": name.replace("-", "%EF%BC%8D"),
        "nothing": "",
        "a dot alone": "%2e",
        "two dots": "%2e%2e",
        "up": "../first-key",
        "up, escaped": "%2e%2e%2ffirst-key",
        "up, escaped slash": "..%2ffirst-key",
        "up, escaped twice": "%252e%252e%252ffirst-key",
        "up, backslash": "..%5cfirst-key",
        "up and up": "../../../../../../etc/passwd",
        "up and up, escaped": "%2e%2e%2f" * 8 + "etc%2fpasswd",
        "overlong": "%c0%ae%c0%ae%c0%affirst-key",
        "up behind the name": f"{name}/../../first-key",
        "absolute": "/etc/passwd",
        "absolute, escaped": "%2fetc%2fpasswd",
        "a drive": "C:%5cboot.ini",
        "a URL": "http:%2f%2f127.0.0.1%2f",
        "the database": "zing.db",
        "the secret": "secret",
        "a blob's folder": time.strftime("%Y-%m-%d", time.gmtime()),
        "a blob's key": time.strftime("%Y-%m-%d", time.gmtime()) + f"/{file_id}.{suffix}",
        "a blob's key, escaped": time.strftime("%Y-%m-%d", time.gmtime()) + f"%2f{file_id}.png",
        "a format": "%25s%25n",
        "a template": "%7b%7b7*7%7d%7d",
        "a quote": "'",
        "long": "f" * 5000,
        "a long id": f"{'f' * 41}-{ends}-{signature}.{suffix}",
        "a long end": f"{file_id}-{'9' * 5000}-{signature}.{suffix}",
    }
    return {why: f"{head}/{path}" for why, path in paths.items()}


def test_only_the_very_link_opens_a_picture(server: servers.Server, link: str) -> None:
    paths = spoilt(link)
    assert len(set(paths.values()) - {link}) == len(paths) > 60
    found = {why: get(server, path) for why, path in paths.items()}
    assert {why: reply.status for why, reply in found.items() if reply.status != 404} == {}
    assert all(server.key.encode() not in reply.body for reply in found.values())
    assert get(server, link).status == 200


def test_a_link_of_another_server_opens_nothing(server: servers.Server) -> None:
    stranger = Links(b"another secret", server.url)
    path = urlsplit(stranger.sign("f" + "0" * 24, time.time() + HOUR, ".png")).path
    assert get(server, path).status == 404


def check_gone(reply: Reply) -> None:
    assert reply.status == 410
    assert reply.headers["content-type"].startswith("text/plain")
    assert "etag" not in reply.headers


def test_a_link_whose_time_is_over_is_gone(server: servers.Server, link: str, links: Links) -> None:
    file_id = link.rpartition("/")[2].partition("-")[0]
    check_gone(get(server, urlsplit(links.sign(file_id, time.time() - 2, ".png")).path))
    assert get(server, urlsplit(links.sign(file_id, time.time() + HOUR, ".png")).path).status == 200


def test_a_link_to_a_picture_that_never_was_is_gone(server: servers.Server, links: Links) -> None:
    check_gone(get(server, urlsplit(links.sign("f" + "0" * 24, time.time() + HOUR, ".png")).path))


@each_dialect
def test_a_picture_whose_time_is_over_is_gone_and_its_task_is_not(
    name: str, server: servers.Server, store: Store
) -> None:
    identity = draw(server, name)
    path = link_of(server, identity)
    assert get(server, path).status == 200
    file_id = path.rpartition("/")[2].partition("-")[0]
    expired = update(file).where(file.c.id == file_id).values(expires_at=time.time() - 1)
    store.write(lambda tx: tx.execute(expired))
    for method in ("GET", "HEAD"):
        assert get(server, path, method).status == 410
    assert look(server, "evolink", identity)["status"] == "completed"
    assert look(server, "tensorslab", identity)["data"]["image_status"] == 3


def test_a_picture_that_was_deleted_is_gone_and_its_task_is_not(server: servers.Server) -> None:
    kept, deleted = draw(server, "tensorslab"), draw(server, "evolink")
    paths = link_of(server, kept), link_of(server, deleted)
    body = compact({"taskids": [deleted], "uid": "x"})
    for _ in range(2):
        reply = ask(server, "POST", "/v1/images/deleteimagestask", body)
        assert reply.body == b'{"code":1000,"msg":"Successfully","data":{"status":"Success"}}'
    assert [get(server, path).status for path in paths] == [200, 410]
    assert look(server, "kie", deleted)["data"]["state"] == "success"
    name = paths[1].rpartition("/")[2].partition("-")[0]
    assert list((server.data / "pictures").rglob(f"{name}*")) == []


# What is true of every reply

ADDRESSES: list[tuple[str, str, bytes | None]] = [
    *(("POST", path, compact(LEAST[name] | SMALL.get(name, {}))) for name, path in SUBMIT.items()),
    *(requests.look(name, "no-task") for name in NAMES),
    ("POST", "/v1/tasks/no-task/cancel", None),
    ("POST", "/v1/images/deleteimagestask", b'{"taskids":["no-task"]}'),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/nothing", None),
    ("GET", "/v1/nothing", None),
    ("GET", "/api/nothing", None),
    ("PUT", "/api/generate", None),
    ("PUT", "/healthz", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ADDRESSES, ids=lambda each: str(each)[:40])
def test_every_reply_is_compact_json_with_an_id_of_its_own(
    method: str, path: str, body: bytes | None, server: servers.Server
) -> None:
    replies = [ask(server, method, path, body) for _ in range(2)]
    for reply in replies:
        check_reply(reply)
        for spaced in (b'", ', b'": ', b", {", b"}, "):
            assert spaced not in reply.body
    assert len({reply.headers["x-request-id"] for reply in replies}) == 2


@each_dialect
def test_a_look_at_a_picture_is_compact_json(
    name: str, server: servers.Server, drawn: dict[str, str]
) -> None:
    reply = ask(server, *requests.look(name, drawn["evolink"]))
    check_reply(reply)
    if name == "kie":
        for text in (reply.json()["data"]["param"], reply.json()["data"]["resultJson"]):
            assert compact(json.loads(text)) == text.encode()


@pytest.mark.parametrize("path", ["/", "a link", "/f/nothing", "/v1/images/generations/"])
def test_every_other_reply_has_an_id_too(path: str, server: servers.Server, link: str) -> None:
    reply = get(server, link if path == "a link" else path)
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers.get("x-request-id", ""))


def test_no_address_sends_elsewhere(server: servers.Server) -> None:
    for path in (*SUBMIT.values(), "/healthz", "/readyz", "/f", "/api/status"):
        for method in ("GET", "POST"):
            reply = ask(server, method, path + "/", b"{}")
            assert reply.status == 404, (method, path)
            assert "location" not in reply.headers


@each_dialect
def test_a_look_at_a_picture_says_how_much_of_the_prompt_was_seen(
    name: str, server: servers.Server, drawn: dict[str, str]
) -> None:
    reply = ask(server, *requests.look(name, drawn[name]))
    used, total = map(int, reply.headers["x-zing-prompt-tokens"].split("/"))
    assert 0 < used == total < 50
    assert "x-zing-prompt-tokens" not in ask(server, *requests.look(name, "no-task")).headers


@each_dialect
def test_a_look_at_a_picture_says_which_words_were_understood(
    name: str, server: servers.Server
) -> None:
    for prompt, said in (("a Red circle, 猫", "Red,circle,猫"), ("quantum", "")):
        asked = {"input": {"prompt": prompt}} if name == "kie" else {"prompt": prompt}
        identity = draw(server, name, **asked)
        header = ask(server, *requests.look(name, identity)).headers["x-zing-prompt-words"]
        assert (header.isascii(), unquote(header)) == (True, said)
        understood = server.zing("tasks", "show", identity)["result"]["understood"]
        assert ",".join(understood) == said
    assert "x-zing-prompt-words" not in ask(server, *requests.look(name, "no-task")).headers


@pytest.mark.parametrize(
    ("result", "header"),
    [
        ({}, None),
        ({"understood": None}, None),
        ({"understood": []}, ""),
        ({"understood": ["teddy bear", "a,b", "猫"]}, "teddy%20bear,a%2Cb,%E7%8C%AB"),
    ],
)
def test_words_in_a_header_are_encoded(result: dict[str, Any], header: str | None) -> None:
    task = SimpleNamespace(result={"prompt_tokens": 3, "prompt_tokens_used": 3} | result)
    assert app._seen(cast(Task, task)).get("X-Zing-Prompt-Words") == header


def test_so_many_words_that_a_proxy_would_refuse_the_header_are_cut() -> None:
    words = [f"猫{number}" for number in range(200)]
    header = app._header(words)
    assert 980 < len(header) <= app.WORDS_MAX
    assert unquote(header).split(",") == words[: header.count(",") + 1]


@each_dialect
@pytest.mark.parametrize("other", NAMES)
def test_a_task_is_seen_through_every_dialect_by_its_account(
    name: str, other: str, server: servers.Server, drawn: dict[str, str]
) -> None:
    identity = drawn[name]
    reply = ask(server, *requests.look(other, identity))
    assert task_id(other, reply) == identity
    seen = reply.json()
    urls = {
        "evolink": lambda: seen["results"],
        "kie": lambda: json.loads(seen["data"]["resultJson"])["resultUrls"],
        "tensorslab": lambda: seen["data"]["url"],
        "zimageturbo": lambda: seen["data"]["response"],
    }[other]()
    assert [urlsplit(url).path for url in urls] == [link_of(server, identity)]


@each_dialect
def test_a_task_is_there_as_soon_as_it_is_accepted(name: str, server: servers.Server) -> None:
    fields = compact(LEAST[name] | SMALL.get(name, {}))
    identity = task_id(name, ask(server, "POST", SUBMIT[name], fields))
    for other in NAMES:
        assert task_id(other, ask(server, *requests.look(other, identity))) == identity
    ask(server, "POST", f"/v1/tasks/{identity}/cancel")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1", "evolink"),
        ("/v1/", "evolink"),
        ("/v1/credits/x", "evolink"),
        ("/v1/images/zimage/x", "tensorslab"),
        ("/v1/images/infobytaskid/x", "tensorslab"),
        ("/v1/images/zimagex", "evolink"),
        ("/api", "zimageturbo"),
        ("/api/x", "zimageturbo"),
        ("/api/v1x", "zimageturbo"),
        ("/api/v1", "kie"),
        ("/api/v1/x/y", "kie"),
    ],
)
def test_an_unknown_address_speaks_as_its_prefix_does(
    path: str, name: str, server: servers.Server
) -> None:
    check_refusal(name, get(server, path), "unknown route")


@pytest.mark.parametrize(
    "path", ["/nothing", "/V1/tasks", "/v2", "/apix", "//v1/tasks", "/.env", "/f", "/doc", "*"]
)
def test_an_address_of_no_dialect_is_not_found(path: str, server: servers.Server) -> None:
    reply = get(server, path)
    check_reply(reply)
    assert (reply.status, reply.body) == (
        404,
        b'{"error":{"message":"There is nothing at this address."}}',
    )


# Pages


def test_healthz_readyz_and_the_front_page(server: servers.Server) -> None:
    assert get(server, "/healthz").body == b'{"ok":true}'
    ready = get(server, "/readyz")
    facts = ready.json()
    assert (ready.status, facts["ready"], facts["workers"]) == (200, True, 1)
    assert (facts["model"], facts["database"], facts["moderation"]) == ("builtin", "ok", "basic")
    front = get(server, "/")
    assert (front.status, front.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    for path in SUBMIT.values():
        assert path in front.body.decode()
    for path in ("/", "/healthz", "/readyz"):
        assert get(server, path, "HEAD").status == 200
        assert get(server, path, "POST").status == 405


def test_a_small_reply_on_an_open_connection_does_not_wait(server: servers.Server) -> None:
    # A reply in two segments waits 40 ms for the first one's acknowledgement (Nagle) unless the
    # socket says otherwise.
    times = []
    for _ in range(15):
        started = time.monotonic()
        server.http.get("/healthz")
        times.append(time.monotonic() - started)
    assert sorted(times)[7] < 0.03


# What breaks inside


@dataclass
class Asgi:
    """Calls the application as a server would, without one."""

    service: Any
    dialects: tuple[Dialect, ...] = dialects.ALL
    sent: list[dict[str, Any]] = field(default_factory=list)

    def send(
        self, method: str, path: str, body: bytes | None, headers: Headers = NO_HEADERS
    ) -> Reply:
        path, _, query = path.partition("?")
        headers = {"Authorization": "Bearer x"} | headers
        given = [(name.lower().encode(), str(value).encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"content-type", b"application/json"), *given],
        }
        asyncio.run(self._run(scope, body or b""))
        start, *rest = self.sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], found, b"".join(each.get("body", b"") for each in rest))

    async def _run(self, scope: dict[str, Any], body: bytes) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            self.sent.append(message)

        await app.build(Wiring(cast(Service, self.service), self.dialects))(scope, receive, send)


class Broken:
    """A service of which every use raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def use(*_: object) -> None:
            raise self.error

        return use


@each_dialect
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("the password is 123"), "internal"),
        (OSError("the password is 123"), "internal"),
        (RecursionError("the password is 123"), "internal"),
        (Unavailable("The database is busy; try again.", retry_after_s=7), "maintenance"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else each,
)
def test_what_breaks_inside_is_told_in_the_words_of_the_dialect(
    name: str, error: Exception, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    for method, path, body in (
        ("POST", SUBMIT[name], compact(LEAST[name])),
        requests.look(name, "task-1"),
    ):
        reply = Asgi(Broken(error)).send(method, path, body)
        check_refusal(name, reply, cause)
        assert b"password" not in reply.body
        assert reply.headers.get("retry-after") == ("7" if cause == "maintenance" else None)
        assert (reply.headers["x-request-id"] in caplog.text) == (cause == "internal")
    assert ("the password is 123" in caplog.text) == (cause == "internal")


def accepted(**changes: Any) -> Any:
    """A service that accepts, as much of it as a submit uses."""
    view = goldens.view(goldens.load("zimageturbo"), "queued")

    def away(*_: object) -> None:
        raise Unavailable("The database is away.")

    usual = {
        "authenticate_all": lambda texts: [Key("k", "a key", "acct_1", 0.0)] * len(texts),
        "clock": time.time,
        "submit_all": lambda askings: [Answered(view)] * len(askings),
        "look_all": away,
        "glance_all": away,
        "tell_refused": lambda _: None,
    }
    return SimpleNamespace(**usual | changes)


def test_a_submit_that_waits_has_its_id_whatever_happens_meanwhile() -> None:
    patient = spoken(Manners(wait_s=0.3))
    reply = Asgi(accepted(), patient).send("POST", "/api/generate", compact(LEAST["zimageturbo"]))
    assert (reply.status, reply.json()["data"]["status"]) == (200, "IN_PROGRESS")
    assert reply.json()["data"]["task_id"] == "task_1763630000001"


@each_dialect
def test_a_refusal_gives_way_to_an_answer_that_another_replica_kept(name: str) -> None:
    answers: Iterator[str | None] = iter([None, '{"first":"answer"}'])

    def refuse(*_: object) -> None:
        raise InsufficientCredits

    service = accepted(submit_all=refuse, first_answer=lambda _: next(answers))
    sent = {"Idempotency-Key": "k"}
    reply = Asgi(service).send("POST", SUBMIT[name], compact(LEAST[name]), sent)
    assert (reply.status, reply.body) == (200, b'{"first":"answer"}')
    assert reply.headers["idempotency-replayed"] == "true"
    service.first_answer = lambda _: None
    reply = Asgi(service).send("POST", SUBMIT[name], compact(LEAST[name]), sent)
    check_refusal(name, reply, "insufficient credits")


def test_a_service_that_cannot_read_its_database_is_not_ready_and_opens_no_picture() -> None:
    broken = Broken(Unavailable("The database is busy; try again."))
    reply = Asgi(broken).send("GET", "/readyz", None)
    check_reply(reply)
    assert (reply.status, reply.json()["ready"]) == (503, False)
    assert Asgi(broken).send("GET", "/f/x", None).status == 503
    assert Asgi(broken).send("GET", "/healthz", None).status == 200


def test_a_service_without_a_worker_is_not_ready() -> None:
    idle = SimpleNamespace(ready=lambda _draining: {"ready": False, "workers": 0})
    reply = Asgi(idle).send("GET", "/readyz", None)
    assert (reply.status, reply.body) == (503, b'{"ready":false,"workers":0}')


def test_an_error_of_no_kind_is_answered_by_every_dialect() -> None:
    for name in NAMES:
        reply = Asgi(Broken(ZingError("Why."))).send("POST", SUBMIT[name], compact(LEAST[name]))
        check_refusal(name, reply, "internal")
