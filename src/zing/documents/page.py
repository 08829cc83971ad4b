"""The documents as pages for people: plain HTML, written from the OpenAPI objects alone.

No script, nothing from elsewhere; every text is escaped where it is put into the page.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from zing.documents.curl import JSON_TYPE
from zing.documents.schemas import Json

STYLE = "/docs/style.css"

# What every server has beside the APIs.
OWN: dict[str, str] = {
    "/": "What this is.",
    "/docs": "This page.",
    "/openapi.json": "All APIs in one OpenAPI 3.1 document.",
    "/healthz": "200 where the process answers.",
    "/readyz": "200 where a picture asked for now would be drawn now; 503 where not; why, as JSON.",
    "/metrics": "What is counted, for Prometheus: docs/running.md names every metric.",
    "/f/…": "A picture, by the link in a task; no key. 404 is no link, 410 one whose time is over.",
}

Row = tuple[str, str, str]


def index(documents: Mapping[str, Json], origin: str) -> str:
    """The page that lists the APIs and the server's own addresses."""
    parts = [
        "<h1>zing</h1>",
        _paragraph(
            "Z-Image-Turbo behind four APIs: a prompt becomes a task, a task a picture. One "
            "more is for whoever runs the server."
        ),
        _setup(origin),
        *(_summary(name, each) for name, each in documents.items()),
        "<h2>The server's own addresses</h2>",
        _paragraph("They need no key."),
        _table(("address", "what it is"), [(_code(path), escape(OWN[path])) for path in OWN]),
    ]
    return _page("zing: the APIs", parts)


def reference(name: str, document: Json) -> str:
    """The page of one dialect's document."""
    info, operations = document["info"], list(_operations(document))
    schemas = document["components"]["schemas"]
    parts = [
        f"<h1>{escape(info['title'])}</h1>",
        f'<p lang="zh">{escape(info["x-chinese"])}</p>',
        _paragraph(info["description"]),
        _paragraph(document["components"]["securitySchemes"]["key"]["description"]),
        _setup(document["servers"][0]["url"]),
        _contents(operations),
        *(_operation(*each, document["components"]) for each in operations),
        *_objects(schemas, operations),
        _errors(document["x-errors"]),
        f'<p><a href="/docs/{name}.json">This page as an OpenAPI 3.1 document</a></p>',
    ]
    return _page(info["title"], parts)


def _page(title: str, parts: Iterable[str]) -> str:
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="stylesheet" href="{STYLE}">\n</head>\n'
        '<body>\n<nav><a href="/docs">All APIs</a></nav>\n<main>\n'
    )
    return head + "\n".join(filter(None, parts)) + "\n</main>\n</body>\n</html>\n"


def _setup(origin: str) -> str:
    lines = f"export ZING={origin}\nexport KEY=your-key"
    text = "The commands on these pages run as they are once a shell knows the server and a key:"
    return _paragraph(text) + f'<pre class="setup">{escape(lines)}</pre>'


def _summary(name: str, document: Json) -> str:
    """A dialect in the list of all."""
    info = document["info"]
    rows = [
        (f"{_code(f'{method.upper()} {path}')}", escape(operation["summary"]))
        for path, method, operation in _operations(document)
    ]
    return (
        f'<h2><a href="/docs/{name}">{escape(info["title"])}</a></h2>'
        f'<p lang="zh">{escape(info["x-chinese"])}</p>' + _table(("address", "what for"), rows)
    )


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Path, method and operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _contents(operations: Sequence[tuple[str, str, Json]]) -> str:
    items = [
        f'<li><a href="#{escape(operation["operationId"])}">{escape(operation["summary"])}</a> '
        f"{_code(f'{method.upper()} {path}')}</li>"
        for path, method, operation in operations
    ]
    return f"<ul>{''.join(items)}</ul>"


def _operation(path: str, method: str, operation: Json, components: Json) -> str:
    parts = [
        f'<h2 id="{escape(operation["operationId"])}">{escape(operation["summary"])}</h2>',
        f'<p class="address">{_code(f"{method.upper()} {path}")}</p>',
        _paragraph(operation["description"]),
        *(_sample(each) for each in operation["x-codeSamples"]),
        _parameters(operation["parameters"], components["parameters"]),
        *_bodies(_content(operation), components["schemas"]),
        "<h3>Replies</h3>",
        *(_response(status, each) for status, each in operation["responses"].items()),
        *(_callback(each) for each in operation.get("callbacks", {}).values()),
    ]
    return "<section>" + "\n".join(filter(None, parts)) + "</section>"


def _sample(sample: Json) -> str:
    return f'<pre class="shell">{escape(sample["source"])}</pre>'


def _parameters(parameters: Sequence[Json], known: Json) -> str:
    """What stands in the path, the query and the headers."""
    rows = []
    for each in parameters:
        whole = known[_name(each)] if "$ref" in each else each
        note = "required" if whole.get("required") else "optional"
        text = f"{_text(whole['description'])} {_type(whole['schema'])}"
        rows.append((_code(whole["name"]), f"{whole['in']}, {note}", text))
    return f"<h3>Parameters</h3>{_table(('name', 'where', 'what it is'), rows)}" if rows else ""


