"""What is wrong is refused by a running service: the documented error, no charge, no task.

Whatever comes, the service answers, keeps its memory flat and never says 500.
"""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests import requests, servers
from tests.requests import (
    JSON,
    LEAST,
    NAMES,
    SMALL,
    SUBMIT,
    Body,
    Headers,
    Reply,
    check_refusal,
    compact,
    task_id,
    with_field,
    without_field,
)
from zing import keys, ledger
from zing.bodies import BODY_MAX
from zing.data import Data
from zing.dialects import ALL
from zing.store import Store
from zing.store.schema import account, task
from zing.store.schema import ledger as entries

GROWTH_MAX = 20 * 2**20
PRICE = 26_000
NO_TASK = "task-unified-1763630000-k3v9x0ab"

# Every address that reads a body, with the dialect and whether it reads forms.
POSTS: dict[str, tuple[str, bool]] = {
    "/v1/images/generations": ("evolink", False),
    "/api/v1/jobs/createTask": ("kie", False),
    "/v1/images/zimage": ("tensorslab", True),
    "/v1/images/infobytaskid": ("tensorslab", False),
    "/v1/images/deleteimagestask": ("tensorslab", False),
    "/api/generate": ("zimageturbo", False),
}
CANCEL = f"/v1/tasks/{NO_TASK}/cancel"
# Every address: method, path and a body it would read.
ADDRESSES: list[tuple[str, str, str, bytes | None]] = [
    *((name, "POST", path, compact(LEAST[name])) for name, path in SUBMIT.items()),
    *((name, *requests.look(name, NO_TASK)) for name in NAMES),
    ("evolink", "POST", CANCEL, None),
    ("evolink", "GET", f"/v1/tasks/{NO_TASK}/events", None),
    ("tensorslab", "POST", "/v1/images/deleteimagestask", compact({"taskids": [NO_TASK]})),
]

each_dialect = pytest.mark.parametrize("name", NAMES)


class Site:
    """The running service as these tests use it, and the books it must leave alone."""

    def __init__(self, server: servers.Server) -> None:
        self.server = server
        self.store = Store(f"sqlite:///{server.data / 'zing.db'}")
        self.pepper = Data(server.data).secret()
        self.bearer = {"Authorization": f"Bearer {server.key}"}

    def send(self, method: str, path: str, body: Body = None, headers: Headers = JSON) -> Reply:
        """A request with the key, where the headers name no other."""
        return self.anonymous(method, path, body, {**self.bearer, **headers})

    def anonymous(self, method: str, path: str, body: Body, headers: Headers) -> Reply:
        reply = requests.send(self.server.url, method, path, body, headers)
        assert reply.status != 500, reply
        return reply

    def new_key(self, credits: int) -> keys.Key:
        """A key of a new account; its text is in `name`."""

        def make(tx: Any) -> keys.Key:
            owner = ledger.open_account(tx, time.time())
            if credits:
                ledger.grant(tx, owner, credits, time.time())
            text, key = keys.mint(tx, self.pepper, "a key", owner, time.time())
            return keys.Key(key.id, text, owner, 0, None, None, None)

        return self.store.write(make)

    def books(self) -> tuple[Any, ...]:
        """How many tasks there are and were held for, and what can be spent."""
        held = select(func.count()).where(entries.c.kind == "hold")
        queries = (
            select(func.count()).select_from(task),
            held,
            select(func.sum(account.c.available)),
        )
        return self.store.read(lambda tx: tuple(tx.scalar(query) for query in queries))

    def alive(self) -> bool:
        return self.anonymous("GET", "/healthz", None, {}).body == b'{"ok":true}'

    def ask(self, name: str, fields: Any) -> Reply:
        return self.send("POST", SUBMIT[name], compact(fields))

    def taken(self, name: str, fields: Any) -> str:
        """Submit what is to be taken; the id of a task that is cancelled then, to save time."""
        return self.cancelled(task_id(name, self.ask(name, SMALL.get(name, {}) | fields)))

    def cancelled(self, identity: str) -> str:
        assert self.send("POST", f"/v1/tasks/{identity}/cancel").status in (200, 409)
        return identity

    def look(self, name: str, identity: str) -> Any:
        return self.send(*requests.look(name, identity)).json()

    def ended(self, identity: str) -> Any:
        """EvoLink's view of a task that has ended."""
        ends = ("completed", "failed", "cancelled")

        def look() -> Any:
            body = self.look("evolink", identity)
            return body if body["status"] in ends else None

        return servers.until(look)

    def memory(self) -> int:
        """Resident bytes of the service's process, its worker's not counted."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])

    def log(self) -> str:
        return self.server.log.read_text()


@pytest.fixture(scope="module")
def site(server: servers.Server) -> Iterator[Site]:
    found = Site(server)
    yield found
    found.store.close()


@pytest.fixture(scope="module")
def done(site: Site) -> str:
    """A task of the first key's account that has a picture."""
    identity = task_id("evolink", site.ask("evolink", LEAST["evolink"] | SMALL["evolink"]))
    assert site.ended(identity)["status"] == "completed"
    return identity


@pytest.fixture(scope="module")
def foreign(site: Site) -> str:
    """A task of another account that has a picture."""
    headers = JSON | {"Authorization": f"Bearer {site.new_key(PRICE).name}"}
    asked = compact(LEAST["evolink"] | SMALL["evolink"])
    identity = task_id("evolink", site.send("POST", SUBMIT["evolink"], asked, headers))

    def ended() -> bool:
        seen = site.send("GET", f"/v1/tasks/{identity}", None, headers).json()
        return bool(seen["status"] == "completed")

    servers.until(ended)
    return identity


@pytest.fixture(scope="module", autouse=True)
def before(site: Site, done: str, foreign: str) -> tuple[int, int]:
    """The memory and the log's length once the service has seen a bit of everything."""
    for _ in range(10):
        for name, path in SUBMIT.items():
            site.send("POST", path, b"[" * BODY_MAX)
            site.send("POST", path, b"x" * (BODY_MAX + 1))
            site.ask(name, LEAST[name] | {"prompt": None, "input": None})
        site.send("POST", SUBMIT["tensorslab"], *multipart(PROMPT, PROMPT))
    return site.memory(), len(site.log())


