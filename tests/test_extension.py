"""Extended prompts, from a real server on loopback that answers as each test says."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from tests import servers
from zing import config, extension
from zing.errors import BadSetting
from zing.extension import Chat, Off
from zing.netguard import Door, Rules
from zing.task import PROMPT_MAX

KEY = "sk-hunter2"
PROMPT = 'two red barns with the word "OPEN" over the door'
MORE = 'Two red barns at dusk, the word "OPEN" in white letters over the wide door, soft light.'

Script = Callable[[BaseHTTPRequestHandler], None]


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    with suppress(OSError):  # who asked reads no further
        handler.wfile.write(body)


def body(status: int, text: bytes, **headers: str) -> Script:
    return lambda handler: send(handler, status, text, **headers)


def completion(content: Any, **more: Any) -> Script:
    """A chat completion with this text."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}} | more
    return body(200, json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


class Model:
    """A chat server: `script` answers, `asked` remembers."""

    def __init__(self) -> None:
        self.script: Script = completion(MORE)
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.ended = threading.Event()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                model.asked.append((self.path, headers, json.loads(sent)))
                model.script(self)

            def log_message(self, *_: Any) -> None:
                """Tests read what zing logs."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def chat(self, timeout_s: float = 10.0, **changes: Any) -> Chat:
        door = Door(Rules(private=("127.0.0.1",)))
        usual: dict[str, Any] = {
            "url": self.url,
            "model": "m-4b",
            "key": KEY,
            "timeout_s": timeout_s,
            "door": door,
        }
        return Chat(**(usual | changes))

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """No answer until the test ends."""
        self.ended.wait(20)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        """A header, and then a byte now and then."""
        handler.send_response(200)
        handler.end_headers()
        while not self.ended.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()


@pytest.fixture
def model() -> Iterator[Model]:
    """A running chat server."""
    made = Model()
    made.thread.start()
    yield made
    made.ended.set()
    made.server.shutdown()
    made.thread.join(10)
    made.server.server_close()


def extend(chat: Chat, prompt: str = PROMPT) -> str | None:
    return asyncio.run(chat.extend(prompt))


# What is asked and what comes of it.


def test_a_prompt_is_extended(model: Model) -> None:
    assert extend(model.chat()) == MORE
    ((path, headers, asked),) = model.asked
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert (asked["model"], asked["stream"]) == ("m-4b", False)
    system, user = asked["messages"]
    assert (system["role"], user) == ("system", {"role": "user", "content": PROMPT})
    assert "at most 800 characters" in system["content"]
    assert PROMPT not in system["content"]


def test_a_long_prompt_need_not_become_shorter(model: Model) -> None:
    long = "a red barn, " * 100
    extend(model.chat(), long)
    assert f"at most {len(long)} characters" in model.asked[0][2]["messages"][0]["content"]


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_the_address_may_end_in_a_slash(model: Model, end: str) -> None:
    assert extend(model.chat(url=model.url + end)) == MORE
    assert model.asked[0][0] == "/v1/chat/completions"


def test_without_a_key_none_is_sent(model: Model) -> None:
    assert extend(model.chat(key="")) == MORE
    assert "authorization" not in model.asked[0][1]


@pytest.mark.parametrize(
    ("written", "bare"),
    [
        (f"  {MORE}\n\n", MORE),
        (f"<think>\nThey want barns.\n</think>\n\n{MORE}", MORE),
        (f"They want barns.\n</think>{MORE}", MORE),
        ("“A quiet red barn.”", "A quiet red barn."),
        ('"A quiet red barn."', "A quiet red barn."),
        ("「A quiet red barn.」", "A quiet red barn."),
        ("<think></think>\n'A quiet red barn.'\n", "A quiet red barn."),
        ('"A" beside "B"', '"A" beside "B"'),
        ("“OPEN” and “SHUT”", "“OPEN” and “SHUT”"),
        ('A barn with "OPEN"', 'A barn with "OPEN"'),
        ("A barn\nat dusk", "A barn\nat dusk"),
        ("x" * PROMPT_MAX, "x" * PROMPT_MAX),
        (f"  {'x' * PROMPT_MAX}  ", "x" * PROMPT_MAX),
    ],
    ids=lambda text: text[:30],
)
def test_what_models_put_around_a_prompt_is_taken_off(
    model: Model, written: str, bare: str
) -> None:
    model.script = completion(written)
    assert extend(model.chat()) == bare


def test_a_chinese_prompt_stays_chinese(model: Model) -> None:
    more = "一只橘色的猫咪坐在窗台上,午后的阳光,招牌上写着“OPEN”。"
    model.script = completion(more)
    assert extend(model.chat(), "一只可爱的猫咪") == more
    assert model.asked[0][2]["messages"][1]["content"] == "一只可爱的猫咪"


# Whatever goes wrong, there is none, and a line says why.

NO_COMPLETION = {
    "no JSON": body(200, b"<html>"),
    "half of JSON": body(200, b'{"choices":[{"message":{"content":"a b'),
    "no UTF-8": body(200, b'{"choices":[{"message":{"content":"\xff\xfe"}}]}'),
    "deep JSON": body(200, b"[" * 50_000),
    "another JSON": body(200, b'{"ok":true}'),
    "a list": body(200, b"[]"),
    "nothing": body(200, b""),
    "no choices": body(200, b'{"choices":[]}'),
    "odd choices": body(200, b'{"choices":["a barn"]}'),
    "packed": body(200, b"\x1f\x8b\x08\x00", Content_Encoding="gzip"),
}
NO_TEXT = {
    "null": completion(None),
    "parts": completion([{"type": "text", "text": MORE}]),
    "a number": completion(7),
    "no text": completion(""),
    "spaces": completion(" \n\t"),
    "quotation marks": completion('""'),
    "thoughts alone": completion("<think>What is a barn?</think>"),
}
BROKEN: dict[str, Script] = {
    "a cut body": body(200, b'{"choices":', Content_Length="5000"),
    "no HTTP": lambda handler: handler.connection.sendall(b"SSH-2.0-OpenSSH\r\n"),
    "hung up": lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
}
# The reason that is logged, by what is answered.
USELESS: dict[str, tuple[str, Script]] = {
    "error": ("answered 500", body(500, b'{"error":{"message":"boom"}}')),
    "no such key": ("answered 401", body(401, json.dumps({"error": f"no key {KEY}"}).encode())),
    "too many": ("answered 429", body(429, b"", Retry_After="1")),
    "elsewhere": ("answered 307", body(307, b"", Location="/v1/other")),
    **{case: ("no chat completion", script) for case, script in NO_COMPLETION.items()},
    **{case: ("wrote no text", script) for case, script in NO_TEXT.items()},
    **{case: ("127.0.0.1 ", script) for case, script in BROKEN.items()},
    "thoughts without an end": ("<think>", completion("<think>What is a barn?")),
    "cut off": ("cut off", completion(MORE, finish_reason="length")),
    "too long": ("2001 characters", completion("x" * (PROMPT_MAX + 1))),
    "a control token": ("<|im_end|>", completion("A barn <|im_end|>")),
    "a control character": ("U+001B", completion("A barn\x1b[2J")),
    "half a character": ("half a character", completion("A barn \ud83d")),
    "unsafe": ("wrote is not drawn", completion("a nude man in a red barn")),
    "another language": ("another language", completion("黄昏时分的两座红色谷仓。")),
    "100 MB": ("too much", lambda handler: send(handler, 200, bytes(100_000_000))),
}


@pytest.mark.parametrize("case", USELESS)
def test_of_a_useless_answer_nothing_is_taken(
    model: Model, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    reason, model.script = USELESS[case]
    assert extend(model.chat()) is None
    assert len(model.asked) == 1, "asked once, and nobody else"
    assert reason in caplog.text
    assert_a_line_says_why(caplog)


def assert_a_line_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """One warning for the operator, and neither the prompt nor the key in it."""
    (record,) = [each for each in caplog.records if each.name == "zing.extension"]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("a prompt was not extended: ")
    assert "\n" not in record.getMessage()
    for secret in (PROMPT, "barn", KEY):
        assert secret not in caplog.text


def test_an_english_answer_to_a_chinese_prompt_is_not_taken(model: Model) -> None:
    assert extend(model.chat(), "一只可爱的猫咪") is None


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_who_is_slow_is_not_waited_for(
    model: Model, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    model.script = getattr(model, how)
    assert extend(model.chat(timeout_s=0.3)) is None
    assert "0.3 s" in caplog.text
    assert_a_line_says_why(caplog)


def test_who_is_not_there_is_done_without(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert extend(model.chat(url=f"http://127.0.0.1:{port}/v1")) is None
    assert_a_line_says_why(caplog)


def test_an_error_of_no_kind_is_survived_and_tells_nothing(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(httpcore2.AsyncNetworkBackend):
        async def connect_tcp(self, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
            raise RuntimeError(f"{PROMPT} {KEY}")

    door = Door(Rules(private=("127.0.0.1",)), backend=Odd())
    assert extend(model.chat(door=door)) is None
    assert "RuntimeError" in caplog.text
    assert PROMPT not in caplog.text
    assert KEY not in caplog.text


def test_who_no_longer_waits_is_let_go(model: Model) -> None:
    """Ending the service, or the request, is no error of the model's."""
    model.script = model.hang

    async def give_up() -> None:
        await asyncio.wait_for(model.chat().extend(PROMPT), 0.3)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())


