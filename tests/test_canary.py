"""Secrets that would be known anywhere are given to a service, its worker and the command line.

Then everything happens to them that can, and whatever came out is searched: the log, standard
output, replies, metrics, pictures, the database, command lines. Where a secret may be is named in
`ALLOWED` and nowhere else.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import databases
from tests.receivers import Receiver, answer
from tests.requests import LEAST, SUBMIT
from tests.servers import EVOLINK, Server, children, serving, until
from zing import documents
from zing.store import Store

PEPPER = "ca11ab1e" * 8
DSN = "canaryofthedsn"
EXTEND = "canaryoftheextender"
PROXY = "canaryoftheproxy"
PATH, QUERY, USER = "canaryofthepath", "canaryofthequery", "canaryoftheuser"
PROMPT = "Canaryprompt"
# What each secret is, and in which of the outputs it may be.
ALLOWED: dict[str, set[str]] = {
    PEPPER: set(),
    DSN: {"environment"},  # the worker's, which its own user alone may read
    EXTEND: {"environment"},
    PROXY: {"environment"},
    USER: set(),
    PATH: {"database", "callbacks", "looks"},  # it is the caller's, who is told it
    QUERY: {"database", "callbacks", "looks"},
    PROMPT: {"database", "tasks", "looks", "pictures", "extender"},
}


@dataclass
class Outputs:
    """All that came out, by where; `more` are the secrets that were made on the way."""

    texts: dict[str, list[bytes]] = field(default_factory=dict)
    more: dict[str, set[str]] = field(default_factory=dict)

    def add(self, where: str, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
        self.texts.setdefault(where, []).append(data)

    def hits(self) -> list[tuple[str, str, bytes]]:
        """Every secret where it may not be, with what stands around it."""
        found = []
        for secret, allowed in (ALLOWED | self.more).items():
            for where, texts in self.texts.items():
                for text in [] if where in allowed else texts:
                    place = text.find(secret.encode())
                    if place >= 0:
                        found.append((secret, where, text[max(0, place - 80) : place + 80]))
        return found


class Canary:
    """A running service with such secrets, and what is done to it."""

    def __init__(self, server: Server, outputs: Outputs, settings: dict[str, str]) -> None:
        self.server = server
        self.outputs = outputs
        self.settings = settings

    def know(self, key: str, *where: str) -> str:
        """A key whose secret is searched for from now on, whole or in part."""
        secret = key.rpartition("_")[2]
        self.outputs.more[secret[:12]] = self.outputs.more[secret[-12:]] = set(where)
        return key

    def ask(self, method: str, path: str, where: str = "replies", **how: Any) -> httpx2.Response:
        reply = self.server.http.request(method, path, **how)
        self.outputs.add(where, f"{reply.status_code} {reply.headers}".encode() + reply.content)
        return reply

    def zing(self, *words: str, where: str = "commands", **settings: str) -> str:
        """What a command printed, and what it said on standard error."""
        done = command(*words, "--data", str(self.server.data), **{**self.settings, **settings})
        self.outputs.add(where, done.stdout + done.stderr)
        return done.stdout

    def ended(self, identity: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            body: dict[str, Any] = self.ask("GET", f"/v1/tasks/{identity}", "looks").json()
            return body if body["status"] in ("completed", "failed", "cancelled") else None

        return until(look, 60)


def command(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if "ZING" not in name}
    return subprocess.run(
        [sys.executable, "-m", "zing", *words],
        env=plain | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@contextmanager
def database() -> Iterator[str]:
    """PostgreSQL with a password in its URL where it is installed, else SQLite in the folder."""
    if databases.programs() is None:
        yield ""
        return
    with databases.cluster() as server, databases.new_database(server) as url:
        yield url.replace("zing@", f"zing:{DSN}@")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """What came out of a service's whole life."""
    folder = tmp_path_factory.mktemp("canary")
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "secret").write_text(f"{PEPPER}\n")
    (folder / "data" / "secret").chmod(0o600)
    collected = Outputs()
    with ExitStack() as stack:
        extender = stack.enter_context(Receiver(answer(401, f"no {EXTEND} {PROMPT}".encode())))
        url = stack.enter_context(database())
        settings = {
            "ZING_DATABASE": url,
            "ZING_LOG": "json",
            "ZING_METADATA": "on",
            "ZING_KIE_HTTP": "mirror",
            "ZING_CALLBACK_PRIVATE": "127.0.0.1",
            "ZING_EXTEND_URL": f"{extender.url}/v1",
            "ZING_EXTEND_PRIVATE": "127.0.0.1",
            "ZING_EXTEND_MODEL": "any",
            "ZING_EXTEND_KEY": EXTEND,
            "ZING_EGRESS_PROXY": f"http://any:{PROXY}@127.0.0.1:9",
        }
        with serving(folder / "data", **settings) as server:
            canary = Canary(server, collected, settings)
            canary.know(server.key, "first key")
            live(canary)
            assert server.end(signal.SIGTERM) == 0
        collected.add("log", server.log.read_bytes())
        collected.add("first key", server.log.with_suffix(".out").read_bytes())
        assert extender.requests
        dumped(canary, url)
    return collected