@pytest.fixture(autouse=True)
def refused(request: pytest.FixtureRequest, site: Site) -> Iterator["Refused"]:
    """Sends what is to be refused; afterwards the books are as before and the service answers."""
    yield Refused(site)
    assert site.alive()


class Refused:
    """Sends, and checks that the answer is the documented one and that nothing has changed."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def __call__(
        self,
        name: str,
        cause: str,
        method: str,
        path: str,
        body: Body = None,
        headers: Headers = JSON,
        *,
        anonymous: bool = False,
    ) -> Reply:
        books = self.site.books()
        send = self.site.anonymous if anonymous else self.site.send
        reply = send(method, path, body, headers)
        check_refusal(name, reply, cause)
        assert self.site.books() == books
        return reply

    def asked(self, name: str, fields: Any, cause: str = "bad input") -> Reply:
        return self(name, cause, "POST", SUBMIT[name], compact(fields))


# Who asks

SECRET = "A" * 43
AUTHORIZATIONS: dict[str, str | bytes | None] = {
    "none": None,
    "empty": "",
    "no key": "Bearer",
    "no key after a space": "Bearer ",
    "only the start": "Bearer zk_live_",
    "unknown": f"Bearer zk_live_00000000_{SECRET}",
    "of another service": "Bearer sk-proj-0123456789",
    "with a letter more": "Bearer {key}x",
    "with a letter less": "Bearer {short}",
    "with another secret": "Bearer {id}_" + SECRET,
    "without its secret": "Bearer {id}",
    "in capitals": "Bearer {capitals}",
    "twice": "Bearer {key} {key}",
    "in quotes": 'Bearer "{key}"',
    "after a tab": "Bearer\t{key}",
    "as Basic": "Basic {key}",
    "as a token": "Token {key}",
    "as JSON": '{{"key":"{key}"}}',
    "not ASCII": "Bearer \xff\xfe\x80".encode("latin-1"),
    "not ASCII at the end": "Bearer {key}\xe9",
    "UTF-8": "Bearer 钥匙🔑".encode(),
    "SQL": "Bearer zk_live_' OR 1=1 --",
    "9 kB": "Bearer " + "x" * 9_000,
    "15 kB": "Bearer zk_live_" + "0" * 15_000,
}


@each_dialect
@pytest.mark.parametrize("text", AUTHORIZATIONS.values(), ids=AUTHORIZATIONS)
def test_nobody_gets_in_without_a_key(
    name: str, text: str | bytes | None, site: Site, refused: Refused
) -> None:
    key = site.server.key
    if isinstance(text, str):
        parts = {"id": key[:16], "short": key[:-1], "capitals": key.upper()}
        text = text.format(key=key, **parts).encode("latin-1")
    headers = JSON if text is None else JSON | {"Authorization": text}
    for of, method, path, body in ADDRESSES:
        if of == name:
            refused(name, "bad key", method, path, body, headers, anonymous=True)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tensorslab"])
def test_a_key_without_bearer_is_taken_by_tensorslab_alone(
    name: str, site: Site, refused: Refused
) -> None:
    raw = JSON | {"Authorization": site.server.key}
    refused(name, "bad key", "POST", SUBMIT[name], compact(LEAST[name]), raw)
    seen = site.send(*requests.look("tensorslab", NO_TASK), raw)
    assert seen.json()["msg"] == "There is no task of this id."


@each_dialect
@pytest.mark.parametrize("cause", ["key ended", "key disabled", "key rotated"])
def test_a_key_that_was_stopped_opens_nothing(
    name: str, cause: str, site: Site, refused: Refused
) -> None:
    key = site.new_key(PRICE)
    stop = {
        "key ended": lambda tx: keys.revoke(tx, key.id, time.time()),
        "key disabled": lambda tx: keys.disable(tx, key.id, time.time()),
        "key rotated": lambda tx: keys.rotate(tx, site.pepper, key, time.time()),
    }
    headers = JSON | {"Authorization": f"Bearer {key.name}"}
    # It works, until it is stopped.
    check_refusal(name, site.send(*requests.look(name, NO_TASK), headers), "unknown task")
    site.store.write(stop[cause])
    cause = "key ended" if cause == "key rotated" else cause
    for of, method, path, body in ADDRESSES:
        if of == name:
            refused(name, cause, method, path, body, headers)


@each_dialect
@pytest.mark.parametrize("credits", [0, 1, PRICE - 1])
def test_who_cannot_pay_is_told_so(name: str, credits: int, site: Site, refused: Refused) -> None:
    headers = JSON | {"Authorization": f"Bearer {site.new_key(credits).name}"}
    body = compact(LEAST[name])
    refused(name, "insufficient credits", "POST", SUBMIT[name], body, headers)


# What is asked for


class Absent:
    """A field that is not sent; shown by this name, so that every run names its cases alike."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()
NO_STRING: list[Any] = [7, 1.5, True, [], ["a"], {}, {"a": "b"}]
NO_PROMPT: list[Any] = [ABSENT, None, "", " ", "\n\t", "\u3000", "\u200b", "a\0b", "a\x1b[31m"]
NO_PROMPT += ["<|im_end|>", "a </think> b", "a\rb", "a" * 60_000, *NO_STRING]
NO_MODEL: list[Any] = [ABSENT, None, "", "gpt-image-1", "Z-IMAGE", " z-image", "z-image ", "*"]
NO_MODEL += ["a" * 10_000, "z-image\0", "ｚ-image", *NO_STRING]
NO_SWITCH: list[Any] = ["true", "", "1", 1, 0, 1.0, [], {}]
NO_SIZE = (
    "a 512 512x x512 x 512x512x512 0x0 00512x512 5:4 auto 1e9 1e3x512 5e2x5e2 -512x512".split()
)
NO_SIZE += (
    "512x-512 +512x512 512.0x512 0x200x512 ５１２x５１２ ٥١٢x٥١٢ 512×512 375x1024 1024x375".split()
)
NO_SIZE += ["1000000000x100", "100x1000000000", "9" * 30 + "x512", " 512x512", "512x512\n"]
NO_SIZE += ["512 x 512", "512x512px", "512x512\0", "x" * 9_000, "9" * 5_000 + "x" + "9" * 5_000]
TOO_LARGE = ["1537x1024", "1024x1537", "1000000000x1000000000", "99999999999999999999x512"]
NO_RATIO: list[Any] = ["", "3:2", "2:1", "1:1 ", "16x9", "１:1", "1024x1024", "1:1\0", *NO_STRING]
NO_SIDE: list[Any] = [375, 1537, 10**9, 0, -512, 512.5, 512.0, "", "1e3", "５１２", "512px", " 512"]
NO_SIDE += ["0x200", "9" * 30, 10**30, True, [512], {}]
NO_SEED: list[Any] = [2**31, 2**63, 10**30, 1.5, 1.0, "1.5", "abc", "１", "0x7", " 7", "+7", "1e3"]
NO_SEED += [True, False, [7], {}, -2, "-2", "2147483648", "9" * 30]