def test_several_prompts_are_extended_at_once(model: Model) -> None:
    together = threading.Barrier(5)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        together.wait(10)
        completion(MORE)(handler)

    model.script = answer
    chat = model.chat()

    async def all_at_once() -> list[str | None]:
        return await asyncio.gather(*(chat.extend(PROMPT) for _ in range(5)))

    assert asyncio.run(all_at_once()) == [MORE] * 5


def test_a_running_service_draws_the_extended_prompt(model: Model, tmp_path: Path) -> None:
    settings = {"EXTEND_URL": model.url, "EXTEND_MODEL": "m-4b", "EXTEND_PRIVATE": "127.0.0.1"}
    zing = {f"ZING_{name}": value for name, value in settings.items()}
    with servers.serving(tmp_path / "data", **zing) as server:

        def shown(extend: str) -> Any:
            """The task of a prompt, when it has ended."""
            asked = {"prompt": PROMPT, "resolution": "376*376", "prompt_extend": extend}
            made = server.http.post("/v1/images/zimage", json=asked).json()
            assert made["code"] == 1000, made
            return servers.until(partial(ended, server, made["data"]["taskid"]))

        extended, plain = shown("1"), shown("0")
    assert (extended["image_status"], extended["prompt"]) == (3, PROMPT)
    assert extended["actual_prompt"] == MORE
    assert plain["image_status"] == 3
    assert len(model.asked) == 1, "nobody else's prompt is shown to the model"


