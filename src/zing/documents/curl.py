"""curl lines that run as they are where ZING and KEY are set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

JSON_TYPE = "application/json"
MULTIPART_TYPE = "multipart/form-data"
EVENTS_TYPE = "text/event-stream"
URLENCODED_TYPE = "application/x-www-form-urlencoded"
IN_QUOTES = "'\"{}\"'"  # a variable within single quotes: they end, and begin again behind it


@dataclass(frozen=True)
class Call:
    """One request; `kind` is the body's Content-Type, empty where there is no body."""

    method: str
    path: str
    query: Mapping[str, str]
    kind: str
    body: Any


def line(
    call: Call, authorization: str, known: Mapping[str, str], answered: str = JSON_TYPE
) -> str:
    """The command for a call; values that are `known` are written as shell variables.

    A reply of events is printed as it comes.
    """
    query = f"?{urlencode(call.query)}" if call.query else ""
    address = _with_variables(f"$ZING{call.path}{query}", known, "{}")
    command = "curl -sN" if answered == EVENTS_TYPE else "curl -s"
    parts = [f'{command} "{address}" -H "Authorization: {authorization}"']
    if call.method != ("POST" if call.kind else "GET"):
        parts[0] = parts[0].replace("curl -s", f"curl -s -X {call.method}")
    parts += [_with_variables(each, known, IN_QUOTES) for each in _data(call)]
    return " \\\n  ".join(parts)


def _data(call: Call) -> list[str]:
    if not call.kind:
        return []
    if call.kind == JSON_TYPE:
        text = json.dumps(call.body, ensure_ascii=False, separators=(",", ":"))
        return [f"-H 'Content-Type: {JSON_TYPE}' -d {_quoted(text)}"]
    option = "-F" if call.kind == MULTIPART_TYPE else "--data-urlencode"
    return [f"{option} {_quoted(f'{name}={value}')}" for name, value in call.body.items()]


def _quoted(text: str) -> str:
    """A text as the shell takes it literally, always in single quotes."""
    quote = "'"
    return quote + text.replace(quote, f'{quote}"{quote}"{quote}') + quote


def _with_variables(text: str, known: Mapping[str, str], written: str) -> str:
    """The text with each known value replaced by its variable, written this way."""
    for value, name in known.items():
        text = text.replace(value, written.format(f"${name}"))
    return text