INPUTS: dict[tuple[str, str], list[Any]] = {
    ("evolink", "model"): [*NO_MODEL, "z-image"],
    ("evolink", "prompt"): [*NO_PROMPT, "a" * 2001, "🐈" * 2001],
    ("evolink", "size"): ["", "512X512", "512*512", *NO_SIZE, *TOO_LARGE, *NO_STRING],
    ("evolink", "seed"): [*NO_SEED, 0, -1, "7", "", "-1"],
    ("evolink", "nsfw_check"): NO_SWITCH,
    ("evolink", "n"): [0, 2, -1, 1.0, "1", True, [], {}, 10**30],
    ("evolink", "callback_url"): NO_STRING,
    ("kie", "model"): NO_MODEL,
    ("kie", "input"): [ABSENT, None, "a red barn", "", 7, True, [], [{"prompt": "a"}]],
    ("kie", "input.prompt"): [*NO_PROMPT, "a" * 1001, "🐈" * 1001, "🐈" * 2000],
    ("kie", "input.aspect_ratio"): NO_RATIO,
    ("kie", "input.nsfw_checker"): NO_SWITCH,
    ("kie", "callBackUrl"): NO_STRING,
    ("tensorslab", "prompt"): [*NO_PROMPT, "a" * 2001, "🐈" * 2001],
    ("tensorslab", "resolution"): [*NO_SIZE, "3K", "1 K", *NO_STRING],
    ("tensorslab", "seed"): NO_SEED,
    ("tensorslab", "prompt_extend"): ["2", "yes", "true", 2, -1, 1.5, "１", [1], {"a": 1}],
    ("tensorslab", "sourceImage"): ["x", ["x"], 7, True, {"url": "x"}],
    ("tensorslab", "imageUrl"): ["https://example.com/a.png", ["x"], 7],
    ("zimageturbo", "prompt"): [*NO_PROMPT, "a" * 1001, "🐈" * 1001, "🐈" * 2000],
    ("zimageturbo", "aspect_ratio"): NO_RATIO,
    ("zimageturbo", "size"): ["", "1:1", *NO_SIZE, *TOO_LARGE, *NO_STRING],
    ("zimageturbo", "width"): [512, *NO_SIDE],  # without a height
    ("zimageturbo", "height"): [512, *NO_SIDE],
    ("zimageturbo", "seed"): [*NO_SEED, ""],
}


@pytest.mark.parametrize(("name", "field"), INPUTS, ids=lambda each: str(each))
def test_a_field_that_is_not_as_documented_is_refused(
    name: str, field: str, refused: Refused
) -> None:
    for value in INPUTS[name, field]:
        fields = LEAST[name]
        fields = (
            without_field(fields, field) if value is ABSENT else with_field(fields, field, value)
        )
        body = refused.asked(name, fields).json()
        if name == "evolink":
            assert body["error"]["param"] == field


@pytest.mark.parametrize("field", ["width", "height"])
@pytest.mark.parametrize("value", NO_SIDE, ids=lambda each: repr(each)[:20])
def test_a_bad_side_beside_a_good_one_is_refused(field: str, value: Any, refused: Refused) -> None:
    sides = {"width": 512, "height": 512, field: value}
    refused.asked("zimageturbo", LEAST["zimageturbo"] | sides)


ANY, NO = "taken", "refused"
# EvoLink, kie, TensorsLab, zimageturbo.
SEEDS: list[tuple[Any, tuple[str, str, str, str]]] = [
    (0, (NO, ANY, ANY, ANY)),
    (-1, (NO, ANY, ANY, ANY)),
    (1, (ANY, ANY, ANY, ANY)),
    (2**31 - 1, (ANY, ANY, ANY, ANY)),
    (2**31, (NO, ANY, NO, NO)),
    (2**63, (NO, ANY, NO, NO)),
    (1.5, (NO, ANY, NO, NO)),
    ("7", (NO, ANY, ANY, ANY)),
    (None, (ANY, ANY, ANY, ANY)),
]


@each_dialect
@pytest.mark.parametrize(("seed", "outcomes"), SEEDS, ids=[repr(seed) for seed, _ in SEEDS])
def test_a_seed_is_taken_or_refused_as_documented(
    name: str, seed: Any, outcomes: tuple[str, ...], site: Site, refused: Refused
) -> None:
    fields = with_field(LEAST[name], "input.seed" if name == "kie" else "seed", seed)
    if outcomes[NAMES.index(name)] == NO:
        refused.asked(name, fields)
    else:
        site.taken(name, fields)


@pytest.mark.parametrize(
    ("name", "count"),
    [("evolink", 2000), ("kie", 1000), ("tensorslab", 2000), ("zimageturbo", 1000)],
)
def test_a_prompt_of_as_many_emoji_as_documented_is_drawn(
    name: str, count: int, site: Site
) -> None:
    field = "input.prompt" if name == "kie" else "prompt"
    asked = SMALL.get(name, {}) | with_field(LEAST[name], field, "🐈" * count)
    assert site.ended(task_id(name, site.ask(name, asked)))["status"] == "completed"