def live(canary: Canary) -> None:
    """All flows, then all failures."""
    tasks(canary)
    misfits(canary)
    commands(canary)
    processes(canary)
    troubles(canary)


def tasks(canary: Canary) -> None:
    """A task by each API, with what may come along, to its picture and its callback."""
    url = f"https://127.0.0.1:9/{PATH}?token={QUERY}"
    for name, path in SUBMIT.items():
        body = LEAST[name]
        if name == "kie":
            body = body | {"input": {**body["input"], "prompt": PROMPT}, "callBackUrl": url}
        elif name == "evolink":
            body = EVOLINK | {"prompt": PROMPT, "callback_url": url}
        else:
            body = body | {"prompt": PROMPT, "prompt_extend": 1}
        canary.ask("POST", path, json=body, headers={"Idempotency-Key": name})
    body = EVOLINK | {"prompt": PROMPT, "callback_url": url}
    made = canary.ask("POST", SUBMIT["evolink"], json=body).json()
    (link,) = canary.ended(made["id"])["results"]
    canary.ask("GET", link, "pictures")
    canary.ask("DELETE", f"/v1/tasks/{made['id']}")
    for path in ("/v1/tasks", "/v1/credits", "/api/v1/chat/credit"):
        canary.ask("GET", path, "looks" if path == "/v1/tasks" else "replies")


def misfits(canary: Canary) -> None:
    """Keys and secrets where they do not belong, in requests that are refused."""
    key = canary.server.key
    wrong = f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}"
    odd = [
        f"Bearer {wrong}",
        f"Bearer {key}x",
        f"Bearer {key} {key}",
        f"Basic {key}",
        key,
        f"bearer{key}",
    ]
    for name, path in SUBMIT.items():
        for text in odd:
            canary.ask("POST", path, json=LEAST[name], headers={"Authorization": text})
        for body in (
            f'{{"key": "{key}"',
            f"[{key}]",
            f'{{"{key}": NaN}}',
            f'{{"{key}":1,"{key}":2}}',
        ):
            canary.ask("POST", path, content=body, headers={"Content-Type": "application/json"})
        canary.ask("POST", path, content=key, headers={"Content-Type": f"text/{key}"})
        canary.ask("POST", path, json=LEAST[name] | {"model": key, "size": key, "seed": key})
        canary.ask("POST", path, json=LEAST[name] | {"api_key": key, "callback_url": [key]})
        canary.ask("POST", f"{path}?key={key}", json={})
        canary.ask("POST", path, json=LEAST[name], headers={"Idempotency-Key": f"a {key}"})
    for url in (
        f"https://{USER}:{USER}@127.0.0.1/",
        f"http://127.0.0.1/{QUERY}",
        f"https://a.example/{QUERY}",
    ):
        canary.ask("POST", SUBMIT["evolink"], "looks", json=EVOLINK | {"callback_url": url})
        body = LEAST["kie"] | {"callBackUrl": url}
        canary.ask("POST", SUBMIT["kie"], "looks", json=body)
    for path in (f"/v1/tasks/{key}", f"/v1/tasks?key={key}", f"/f/{key}", f"/{key}", f"/v1/{key}"):
        canary.ask("GET", path)
        canary.ask("PATCH", path)
    canary.ask("GET", f"/api/v1/jobs/recordInfo?taskId={key}")
    canary.ask("POST", "/api/v1/common/download-url", json={"url": f"https://a/{key}"})
    canary.ask("GET", "/v1/credits", headers={"Host": key})
    for path in ("/", "/healthz", "/readyz", *documents.PATHS):
        canary.ask("GET", path)