def _content(operation: Json) -> Json:
    content: Json = operation.get("requestBody", {}).get("content", {})
    return content


def _bodies(content: Json, schemas: Json) -> Iterator[str]:
    """The request's body, once for all Content-Types that share a schema."""
    by_schema: dict[str, list[str]] = {}
    for kind, each in content.items():
        by_schema.setdefault(json.dumps(each["schema"]), []).append(kind)
    for text, kinds in by_schema.items():
        schema = json.loads(text)
        whole = schemas[_name(schema)] if "$ref" in schema else schema
        yield f"<h3>Body: {' or '.join(map(_code, kinds))}</h3>{_members(whole)}"


def _name(reference: Json) -> str:
    """The name of the component that is referred to."""
    return str(reference["$ref"]).rpartition("/")[2]


def _response(status: str, response: Json) -> str:
    """One status; its samples are folded away."""
    headers = ", ".join(_code(name) for name in response["headers"])
    contents = response.get("content", {}).items()
    return (
        f"<details><summary><b>{escape(status)}</b> {_text(response['description'])}</summary>"
        f"<p>Headers: {headers}</p>{''.join(_replied(*each) for each in contents)}</details>"
    )


def _replied(media_type: str, content: Json) -> str:
    """The body of a reply, or each event of a stream: its members and its samples."""
    samples = [
        f"<p>{escape(each.get('summary', name))}</p><pre>{escape(_json(each['value']))}</pre>"
        for name, each in content["examples"].items()
    ]
    kind = "" if media_type == JSON_TYPE else f"<p>{_code(media_type)}</p>"
    done = "" if _is_refusal(content["schema"]) else _members(_reply(content["schema"]))
    return f"{kind}{done}{''.join(samples)}"


def _is_refusal(schema: Json) -> bool:
    return "allOf" in schema


def _reply(schema: Json) -> Json:
    """The part of a response's schema that is no refusal."""
    first: Json = schema["oneOf"][0] if _is_refusal(schema.get("oneOf", [{}])[-1]) else schema
    return first


def _callback(callback: Json) -> str:
    """What is sent when a task has ended."""
    ((address, methods),) = callback.items()
    sent = methods["post"]
    (content,) = sent["requestBody"]["content"].values()
    rows = [(_code(each["name"]), _text(each["description"])) for each in sent["parameters"]]
    samples = [
        f"<pre>{escape(_json(each['value']))}</pre>" for each in content["examples"].values()
    ]
    return (
        f"<h3>Callback: {escape(sent['summary'])}</h3>"
        f'<p class="address">{_code(f"POST {address}")}</p>'
        + _paragraph(sent["description"])
        + _table(("header", "what it is"), rows)
        + _members(content["schema"])
        + f"<details><summary>Samples</summary>{''.join(samples)}</details>"
    )


def _objects(schemas: Json, operations: Sequence[tuple[str, str, Json]]) -> Iterator[str]:
    """The objects of replies; those of requests stand where they are sent."""
    bodies = [each["schema"] for *_, one in operations for each in _content(one).values()]
    sent = {_name(schema) for schema in bodies if "$ref" in schema}
    yield "<h2>Objects</h2>"
    for name, schema in schemas.items():
        if name not in sent:
            yield f'<h3 id="{escape(name)}">{escape(name)}</h3>{_members(schema)}'


def _errors(errors: Sequence[Json]) -> str:
    rows = [
        (_code(each["status"]), _code(each["code"]), escape(each["meaning"])) for each in errors
    ]
    return f"<h2>Refusals</h2>{_table(('HTTP', 'code', 'what happened'), rows)}"


def _members(schema: Json) -> str:
    """An object's members in a table; what is no object is told in a line."""
    rows = list(_rows(schema, ""))
    if not rows:
        return f"<p>{_type(schema)}</p>"
    return _table(("member", "there", "what it is"), rows)


def _rows(schema: Json, prefix: str) -> Iterator[Row]:
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        note = "required" if name in required else "optional"
        text = f"{_text(each.get('description', ''))} {_type(each)}"
        yield _code(prefix + name), note, text
        inner, mark = (each["items"], "[]") if "items" in each else (each, "")
        yield from _rows(inner, f"{prefix}{name}{mark}.")


def _type(schema: Json) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = _name(schema)
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    text = _values(schema) + _limits(schema)
    if "default" in schema:
        text += f"; if none: {_code(_json(schema['default']))}"
    return f'<span class="type">{text}</span>'


def _values(schema: Json) -> str:
    if "enum" in schema:
        return " | ".join(_code(_json(each)) for each in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    types = schema.get("type", "any value")
    return " or ".join(types) if isinstance(types, list) else str(types)


def _limits(schema: Json) -> str:
    words = {
        "minimum": "from {}",
        "maximum": "to {}",
        "minLength": "from {}",
        "maxLength": "to {} characters",
        "minItems": "from {}",
        "maxItems": "to {}",
        "format": "({})",
    }
    return "".join(f" {words[name].format(schema[name])}" for name in words if name in schema)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>" if text else ""


def _text(text: str) -> str:
    """Markdown of which only `code` is used, as HTML."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _code(text: object) -> str:
    return f"<code>{escape(str(text))}</code>"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