PRIVATE = """127.0.0.1 127.1 2130706433 0x7f000001 0x7f.1 127.0.0.1. 0.0.0.0 0 10.0.0.1 10.1
172.16.0.1 172.31.255.255 192.168.1.1 192.168.257 169.254.169.254 2852039166 0xa9fea9fe
100.100.100.200 168.63.129.16 224.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 [::1] [::]
[::ffff:127.0.0.1] [::ffff:7f00:1] [64:ff9b::7f00:1] [2002:7f00:1::] [fe80::1] [fc00::1]
[fd00:ec2::254] [ff02::1] [2001:db8::1] localhost LOCALHOST localhost. a.localhost ip6-localhost
0177.0.0.1 １２７.0.0.1 127。0。0。1 256.256.256.256 1.2.3.4.5 [::1 ::1 [fe80::1%25eth0]""".split()
CALLBACKS: dict[str, str] = {
    "http": "http://example.com/x",
    "ftp": "ftp://example.com/x",
    "file": "file:///etc/passwd",
    "no scheme": "example.com/x",
    "no scheme, slashes": "//example.com/x",
    "a word": "nonsense",
    "a space": " ",
    "no host": "https://",
    "no host but a path": "https:///x",
    "one slash": "https:/example.com/x",
    "a user": "https://user:secret@example.com/x",
    "an @": "https://example.com@127.0.0.1/",
    "a backslash": "https://example.com\\@127.0.0.1/",
    "a tab": "https://exa\tmple.com/",
    "a newline": "https://example.com/\r\nHost: a",
    "a NUL": "https://example.com/\0",
    "a space inside": "https://example.com/a b",
    "a joiner": "https://exam\u200dple.com/",
    "port 0": "https://example.com:0/",
    "port 65536": "https://example.com:65536/",
    "port none": "https://example.com:/",
    "port minus": "https://example.com:-1/",
    "an empty label": "https://example..com/",
    "a label of 64": f"https://{'a' * 64}.com/",
    "a host of 254": f"https://{'a.' * 126}aa/",
    "2049 long": "https://example.com/" + "a" * 2029,
    "60000 long": "https://example.com/" + "a" * 59_980,
    **{host: f"https://{host}/x" for host in PRIVATE},
}


@pytest.mark.parametrize(("name", "field"), [("evolink", "callback_url"), ("kie", "callBackUrl")])
@pytest.mark.parametrize("url", CALLBACKS.values(), ids=CALLBACKS)
def test_a_callback_url_that_must_not_be_called_is_refused(
    name: str, field: str, url: str, refused: Refused
) -> None:
    body = refused.asked(name, LEAST[name] | {field: url}).json()
    if name == "evolink":
        assert body["error"]["param"] == "callback_url"
    else:
        assert body["msg"].startswith("callBackUrl: ")
    assert "secret" not in str(body)


@pytest.mark.parametrize(("name", "field"), [("evolink", "callback_url"), ("kie", "callBackUrl")])
@pytest.mark.parametrize(
    "url", ["https://example.com/" + "a" * 2028, "https://1.1.1.1:443/x", "", None]
)
def test_a_callback_url_that_may_be_called_is_taken(
    name: str, field: str, url: str | None, site: Site
) -> None:
    site.taken(name, LEAST[name] | {field: url})


# What the documentation allows or does not speak of is taken


@pytest.mark.parametrize(
    ("name", "field"), [("evolink", "nsfw_check"), ("kie", "input.nsfw_checker")]
)
def test_a_strict_request_is_drawn_by_a_model_that_draws_no_people(
    name: str, field: str, site: Site
) -> None:
    asked = SMALL.get(name, {}) | with_field(LEAST[name], field, True)
    assert site.ended(task_id(name, site.ask(name, asked)))["status"] == "completed"


STRANGE: dict[str, Any] = {
    "": 0,
    "猫\0": "a\0b\x1b",
    "deep": [[[[[[[[{"a": [None]}]]]]]]]],
    "long": 10**4000,
    "small": -1e-300,
    "html": "</script><script>",
    "sql": "'); DROP TABLE task; --",
    "__proto__": {"constructor": 1},
    "list": [0] * 5000,
}


@each_dialect
def test_unknown_fields_are_ignored_and_shown_by_every_dialect(name: str, site: Site) -> None:
    identity = site.taken(name, STRANGE | LEAST[name])
    for each in NAMES:
        assert task_id(each, site.send(*requests.look(each, identity))) == identity


@each_dialect
@pytest.mark.parametrize(
    "content_type", [None, "application/json; charset=utf-8", "Application/JSON"]
)
def test_json_is_taken_by_any_of_its_names(name: str, content_type: str | None, site: Site) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = compact(LEAST[name] | SMALL.get(name, {}))
    site.cancelled(task_id(name, site.send("POST", SUBMIT[name], body, headers)))


@each_dialect
def test_a_body_of_64_kb_is_taken_and_one_byte_more_is_not(
    name: str, site: Site, refused: Refused
) -> None:
    body = compact(LEAST[name] | SMALL.get(name, {}))
    body = body[:-1] + b" " * (BODY_MAX - len(body)) + b"}"
    assert len(body) == BODY_MAX
    site.cancelled(task_id(name, site.send("POST", SUBMIT[name], body)))
    refused(name, "body too large", "POST", SUBMIT[name], body + b" ")


@each_dialect
def test_a_prompt_that_safety_blocks_fails_and_costs_nothing(name: str, site: Site) -> None:
    field = "input.prompt" if name == "kie" else "prompt"
    *_, spendable = site.books()
    identity = task_id(name, site.ask(name, with_field(LEAST[name], field, "a nude woman")))
    *_, left = site.books()
    assert left == spendable
    seen = {each: site.look(each, identity) for each in NAMES}
    assert seen["evolink"]["status"] == "failed"
    assert seen["evolink"]["error"]["code"] == "content_policy_violation"
    assert seen["evolink"]["usage"]["credits_used"] == 0
    assert "results" not in seen["evolink"]
    of_kie = seen["kie"]["data"]
    assert (of_kie["state"], of_kie["failCode"], of_kie["creditsConsumed"]) == ("fail", "422", 0)
    assert of_kie["resultJson"] == ""
    tensors = seen["tensorslab"]
    assert (tensors["code"], tensors["data"]["image_status"]) == (1000, 4)
    assert tensors["data"]["url"] == []
    turbo = seen["zimageturbo"]["data"]
    assert (turbo["status"], turbo["consumed_credits"], turbo["response"]) == ("FAILED", 0, [])
    assert turbo["error_message"] == of_kie["failMsg"] == tensors["data"]["error_message"] != ""


# Tasks

NO_IDS = [NO_TASK, "task_1763630000123007", "zimg_0f3a9c5e77b1d204", "0", "-", ".", "%2e", "%2e%2e"]
NO_IDS += [
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..%5cwin.ini",
    "a%00b",
    "%00",
    "a%0ab",
    "a%0d%0ab",
]
NO_IDS += [
    "a%20b",
    "%F0%9F%92%A5",
    "%ff",
    "%zz",
    "%",
    "%D9%A1",
    "';--",
    "*",
    "a" * 129,
    "a" * 8_000,
]