def commands(canary: Canary) -> None:
    """What a person types, and what is wrong with it."""
    made = json.loads(canary.zing("keys", "create", "one", "--json", where="new keys"))["key"]
    canary.know(made, "new keys")
    rotated = json.loads(canary.zing("keys", "rotate", "one", "--json", where="new keys"))["key"]
    canary.know(rotated, "new keys")
    told = json.loads(canary.zing("callbacks", "secret", "one", "--json", where="whsec"))["secret"]
    canary.outputs.more[told.removeprefix("whsec_")] = {"whsec"}
    copy, test = str(canary.server.data.parent / "copy"), ("callbacks", "test")
    url, of = f"https://127.0.0.1:9/{PATH}", ("--key", "one")
    typed: list[tuple[str, ...]] = [
        ("keys", "list", "--json"),
        ("credits", "ledger", "one"),
        ("doctor", "--json"),
        ("db", "backup", copy),
        ("db", "backup", f"{copy}-2", "--whole", "--json"),
        ("credits", "show", made[:-1], "--json"),
        ("credits", "show", f"{made}x"),
        ("credits", "show", made),
        ("keys", "revoke", f" {made} ", "--json"),
        (*test, f"https://{USER}@127.0.0.1/", *of),
    ]
    shown = [("tasks", "list"), ("callbacks", "list", "--json"), (*test, url, *of, "--json")]
    with ThreadPoolExecutor(4) as pool:
        for form in ("text", "json"):
            run = partial(canary.zing, ZING_LOG=form)
            done = [pool.submit(run, *words) for words in (typed if form == "text" else typed[4:])]
            done += [pool.submit(run, *words, where="callbacks") for words in shown[1:]]
            done += [pool.submit(run, *shown[0], where="tasks")]
            for each in done:
                each.result()


def processes(canary: Canary) -> None:
    """What other users of the machine see of the processes, and what they do not."""
    pids = [canary.server.process.pid, *canary.server.children()]
    for pid in [*pids, *children(canary.server.worker())]:
        canary.outputs.add("command lines", Path(f"/proc/{pid}/cmdline").read_bytes())
        canary.outputs.add("titles", Path(f"/proc/{pid}/comm").read_bytes())
        canary.outputs.add("environment", Path(f"/proc/{pid}/environ").read_bytes())


def troubles(canary: Canary) -> None:
    """The worker dies, callbacks are given up, the database goes away and comes back."""
    os.kill(canary.server.worker(), signal.SIGKILL)
    until(lambda: "the worker ended" in canary.server.log.read_text())
    until(lambda: "exhausted" in canary.server.log.read_text(), 60)
    canary.ask("GET", "/metrics", "metrics")
    url = canary.settings["ZING_DATABASE"]
    if url:
        with gone(url):
            canary.ask("POST", SUBMIT["evolink"], json=EVOLINK)
            canary.ask("GET", "/readyz")
            canary.ask("GET", "/metrics", "metrics")
            canary.zing("keys", "list")
    until(lambda: canary.ask("GET", "/readyz").status_code == 200, 60)


