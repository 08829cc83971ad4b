"""Bodies of requests: what is read from them, and what of the rest is refused and how."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from zing import bodies
from zing.bodies import form, json_object
from zing.errors import BadBody, BadContentType, Refused

JSON = {"content-type": "application/json"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}


def part(name: str, value: str | bytes, more: str = "") -> bytes:
    value = value if isinstance(value, bytes) else value.encode()
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


# JSON


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("{}", {}),
        (' {"a" : 1}\n', {"a": 1}),
        ('{"a":{"b":[1,2.5,null,true]}}', {"a": {"b": [1, 2.5, None, True]}}),
        ('{"a":"猫 🐈"}', {"a": "猫 🐈"}),
        (r'{"a":"\ud83d\ude00"}', {"a": "😀"}),
        (r'{"a":"\u0000"}', {"a": "\0"}),
        ('{"a":1,"A":2}', {"a": 1, "A": 2}),
        ('{"a":{"a":{"a":1}}}', {"a": {"a": {"a": 1}}}),
        ('{"a":1e308}', {"a": 1e308}),
        ('{"a":%s}' % ("9" * 4000), {"a": 10**4000 - 1}),
        ('{"":""}', {"": ""}),
    ],
)
def test_an_object_is_read(body: str, fields: dict[str, Any]) -> None:
    assert json_object(JSON, body.encode()) == fields
    assert form(JSON, body.encode()) == fields


NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "a space": b" ",
    "a list": b"[]",
    "a string": b'"prompt"',
    "a number": b"7",
    "null": b"null",
    "true": b"true",
    "open": b"{",
    "closed": b"}",
    "two": b"{}{}",
    "a comma too many": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "a bare name": b"{a:1}",
    "a comment": b'{"a":1}//',
    "a name twice": b'{"a":1,"a":1}',
    "a name twice, once escaped": b'{"a":1,"\\u0061":2}',
    "a name twice inside": b'{"x":[{"a":1,"a":2}]}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":[Infinity]}',
    "-Infinity": b'{"a":{"b":-Infinity}}',
    "1e999": b'{"a":1e999}',
    "-1e999": b'{"a":-1e999}',
    "a hex number": b'{"a":0x10}',
    "a leading zero": b'{"a":007}',
    "5000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "bad UTF-8": b'{"a":"\xff"}',
    "half of a UTF-8 character": b'{"a":"\xf0\x9f\x98"}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "a surrogate as UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "half a character": rb'{"a":"\ud800"}',
    "the other half": rb'{"a":"\udc00\ud800"}',
    "half a character in a name": rb'{"\ud800":1}',
    "a bare NUL": b'{"a":"\0"}',
    "a NUL at the end": b'{"a":1}\0',
    "a bare newline": b'{"a":"\n"}',
    "10000 lists deep": b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10000 objects deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "30000 lists that never close": b"[" * 30_000,
}


@pytest.mark.parametrize("reader", [json_object, form], ids=lambda each: each.__name__)
@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_plain_object_is_refused(
    reader: Callable[[dict[str, str], bytes], object], body: bytes
) -> None:
    with pytest.raises(BadBody) as refused:
        reader(JSON, body)
    assert str(refused.value).endswith(".")
    assert len(str(refused.value)) < 200
    assert "sys." not in str(refused.value)


def at_depth(frames: int, call: Callable[[], object]) -> object:
    return call() if frames == 0 else at_depth(frames - 1, call)


def opening(depth: int, opened: str, closed: str) -> bytes:
    return ('{"a":' + opened * depth + "1" + closed * depth + "}").encode()


def test_nesting_has_a_limit_of_its_own() -> None:
    lists = bodies.DEPTH_MAX - 1  # inside the object
    assert json_object(JSON, opening(lists, "[", "]"))
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        with pytest.raises(BadBody):
            json_object(JSON, opening(lists + 1, opened, closed))


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objs"])
def test_what_is_taken_can_be_kept_and_read_again_wherever_that_is_done(
    opened: str, closed: str
) -> None:
    # A task is written and read further down the stack than its body is: by the service, by the
    # worker, by the command line. What is taken here and not there stops the worker for good.
    failures: list[BaseException] = []

    def take_each() -> None:
        for depth in (*range(1, 200, 20), *range(200, 1100, 3)):
            try:
                fields = json_object(JSON, opening(depth, opened, closed))
            except BadBody:
                continue
            try:
                at_depth(300, lambda fields=fields: json.loads(json.dumps(fields)))  # type: ignore[misc]
            except RecursionError as error:
                failures.append(error)

    # pytest's own frames are not the service's.
    thread = threading.Thread(target=take_each)
    thread.start()
    thread.join()
    assert failures == []


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=utf-16",
        " application/json ;",
    ],
)
def test_these_types_are_json(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert json_object(headers, b'{"a":1}') == {"a": 1}
    assert form(headers, b'{"a":1}') == {"a": 1}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/json, text/plain",
        "application/octet-stream",
        "multipart/mixed; boundary=b",
        "multipart",
        "*/*",
        "nonsense",
        "\xff",
        "=?utf-8?q?application/json?=",
    ],
)
def test_other_types_are_refused(content_type: str) -> None:
    for reader in (json_object, form):
        with pytest.raises(BadContentType):
            reader({"content-type": content_type}, b'{"a":1}')


@pytest.mark.parametrize("headers", [MULTIPART, URLENCODED], ids=["multipart", "urlencoded"])
def test_a_form_is_not_read_where_json_is_asked_for(headers: dict[str, str]) -> None:
    with pytest.raises(BadContentType):
        json_object(headers, b'{"a":1}')


# Forms


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (multipart(), {}),
        (multipart(part("prompt", "a red barn")), {"prompt": "a red barn"}),
        (multipart(part("a", ""), part("b", "1")), {"a": "", "b": "1"}),
        (multipart(part("a", "猫 🐈")), {"a": "猫 🐈"}),
        (multipart(part("a", "x\r\ny\r\n--")), {"a": "x\r\ny\r\n--"}),
        (multipart(part("a", "1+1=2&b=%20")), {"a": "1+1=2&b=%20"}),
        (multipart(part("a", "1")) + b"epilogue", {"a": "1"}),
        (
            b"--b\r\ncontent-disposition:form-data;name=a\r\nContent-Type: text/plain\r\n\r\n1\r\n"
            b"--b--",
            {"a": "1"},
        ),
        (
            multipart(part("a", "YSByZWQgYmFybg==", "\r\nContent-Transfer-Encoding: base64")),
            {"a": "a red barn"},
        ),
    ],
)
def test_a_multipart_form_is_read(body: bytes, fields: dict[str, str]) -> None:
    assert form(MULTIPART, body) == fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {}),
        (b"a=1&b=2", {"a": "1", "b": "2"}),
        (b"a=", {"a": ""}),
        (b"a", {"a": ""}),
        (b"&&a=1&&", {"a": "1"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"prompt=a+red+barn", {"prompt": "a red barn"}),
        (b"prompt=a%20red%20barn%26%3D%2B", {"prompt": "a red barn&=+"}),
        (b"resolution=1024%2A1024", {"resolution": "1024*1024"}),
        (b"%70rompt=x", {"prompt": "x"}),
        (b"prompt=%E7%8C%AB%F0%9F%90%88", {"prompt": "猫🐈"}),
        (b"prompt=100%", {"prompt": "100%"}),
    ],
)
def test_a_urlencoded_form_is_read(body: bytes, fields: dict[str, str]) -> None:
    assert form(URLENCODED, body) == fields


RED = part("prompt", "a red barn")
BAD_MULTIPART: dict[str, bytes] = {
    "another boundary": RED.replace(b"--b", b"--c") + b"--c--\r\n",
    "no boundary at all": b"a red barn",
    "JSON": b'{"prompt":"a red barn"}',
    "a form of the other kind": b"prompt=a+red+barn",
    "a field twice": multipart(RED, RED),
    "a file": multipart(part("prompt", "a", '; filename="a.txt"')),
    "a file beside": multipart(RED, part("sourceImage", "a", '; filename="a.png"')),
    "a file without a name": multipart(RED, part("x", "", '; filename=""')),
    "a part without a name": multipart(b"--b\r\nContent-Disposition: form-data\r\n\r\na\r\n"),
    "a part without a disposition": multipart(b"--b\r\nContent-Type: text/plain\r\n\r\na\r\n"),
    "a part without headers": multipart(b"--b\r\n\r\na\r\n"),
    "bad UTF-8": multipart(part("prompt", b"\xff\xfe")),
    "bad UTF-8 in a name": multipart(RED.replace(b"prompt", b"\xff")),
    "a surrogate as UTF-8": multipart(part("prompt", b"\xed\xa0\x80")),
    "a header without a colon": multipart(b"--b\r\nnonsense\r\n\r\na\r\n"),
    "a header with a NUL": multipart(b"--b\r\nA\0: b\r\n\r\na\r\n"),
    "a header of 60 kB": multipart(b"--b\r\nA: " + b"a" * 60_000 + b"\r\n\r\na\r\n"),
    "1000 headers": multipart(b"--b\r\n" + b"A: b\r\n" * 1000 + b"\r\na\r\n"),
    "bad base64": multipart(part("a", "Y", "\r\nContent-Transfer-Encoding: base64")),
    "101 parts": multipart(*(part(str(n), "") for n in range(101))),
    "10000 parts": multipart(*(part(str(n), "") for n in range(10_000))),
    "cut in a boundary": RED + b"--b",
    "cut after a part": RED,
    "cut in the next header": RED + b"--b\r\nContent-Disp",
    "cut before the next value": RED + part("seed", "")[:-2],
    "cut in the next value": RED + part("resolution", "376*3")[:-2],
    "only opened": b"--b\r\n",
}


@pytest.mark.parametrize("body", BAD_MULTIPART.values(), ids=BAD_MULTIPART)
def test_a_multipart_form_that_is_not_whole_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        form(MULTIPART, body)


@pytest.mark.parametrize(
    "parameters",
    ["", ";", "; boundary", "; boundary=", '; boundary=""', "; boundary=" + "b" * 5000, "; a=b"],
    ids=["none", "empty", "no value", "empty value", "empty quotes", "5000 long", "another"],
)
def test_a_multipart_form_without_a_boundary_is_refused(parameters: str) -> None:
    with pytest.raises(BadBody):
        form({"content-type": "multipart/form-data" + parameters}, multipart(RED))


@pytest.mark.parametrize(
    "body",
    [
        b"a=1&a=2",
        b"a=1&%61=2",
        b"prompt=\xff",
        b"prompt=%ff",
        b"%ff=1",
        b"prompt=%ed%a0%80",
        b"&".join(b"%d=" % n for n in range(101)),
        b"&".join(b"%d=" % n for n in range(10_000)),
        b"a=1&" * 10_000,
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_a_urlencoded_form_that_is_not_plain_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        form(URLENCODED, body)


# Anything at all

PIECES = [b"--b", b"\r\n", b"--b--", b"Content-Disposition: form-data; name=a", b"; filename=x"]
PIECES += [b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable"]
PIECES += [b"\r\n\r\n", b"a", b"=", b"&", b"%", b"\xff", b"\0", b"{", b'"', b"[", b":", b"]", b"}"]
PIECES += [rb"\ud800", b"NaN", b"1e999", b"=3D", b"Y"]
TYPES = [*bodies.FORM_TYPES, bodies.JSON_TYPE, ";", " boundary=b", 'boundary="', "boundary*=x''b"]
TYPES += ["boundary*0=b", "=", '"', "\\", "\xff", "charset=x"]


@settings(max_examples=300, deadline=None)
@given(
    content_type=st.lists(st.sampled_from(TYPES), max_size=5).map("".join)
    | st.sampled_from([*MULTIPART.values(), *URLENCODED.values()]),
    body=st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=20).map(b"".join),
)
def test_any_body_of_any_type_is_read_or_refused(content_type: str, body: bytes) -> None:
    for reader in (json_object, form):
        try:
            fields = reader({"content-type": content_type}, body)
        except Refused:
            continue
        assert isinstance(fields, dict)
        assert json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(bodies, "BODY_S", 0.05)
    request = Request({"type": "http", "headers": []}, never)
    with pytest.raises(BadBody, match="did not come to its end"):
        asyncio.run(bodies.read(request))