@each_dialect
@pytest.mark.parametrize("identity", NO_IDS, ids=lambda each: each[:40])
def test_an_id_that_is_no_tasks_is_not_found(name: str, identity: str, refused: Refused) -> None:
    # An EvoLink id with a slash is another address; both are 404.
    cause = "unknown route" if name == "evolink" and "%2f" in identity else "unknown task"
    refused(name, cause, *requests.look(name, identity))


@pytest.mark.parametrize("identity", NO_IDS, ids=lambda each: each[:40])
def test_what_is_no_task_is_not_cancelled(identity: str, refused: Refused) -> None:
    cause = "unknown route" if "%2f" in identity else "unknown task"
    refused("evolink", cause, "POST", f"/v1/tasks/{identity}/cancel")
    delete = compact({"taskids": [identity]})
    refused("tensorslab", "unknown task", "POST", "/v1/images/deleteimagestask", delete)


@each_dialect
def test_a_task_of_another_account_is_not_found(
    name: str, foreign: str, done: str, refused: Refused
) -> None:
    refused(name, "unknown task", *requests.look(name, foreign))
    if name == "evolink":
        refused(name, "unknown task", "POST", f"/v1/tasks/{foreign}/cancel")
    if name == "tensorslab":
        for ids in ([foreign], [done, foreign], [foreign, done]):
            body = compact({"taskids": ids})
            refused(name, "unknown task", "POST", "/v1/images/deleteimagestask", body)


def test_a_delete_that_is_refused_deletes_nothing(done: str, foreign: str, site: Site) -> None:
    body = compact({"taskids": [done, foreign]})
    assert site.send("POST", "/v1/images/deleteimagestask", body).json()["code"] == 9999
    link = urlsplit(site.look("evolink", done)["results"][0]).path
    assert site.anonymous("GET", link, None, {}).status == 200


def test_a_task_that_has_ended_cannot_be_cancelled(done: str, site: Site, refused: Refused) -> None:
    identity = site.taken("evolink", LEAST["evolink"])
    for each in (done, identity):
        refused("evolink", "not cancellable", "POST", f"/v1/tasks/{each}/cancel")
    body = compact({"taskids": [identity]})
    assert site.send("POST", "/v1/images/deleteimagestask", body).json()["code"] == 1000


@pytest.mark.parametrize("query", ["", "?", "?taskId=", "?taskid=x", "?task_id=x", "?taskId", "?x"])
def test_a_kie_query_without_an_id_is_400(query: str, refused: Refused) -> None:
    refused("kie", "no task id", "GET", "/api/v1/jobs/recordInfo" + query)


@pytest.mark.parametrize("query", ["", "?", "?task_id=", "?taskId=x", "?task_id", "?x"])
def test_a_zimageturbo_query_without_an_id_is_400(query: str, refused: Refused) -> None:
    refused("zimageturbo", "no task id", "GET", "/api/status" + query)


@pytest.mark.parametrize("fields", [{}, *({"taskid": each} for each in ["", None, *NO_STRING])])
def test_a_tensorslab_query_without_an_id_is_9999(fields: Any, refused: Refused) -> None:
    refused("tensorslab", "no task id", "POST", "/v1/images/infobytaskid", compact(fields))


NO_LISTS: list[Any] = [ABSENT, None, [], {}, "", NO_TASK, 7, True, [""], [None], [7], [[NO_TASK]]]
NO_LISTS += [["a", None], [{}], [True]]


@pytest.mark.parametrize("ids", NO_LISTS, ids=lambda each: repr(each)[:30])
def test_a_delete_without_a_list_of_ids_is_9999(ids: Any, refused: Refused) -> None:
    body = compact({} if ids is ABSENT else {"taskids": ids})
    refused("tensorslab", "bad input", "POST", "/v1/images/deleteimagestask", body)


def test_a_delete_of_thousands_of_ids_does_not_hold_up_the_others(site: Site) -> None:
    identity = site.taken("tensorslab", LEAST["tensorslab"])
    started = time.monotonic()
    site.send("POST", "/v1/images/deleteimagestask", compact({"taskids": [identity] * 2500}))
    assert time.monotonic() - started < 5


# Addresses

UNKNOWN: list[tuple[str, str]] = [
    ("evolink", "/v1"),
    ("evolink", "/v1/"),
    ("evolink", "/v1/tasks/"),
    ("evolink", "/v1/tasks//cancel"),
    ("evolink", "/v1/tasks/a/b"),
    ("evolink", f"/v1/tasks/{NO_TASK}/"),
    ("evolink", "/v1/models"),
    ("evolink", "/v1/images/generation"),
    ("evolink", "/v1/images/generations/"),
    ("evolink", "/v1/images//generations"),
    ("evolink", "/v1/images/Generations"),
    ("evolink", "/v1/../../etc/passwd"),
    ("evolink", "/v1/" + "a" * 8_000),
    ("evolink", "/v1/%ff%00"),
    ("evolink", "/v1/images/zimages"),
    ("kie", "/api/v1"),
    ("kie", "/api/v1/jobs/createTask/"),
    ("kie", "/api/v1/jobs/createtask"),
    ("kie", "/api/v1/jobs/recordInfo/"),
    ("kie", "/api/v1/jobs"),
    ("kie", "/api/v1/%2e%2e/generate"),
    ("tensorslab", "/v1/images/zimage/"),
    ("tensorslab", "/v1/images/zimage/x"),
    ("tensorslab", "/v1/images/infobytaskid/"),
    ("tensorslab", "/v1/images/deleteimagestask/x"),
    ("zimageturbo", "/api"),
    ("zimageturbo", "/api/"),
    ("zimageturbo", "/api/generate/"),
    ("zimageturbo", "/api/status/"),
    ("zimageturbo", "/api/v2/generate"),
    ("zimageturbo", "/api/Generate"),
]


@pytest.mark.parametrize(("name", "path"), UNKNOWN, ids=lambda each: each[:40])
def test_an_unknown_address_is_answered_in_the_words_of_its_prefix(
    name: str, path: str, refused: Refused
) -> None:
    for method, body in (("GET", None), ("POST", compact(LEAST[name]))):
        refused(name, "unknown route", method, path, body)
        refused(name, "unknown route", method, path, body, {}, anonymous=True)