@contextmanager
def gone(url: str) -> Iterator[None]:
    """A database of PostgreSQL that takes no connection."""
    import psycopg

    name = url.rpartition("/?")[0].rpartition("/")[2] or url.partition("?")[0].rpartition("/")[2]
    admin = url.replace(f"/{name}?", "/postgres?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def dumped(canary: Canary, url: str) -> None:
    """All that the database holds, and the files beside it but the secret ones."""
    data = canary.server.data
    store = Store(url or f"sqlite:///{data / 'zing.db'}")
    with store._reader.connect() as connection:
        from sqlalchemy import MetaData, select

        tables = MetaData()
        tables.reflect(connection)
        for table in tables.tables.values():
            for row in connection.execute(select(table)):
                canary.outputs.add("database", repr(tuple(row)))
    store.close()
    for path in data.rglob("*"):
        if path.is_file() and path.name not in ("secret", "first-key"):
            where = "pictures" if "pictures" in path.parts else "database"
            canary.outputs.add(where, path.read_bytes())


def test_no_secret_came_out_anywhere(outputs: Outputs) -> None:
    found = [f"{secret} in {where}: {around!r}" for secret, where, around in outputs.hits()]
    assert not found, "\n".join(found)


def test_all_was_looked_at(outputs: Outputs) -> None:
    """What is searched is there, and holds what it may hold: or the search would find nothing."""
    assert {
        "log",
        "replies",
        "metrics",
        "pictures",
        "database",
        "commands",
        "command lines",
        "titles",
    } <= outputs.texts.keys()

    def holds(where: str, text: str) -> bool:
        return any(text.encode() in each for each in outputs.texts[where])

    for where, text in (
        ("database", PATH),
        ("environment", EXTEND),
        ("pictures", PROMPT),
        ("log", "exhausted"),
        ("log", "a prompt was not extended"),
        ("metrics", "zing_requests_total"),
        ("commands", "There is no key"),
    ):
        assert holds(where, text), (where, text)
    assert len(outputs.more) == 7
    if databases.programs() is not None:
        assert holds("environment", DSN)
        assert holds("commands", "pg_dump")
        assert holds("log", "the database does not answer")


@pytest.mark.parametrize(
    ("url", "form"),
    [
        (f"postgresql://zing:{DSN}@127.0.0.1:1/zing", "json"),
        (f"postgresql://zing:{DSN}@127.0.0.1:1/zing", "text"),
        (f"postgresql://zing:{DSN}@[::1/zing", "text"),
        (f"postgresql://zing:{DSN}@127.0.0.1:port/zing", "text"),
        (f"postgresql://zing:%{DSN}@/zing?host=/nowhere", "text"),
        (f"postgresql:///zing?host=/nowhere&password={DSN}", "text"),
        (f"mysql://zing:{DSN}@127.0.0.1/zing", "text"),
        (f"postgres://zing:{DSN}@127.0.0.1/zing", "text"),
        (f"zing:{DSN}@127.0.0.1", "text"),
    ],
)
def test_a_database_that_cannot_be_opened_is_told_without_its_password(
    url: str, form: str, tmp_path: Path
) -> None:
    data = str(tmp_path / "data")
    for words in (("serve", "--port", "0", "--no-worker", "--json"), ("db", "upgrade")):
        done = command(*words, "--data", data, ZING_DATABASE=url, ZING_LOG=form)
        assert done.returncode != 0
        assert DSN not in done.stdout + done.stderr


def test_no_command_tells_the_password_of_a_database(tmp_path: Path) -> None:
    url = f"postgresql://zing:{DSN}@127.0.0.1:1/zing"
    for words in (
        ("work",),
        ("keys", "list"),
        ("doctor",),
        ("db", "backup", str(tmp_path / "copy")),
    ):
        done = command(*words, "--json", "--data", str(tmp_path / "data"), ZING_DATABASE=url)
        assert done.returncode != 0
        assert DSN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ZING_EXTEND_KEY", f"{EXTEND} \u00e9"),
        ("ZING_EGRESS_PROXY", f"http://a:{PROXY}@"),
        ("ZING_EGRESS_PROXY", f"https://a:{PROXY}@127.0.0.1:1"),
        ("ZING_EGRESS_PROXY", f"http://a:{PROXY}@[::1:1"),
        ("ZING_EXTEND_URL", f"https://a:{EXTEND}@127.0.0.1/v1"),
    ],
)
def test_a_setting_that_is_wrong_is_told_without_its_secret(
    name: str, value: str, tmp_path: Path
) -> None:
    settings = {"ZING_EXTEND_URL": "https://127.0.0.1/v1", "ZING_EXTEND_MODEL": "any", name: value}
    data = str(tmp_path / "data")
    done = command("serve", "--port", "0", "--no-worker", "--data", data, **settings)
    assert done.returncode == 2
    assert EXTEND not in done.stdout + done.stderr
    assert PROXY not in done.stdout + done.stderr


def test_a_damaged_secret_is_not_repeated(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "secret").write_text(f"{PEPPER}00")
    for words in (("serve", "--port", "0"), ("keys", "list", "--json")):
        done = command(*words, "--data", str(data))
        assert done.returncode != 0
        assert PEPPER not in done.stdout + done.stderr


def test_the_database_never_held_a_key(tmp_path: Path) -> None:
    """Not even in pages that were written over, nor in what SQLite keeps beside it."""
    data = tmp_path / "data"
    made = json.loads(command("keys", "create", "a", "--json", "--data", str(data)).stdout)["key"]
    secret = made.rpartition("_")[2].encode()
    with sqlite3.connect(data / "zing.db") as opened:
        assert opened.execute("SELECT count(*) FROM api_key").fetchone() == (1,)
    for path in data.glob("zing.db*"):
        assert secret not in path.read_bytes()