def ended(server: servers.Server, task_id: str) -> Any:
    """A task as TensorsLab shows it; None while it is open."""
    data = server.http.post("/v1/images/infobytaskid", json={"taskid": task_id}).json()["data"]
    return data if data["image_status"] in (3, 4) else None


# What is sent to nobody.


@pytest.mark.parametrize("prompt", ["a nude man", "性感的15岁学生"])
def test_a_prompt_that_will_not_be_drawn_is_shown_to_no_model(model: Model, prompt: str) -> None:
    assert extend(model.chat(), prompt) is None
    assert model.asked == []


def test_a_host_that_is_not_named_as_private_is_not_asked_at_a_private_address(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    port = model.server.server_address[1]
    door = Door(Rules(ports=frozenset({port})), resolve=lambda _: ["127.0.0.1"])
    assert extend(model.chat(url=f"https://models.example:{port}/v1", door=door)) is None
    assert model.asked == []
    assert "127.0.0.1" in caplog.text


def test_off_extends_nothing() -> None:
    assert asyncio.run(Off().extend(PROMPT)) is None


# Settings.

NAMES = [
    setting.variable
    for setting in vars(config).values()
    if isinstance(setting, config.Setting)
    and ("EXTEND" in setting.variable or "EGRESS" in setting.variable)
]


def read(monkeypatch: pytest.MonkeyPatch, **settings: str) -> extension.Extender:
    """The extender of these settings, written without ZING_."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(f"ZING_{name}", value)
    return extension.read()


def test_it_is_off_until_an_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(read(monkeypatch), Off)
    assert isinstance(read(monkeypatch, EXTEND_MODEL="m", EXTEND_KEY=KEY), Off)


def test_the_settings_make_a_chat(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"EXTEND_URL": model.url, "EXTEND_MODEL": "m-4b", "EXTEND_PRIVATE": "127.0.0.1"}
    made = read(monkeypatch, **settings, EXTEND_KEY=KEY, EXTEND_TIMEOUT="2.5")
    assert isinstance(made, Chat)
    assert (made.model, made.timeout_s) == ("m-4b", 2.5)
    assert extend(made) == MORE
    assert model.asked[0][1]["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(made)


@pytest.mark.parametrize(
    "url",
    ["https://api.example.com/v1", "https://api.example.com:8443/v1/", "https://api.example.com"],
)
def test_an_https_address_is_taken_at_any_port(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    made = read(monkeypatch, EXTEND_URL=url, EXTEND_MODEL="m")
    assert isinstance(made, Chat)
    assert (made.url, made.key, made.timeout_s) == (url, "", 8.0)


GOOD = {"EXTEND_URL": "https://api.example.com/v1", "EXTEND_MODEL": "m"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"EXTEND_URL": "http://api.example.com/v1"}, "ZING_EXTEND_PRIVATE"),
        ({"EXTEND_URL": "http://127.0.0.1:11434/v1"}, "ZING_EXTEND_PRIVATE"),
        ({"EXTEND_URL": "https://10.0.0.5/v1"}, "ZING_EXTEND_PRIVATE"),
        ({"EXTEND_URL": "https://localhost/v1"}, "ZING_EXTEND_PRIVATE"),
        ({"EXTEND_URL": "api.example.com"}, "ZING_EXTEND_URL"),
        ({"EXTEND_URL": "ftp://api.example.com"}, "ZING_EXTEND_URL"),
        ({"EXTEND_URL": "https://u:hunter3@api.example.com/v1"}, "ZING_EXTEND_URL"),
        ({"EXTEND_URL": "https://api.example.com:0/v1"}, "ZING_EXTEND_URL"),
        ({"EXTEND_URL": "https://api.example.com:port/v1"}, "ZING_EXTEND_URL"),
        ({"EXTEND_URL": "https://[::1/v1"}, "ZING_EXTEND_URL"),
        ({"EXTEND_URL": "https://api.example.com/v1?version=hunter3"}, "ZING_EXTEND_URL"),
        ({"EXTEND_URL": "https://api.example.com/v1#hunter3"}, "ZING_EXTEND_URL"),
        ({"EXTEND_MODEL": ""}, "ZING_EXTEND_MODEL"),
        ({"EXTEND_MODEL": "two\nlines"}, "ZING_EXTEND_MODEL"),
        ({"EXTEND_KEY": "hunter3 hunter3"}, "ZING_EXTEND_KEY"),
        ({"EXTEND_KEY": "hunter3\n"}, "ZING_EXTEND_KEY"),
        ({"EXTEND_PRIVATE": "http://10.0.0.5"}, "ZING_EXTEND_PRIVATE"),
        ({"EXTEND_TIMEOUT": "soon"}, "ZING_EXTEND_TIMEOUT"),
        ({"EXTEND_TIMEOUT": "0"}, "ZING_EXTEND_TIMEOUT"),
        ({"EGRESS_PROXY": "socks5://hunter3@proxy"}, "ZING_EGRESS_PROXY"),
    ],
    ids=lambda value: str(value),
)
def test_a_bad_setting_is_a_sentence_at_the_start(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], named: str
) -> None:
    with pytest.raises(BadSetting) as refused:
        read(monkeypatch, **(GOOD | changes))
    assert named in str(refused.value)
    assert str(refused.value).endswith(".")
    assert "hunter3" not in str(refused.value)