ROUTES = [(each.method, each.path) for dialect in ALL for each in dialect.ROUTES]
ROUTES += [("HEAD", path) for method, path in ROUTES if method == "GET"]
ALLOWED = {path: {method for method, at in ROUTES if at == path} for _, path in ROUTES}
# /v1/tasks/batch is the address of a task, too.
TAKEN = {
    path: {method for method, at in ROUTES if re.fullmatch(at.replace("{id}", "[^/]+"), path)}
    for path in ALLOWED
}


METHODS = "GET POST PUT PATCH DELETE OPTIONS TRACE PROPFIND get FOO".split()
NOT_ALLOWED = [(path, each) for path in ALLOWED for each in METHODS if each not in TAKEN[path]]


@pytest.mark.parametrize(("path", "method"), NOT_ALLOWED)
def test_a_wrong_method_is_told_the_right_one(path: str, method: str, refused: Refused) -> None:
    name = next(each.NAME for each in ALL for route in each.ROUTES if route.path == path)
    reply = refused(name, "wrong method", method, path.replace("{id}", NO_TASK))
    assert set(reply.headers["allow"].split(", ")) == ALLOWED[path]


# Bodies

# In a whole request, the value of a field that nobody reads.
FAULTS: dict[str, bytes] = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"[-Infinity]",
    "1e999": b"1e999",
    "-1e999": b'{"a":-1e999}',
    "10000 lists": b"[" * 10_000 + b"]" * 10_000,
    "10000 objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "1000 lists": b"[" * 1000 + b"]" * 1000,
    "985 lists": b"[" * 985 + b"]" * 985,
    "a name twice": b'0,"x":0',
    "a name twice inside": b'{"a":0,"a":0}',
    "a name twice, once escaped": b'0,"\\u0078":0',
    "a string that is not closed": b'"',
    "a bare word": b"prompt",
    "a hex number": b"0x10",
    "5000 digits": b"9" * 5000,
    "bad UTF-8": b'"\xff"',
    "half of a UTF-8 character": b'"\xf0\x9f\x98"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "a surrogate as UTF-8": b'"\xed\xa0\x80"',
    "half a character": rb'"\ud800"',
    "halves in the wrong order": rb'"\udc00\ud800"',
    "half a character as a name": rb'{"\udfff":1}',
    "a bare NUL": b'"\0"',
    "a bare newline": b'"\n"',
    "a comma too many": b"0,",
}
# Instead of a request.
INSTEAD: dict[str, bytes] = {
    "empty": b"",
    "a space": b" ",
    "a list": b"[]",
    "a list of objects": b'[{"prompt":"a red barn"}]',
    "a string": b'"prompt"',
    "null": b"null",
    "true": b"true",
    "a number": b"7",
    "NaN": b"NaN",
    "open": b"{",
    "two": b"{}{}",
    "NULs": b"\0" * 100,
    "lists that never close": b"[" * 60_000,
    "objects that never close": b'{"a":' * 12_000,
    "a string that never closes": b'{"a":"' + b"a" * 60_000,
    "compressed": bytes.fromhex("1f8b08000000000002ffab5652aa050043bfa6a302000000"),
    "a form": b"prompt=a+red+barn",
    "a multipart form": b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--b--\r\n',
    "XML": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
}
# A whole request in another coding.
CODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-7"]


def whole(path: str, done: str) -> bytes:
    """A request that an address would take."""
    name, _ = POSTS[path]
    of_a_task = {"infobytaskid": {"taskid": done}, "deleteimagestask": {"taskids": [done]}}
    return compact(of_a_task.get(path.rpartition("/")[2], LEAST[name]))


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_request_with_one_fault_is_refused(
    path: str, fault: bytes, done: str, refused: Refused
) -> None:
    for body in (
        whole(path, done)[:-1] + b',"x":' + fault + b"}",
        b'{"x":' + fault + b"," + whole(path, done)[1:],
    ):
        refused(POSTS[path][0], "bad body", "POST", path, body)
        refused(POSTS[path][0], "bad body", "POST", path, body, {})


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", INSTEAD.values(), ids=INSTEAD)
def test_what_is_no_request_is_refused(path: str, body: bytes, refused: Refused) -> None:
    for headers in (JSON, {}):
        refused(POSTS[path][0], "bad body", "POST", path, body, headers)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_request_in_another_coding_is_refused(
    path: str, coding: str, done: str, refused: Refused
) -> None:
    text = whole(path, done).decode().replace("a red barn", "猫")
    body = text.encode(coding)
    headers = {"Content-Type": f"application/json; charset={coding}"}
    # UTF-7 is ASCII to look at, so what differs is the beginning.
    body = body if coding != "utf-7" else b"+" + body
    refused(POSTS[path][0], "bad body", "POST", path, body, headers)


NO_JSON_TYPES: list[str | bytes] = ["text/plain", "application/xml", "application/octet-stream"]
NO_JSON_TYPES += [
    "text/json",
    "application/jsonp",
    "application/json, text/html",
    "*/*",
    "nonsense",
]
NO_JSON_TYPES += [b"\xff\xfe", "multipart/mixed; boundary=b", "image/png", "a" * 9_000]
FORM_TYPES: list[str | bytes] = ["multipart/form-data; boundary=b", "multipart/form-data"]
FORM_TYPES += ["application/x-www-form-urlencoded"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "content_type", [*NO_JSON_TYPES, *FORM_TYPES], ids=lambda each: repr(each)[:30]
)
def test_a_body_of_another_type_is_refused(
    path: str, content_type: str | bytes, done: str, refused: Refused
) -> None:
    name, reads_forms = POSTS[path]
    cause = "bad body" if reads_forms and content_type in FORM_TYPES else "bad content type"
    headers = {"Content-Type": content_type}
    refused(name, cause, "POST", path, whole(path, done), headers)


@pytest.mark.parametrize("path", [*POSTS, CANCEL])
def test_a_body_that_is_too_large_is_refused(path: str, refused: Refused) -> None:
    name, _ = POSTS.get(path, ("evolink", False))
    piece = b" " * 10_000
    for body in (b" " * (BODY_MAX + 1), b" " * 500_000, iter([piece] * 7), iter([piece] * 100)):
        refused(name, "body too large", "POST", path, body)
        if isinstance(body, bytes):
            form = {"Content-Type": "multipart/form-data; boundary=b"}
            refused(name, "body too large", "POST", path, body, form)


