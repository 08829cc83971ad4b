"""Request bodies: read up to a limit, and turned into fields without trusting a byte of them."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import python_multipart
from python_multipart.multipart import MultipartState
from starlette.requests import ClientDisconnect, Request

from zing.errors import BadBody, BadContentType, BodyTooLarge

BODY_MAX = 64 * 1024
BODY_S = 5.0
FORM_FIELDS_MAX = 100
DEPTH_MAX = 32  # far from what makes readers give up, and far above what any field needs
JSON_TYPE = "application/json"
MULTIPART_TYPE = "multipart/form-data"
FORM_TYPES = (MULTIPART_TYPE, "application/x-www-form-urlencoded")


async def read(request: Request) -> bytes:
    """The body; raises BodyTooLarge as soon as that is known, BadBody where it does not come."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > BODY_MAX:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_S):
            return await _read(request)
    except (ClientDisconnect, TimeoutError):
        raise BadBody("The body did not come to its end.") from None


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            raise _too_large()
    return bytes(body)


def json_object(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The fields of a JSON object in UTF-8; raises BadContentType or BadBody.

    What readers of JSON disagree about is refused: a name that comes twice, NaN, half characters.
    A missing Content-Type is taken for JSON.
    """
    if _media_type(headers) not in ("", JSON_TYPE):
        raise BadContentType(f"The Content-Type must be {JSON_TYPE}.")
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeError:
        raise BadBody("The body is not UTF-8 text.") from None
    except RecursionError:
        raise BadBody("The body is nested too deep.") from None
    except ValueError as error:
        raise BadBody(f"The body is not JSON: {_first_words(error)}.") from None
    if not isinstance(value, dict):
        raise BadBody("The body must be a JSON object.")
    if _depth(value) > DEPTH_MAX:
        raise BadBody("The body is nested too deep.")
    return value


def form(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The fields of a form, as text, or of a JSON object; raises BadContentType or BadBody."""
    media_type = _media_type(headers)
    if media_type in ("", JSON_TYPE):
        return json_object(headers, body)
    if media_type not in FORM_TYPES:
        raise BadContentType(f"The Content-Type must be {MULTIPART_TYPE}.")
    try:
        if media_type == MULTIPART_TYPE:
            return _parse_multipart(headers["content-type"], body)
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FORM_FIELDS_MAX,
        )
        return _unique(pairs)
    except UnicodeError:
        raise BadBody("The form is not UTF-8 text.") from None
    except ValueError as error:  # python-multipart's errors are ValueErrors
        raise BadBody(f"The form cannot be read: {_first_words(error)}.") from None


def _parse_multipart(content_type: str, body: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {}

    def on_field(field: Any) -> None:
        name = (field.field_name or b"").decode()
        if name in fields:
            raise ValueError(f"the field {name[:40]!r} comes twice")
        fields[name] = (field.value or b"").decode()

    def on_file(_file: Any) -> None:
        raise ValueError("files are not supported")

    headers = {"Content-Type": content_type.encode("latin-1")}
    parser = python_multipart.create_form_parser(headers, on_field, on_file)
    parser.write(body)
    parser.finalize()
    state = getattr(parser.parser, "state", None)
    if body and state != MultipartState.END:
        raise ValueError("it ends too soon")
    if len(fields) > FORM_FIELDS_MAX:
        raise ValueError(f"it has more than {FORM_FIELDS_MAX} fields")
    return fields


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {BODY_MAX} bytes.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name comes twice")
    return fields


def _depth(value: Any) -> int:
    """How deep lists and objects are nested in a value."""
    depth, level = 0, [value]
    while level:
        depth += 1
        below = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [one for each in below for one in each if isinstance(one, dict | list)]
    return depth


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _first_words(error: ValueError) -> str:
    """The reader's words; Python's advice about long numbers is not for a caller."""
    words = str(error).splitlines()[0].rstrip(".")[:120]
    return "a number is too long" if "int_max_str_digits" in words else words