@each_dialect
def test_a_look_with_a_body_that_is_too_large_is_refused(name: str, refused: Refused) -> None:
    method, path, _ = requests.look(name, NO_TASK)
    refused(name, "body too large", method, path, b" " * (BODY_MAX + 1))


# What the server under the service meets


def line(site: Site, sent: bytes, close: bool = False) -> bytes:
    """What comes back on a connection after these bytes."""
    port = urlsplit(site.server.url).port
    answer = b""
    address = "127.0.0.1", port or 0
    with (
        socket.create_connection(address, timeout=5) as connection,
        suppress(BrokenPipeError, ConnectionResetError),
    ):
        connection.sendall(sent)
        with suppress(OSError):  # it has been turned away already
            if close:
                connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize("path", [*POSTS, CANCEL])
@pytest.mark.parametrize("said", [BODY_MAX + 1, 10**9, 10**19])
def test_a_body_that_is_said_to_be_too_large_is_refused_before_it_comes(
    path: str, said: int, site: Site
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.server.key}\r\n"
    books = site.books()
    answer = line(site, f"{head}Connection: close\r\nContent-Length: {said}\r\n\r\n".encode())
    name, _ = POSTS.get(path, ("evolink", False))
    status, code = {
        "evolink": (413, b'"request_too_large"'),
        "kie": (200, b'"code":422'),
        "tensorslab": (413, b'"code":9999'),
        "zimageturbo": (413, b'"code":413'),
    }[name]
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert code in answer
    assert site.books() == books


GET_TASK = b"GET /v1/tasks/a HTTP/1.1\r\nHost: localhost\r\n"
POST_BODY = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\n"
NO_HTTP: dict[str, bytes] = {
    "nonsense": b"nonsense\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\0" * 200,
    "NULs": b"\0" * 1000,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a path that is not ASCII": b"GET /v1/tasks/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space in the path": b"GET /v1/tasks/a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /v1/tasks/a HTTP/1.1\r\n\r\n",
    "a header without a colon": GET_TASK + b"nonsense\r\n\r\n",
    "a NUL in a header": GET_TASK + b"Authorization: a\0b\r\n\r\n",
    "headers of 300 kB": GET_TASK + b"A: " + b"a" * 300_000 + b"\r\n\r\n",
    "two lengths": POST_BODY + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length below zero": POST_BODY + b"Content-Length: -1\r\n\r\n",
    "a length in words": POST_BODY + b"Content-Length: two\r\n\r\n{}",
    "a length of 60 digits": POST_BODY + b"Content-Length: " + b"9" * 60 + b"\r\n\r\n",
    "a chunk of no length": POST_BODY + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "another transfer": POST_BODY + b"Transfer-Encoding: gzip\r\n\r\n{}",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_turned_away(sent: bytes, site: Site) -> None:
    books = site.books()
    answer = line(site, sent, close=True)
    assert answer == b"" or answer[9:12] == b"501" or answer[9:10] == b"4", answer[:200]
    assert site.books() == books


@each_dialect
@pytest.mark.parametrize("framing", ["Content-Length: 9999", "Transfer-Encoding: chunked"])
def test_a_body_that_ends_too_soon_makes_no_task(name: str, framing: str, site: Site) -> None:
    body = compact(LEAST[name])
    if "chunked" in framing:
        body = b"%x\r\n%s\r\n" % (len(body), body)
    head = f"POST {SUBMIT[name]} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Authorization: Bearer {site.server.key}\r\n"
    books = site.books()
    line(site, f"{head}{framing}\r\n\r\n".encode() + body, close=True)
    assert site.alive()
    assert site.books() == books


# Forms


def part(name: str, value: bytes | str, more: str = "") -> bytes:
    value = value if isinstance(value, bytes) else value.encode()
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def multipart(*parts: bytes, boundary: str = "; boundary=b") -> tuple[bytes, Headers]:
    body = b"".join(parts) + b"--b--\r\n"
    return body, {"Content-Type": "multipart/form-data" + boundary}


def cut(*parts: bytes) -> tuple[bytes, Headers]:
    """A form without its end."""
    return b"".join(parts), {"Content-Type": "multipart/form-data; boundary=b"}


PROMPT = part("prompt", "a red barn")
NO_FORMS: dict[str, tuple[bytes, Headers]] = {
    "no boundary": multipart(PROMPT, boundary=""),
    "an empty boundary": multipart(PROMPT, boundary="; boundary="),
    "another boundary": multipart(PROMPT, boundary="; boundary=c"),
    "a boundary of 5000": multipart(PROMPT, boundary="; boundary=" + "b" * 5000),
    "nothing": (b"", {"Content-Type": "multipart/form-data; boundary=b"}),
    "no part": multipart(),
    "no prompt": multipart(part("seed", "7")),
    "an empty prompt": multipart(part("prompt", "")),
    "a NUL": multipart(part("prompt", "a\0b")),
    "a file": multipart(part("prompt", "a", '; filename="a.txt"')),
    "a file beside": multipart(PROMPT, part("sourceImage", b"\x89PNG", '; filename="a.png"')),
    "a file of any name": multipart(PROMPT, part("x", "", '; filename="../../x"')),
    "no name": multipart(PROMPT, b"--b\r\nContent-Disposition: form-data\r\n\r\na\r\n"),
    "no disposition": multipart(PROMPT, b"--b\r\nContent-Type: text/plain\r\n\r\na\r\n"),
    "a field twice": multipart(PROMPT, PROMPT),
    "bad UTF-8": multipart(part("prompt", b"a \xff barn")),
    "a surrogate": multipart(part("prompt", b"\xed\xa0\x80")),
    "bad UTF-8 in a name": multipart(PROMPT, PROMPT.replace(b"prompt", b"\xff")),
    "UTF-16": multipart(part("prompt", "a red barn".encode("utf-16"))),
    "101 parts": multipart(PROMPT, *(part(f"x{n}", "") for n in range(100))),
    "1000 parts": multipart(PROMPT, *(part(f"x{n}", "") for n in range(1000))),
    "cut after a part": cut(PROMPT),
    "cut in the next part's header": cut(PROMPT, b"--b\r\nContent-Disp"),
    "cut in the next part's value": cut(PROMPT, part("resolution", "376*3")[:-2]),
    "cut in the last boundary": cut(PROMPT, b"--b"),
    "a bad header": multipart(PROMPT, b"--b\r\nnonsense\r\n\r\na\r\n"),
    "a long header": multipart(PROMPT, b"--b\r\nA: " + b"a" * 50_000 + b"\r\n\r\na\r\n"),
    "bad base64": multipart(part("prompt", "Y", "\r\nContent-Transfer-Encoding: base64")),
    "a long prompt": multipart(part("prompt", "🐈" * 2001)),
    "a bad seed": multipart(PROMPT, part("seed", "1.5")),
    "a small size": multipart(PROMPT, part("resolution", "375*1024")),
    "a bad switch": multipart(PROMPT, part("prompt_extend", "yes")),
    "an image": multipart(PROMPT, part("imageUrl", "https://example.com/a.png")),
}
NO_URLENCODED = [b"", b"seed=7", b"prompt", b"prompt=", b"prompt=a&prompt=b", b"prompt=%ff"]
NO_URLENCODED += [b"prompt=\xff", b"prompt=a%00b", b"prompt=a&seed=1.5", b"prompt=a&resolution=1*1"]
NO_URLENCODED += [b"prompt=a&pro%6dpt=b", b"prompt=a&resolution=375%2A1024", b"prompt=%ed%a0%80"]
NO_URLENCODED += [b"prompt=a&" + b"&".join(b"%d=" % n for n in range(5000)), b"=" * 60_000]


@pytest.mark.parametrize(("body", "headers"), NO_FORMS.values(), ids=NO_FORMS)
def test_a_form_that_is_not_as_documented_is_refused(
    body: bytes, headers: Headers, refused: Refused
) -> None:
    refused("tensorslab", "bad body", "POST", SUBMIT["tensorslab"], body, headers)


@pytest.mark.parametrize("body", NO_URLENCODED, ids=lambda body: repr(body[:20]))
def test_a_urlencoded_form_that_is_not_as_documented_is_refused(
    body: bytes, refused: Refused
) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    refused("tensorslab", "bad body", "POST", SUBMIT["tensorslab"], body, headers)


def test_a_form_of_10000_parts_is_too_large(refused: Refused) -> None:
    form = multipart(PROMPT, *(part(f"x{n}", "") for n in range(10_000)))
    refused("tensorslab", "body too large", "POST", SUBMIT["tensorslab"], *form)


@pytest.mark.parametrize("kind", ["multipart", "urlencoded"])
def test_a_form_is_taken_with_its_very_characters(kind: str, site: Site) -> None:
    if kind == "multipart":
        form = multipart(part("prompt", "1+1=2 & 100% 猫"), part("resolution", "376*384"))
    else:
        body = "prompt=1%2B1%3D2+%26+100%25%20%E7%8C%AB&resolution=376%2A384"
        form = body.encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    reply = site.send("POST", SUBMIT["tensorslab"], *form)
    data = site.look("tensorslab", site.cancelled(task_id("tensorslab", reply)))["data"]
    assert (data["prompt"], data["width"], data["height"]) == ("1+1=2 & 100% 猫", 376, 384)


# Anything at all

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
WORDS = """model prompt size seed n nsfw_check callback_url callBackUrl input resolution taskid
taskids prompt_extend sourceImage imageUrl aspect_ratio width height nsfw_checker""".split()
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["z-image", "z-image-turbo", "16:9", "1024x768", "https://example.com/", "7"]),
)
VALUES = st.recursive(
    PLAIN,
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.sampled_from(WORDS), of),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), VALUES, max_size=6)


@each_dialect
@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(fields=FIELDS, whole=st.integers(0, 7))
def test_any_json_object_is_answered(
    name: str, fields: dict[str, Any], whole: int, site: Site
) -> None:
    asked = fields | LEAST[name] if whole == 0 else fields
    reply = site.send("POST", SUBMIT[name], compact(asked))
    assert reply.status < 500
    requests.check_reply(reply)
    body = reply.json()
    if body.get("id") or body.get("data"):
        identity = site.cancelled(task_id(name, reply))
        for each in NAMES:
            assert site.look(each, identity)
    elif name in ("kie", "tensorslab"):
        assert body["code"] in (422, 9999)


PIECES = [b"--b", b"\r\n", b"--b--", b'Content-Disposition: form-data; name="prompt"', b"prompt="]
PIECES += [
    b'{"prompt":',
    b'"a"',
    b"}",
    b"[",
    b"NaN",
    b"\0",
    b"\xff",
    b"%",
    b"&",
    b"=",
    b"; filename=a",
]
TYPES = ["application/json", "multipart/form-data; boundary=b", "multipart/form-data", "text/plain"]
TYPES += ["application/x-www-form-urlencoded", "", "multipart/form-data; boundary*=utf-8''b", ";"]


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(
    path=st.sampled_from([*POSTS, CANCEL]),
    content_type=st.sampled_from(TYPES) | st.text(st.characters(codec="latin-1", categories=["L"])),
    body=st.binary(max_size=40)
    | st.lists(st.sampled_from(PIECES) | st.binary(max_size=4)).map(b"".join),
)
def test_any_bytes_of_any_type_are_answered(
    path: str, content_type: str, body: bytes, site: Site
) -> None:
    reply = site.send("POST", path, body, {"Content-Type": content_type.encode("latin-1")})
    assert reply.status < 500
    requests.check_reply(reply)
    assert reply.json().get("code") != 500
    name, _ = POSTS.get(path, ("evolink", False))
    if path in SUBMIT.values() and (reply.json().get("id") or reply.json().get("data")):
        site.cancelled(task_id(name, reply))


# After all that


def test_the_service_still_draws(site: Site) -> None:
    assert site.send("GET", "/readyz").json()["ready"]
    identity = task_id("evolink", site.ask("evolink", LEAST["evolink"] | SMALL["evolink"]))
    assert site.ended(identity)["status"] == "completed"


def test_the_memory_is_where_it_was(site: Site, before: tuple[int, int]) -> None:
    assert site.memory() - before[0] < GROWTH_MAX


def test_the_log_tells_of_nothing_that_broke(site: Site, before: tuple[int, int]) -> None:
    log = site.log()[before[1] :]
    assert "Traceback" not in log
    assert "no answer" not in log
    assert "the worker ended" not in log
