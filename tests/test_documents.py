"""The documents and the pages: true to the dialects' tables, and to what a server answers."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import httpx2
import jsonschema_rs
import pytest
import schemathesis

from tests import servers
from tests.goldens import LIMITS, asking, load, outcome
from zing import dialects, documents
from zing.delivery import signed
from zing.dialects.base import SIDE_MAX, SIDE_MIN, Dialect, Use
from zing.dialects.manners import Manners, spoken
from zing.documents import samples, schemas
from zing.documents.curl import EVENTS_TYPE, JSON_TYPE, MULTIPART_TYPE
from zing.egress import URL_MAX, Rules, check_url
from zing.errors import BadCallback, BadPrompt
from zing.task import Delivery, DeliveryState

ORIGIN = "https://zing.example"
LIBRARY = documents.Library(dialects.ALL, ORIGIN)
MANNERS = Manners(cancelled_is_failed=True, codes_in_http=True, wait_s=30, prompt_max=1500)
MANNERED = documents.Library(spoken(MANNERS), ORIGIN)
NAMES = tuple(documents.APIS)
CANCELS = ("evolink_cancel", "evolink_delete")

each_dialect = pytest.mark.parametrize("name", NAMES)
# By name: a dialect as it is documented, and with every manner changed.
DESCRIBED: dict[str, tuple[Dialect, Any]] = {
    f"{each.NAME}{mark}": (each, library.documents[each.NAME])
    for mark, library in (("", LIBRARY), (" mannered", MANNERED))
    for each in library.spoken
}
each_described = pytest.mark.parametrize(("dialect", "document"), DESCRIBED.values(), ids=DESCRIBED)


@dataclass(frozen=True)
class Operation:
    """One operation of a document."""

    document: Any
    method: str
    path: str
    told: Any

    @property
    def identity(self) -> str:
        return str(self.told["operationId"])

    def check(self, status: int, body: Any, headers: Any = None) -> None:
        """The document has this status, and this body and these headers with it."""
        response = self.told["responses"][str(status)]
        (content,) = contents(response)
        validator(self.document, content["schema"]).validate(body)
        for name in ("Retry-After", "Allow", *OWN_HEADERS):
            assert name not in (headers or {}) or name in response["headers"], name


def contents(response: Any) -> list[Any]:
    """What a reply holds, or each event of it; nothing where it has no body."""
    return [*response.get("content", {}).values()]


OWN_HEADERS = (
    "Idempotency-Replayed",
    "Preference-Applied",
    "X-Request-Id",
    "X-Zing-Prompt-Tokens",
    "X-Zing-Prompt-Words",
    "X-Zing-Prompt-Extend",
)


def validator(document: Any, schema: Any) -> jsonschema_rs.Draft202012Validator:
    """What checks values against a schema that may refer to the document's components."""
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def operations(document: Any) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield Operation(document, method.upper(), path, told)


OPERATIONS = [each for name in NAMES for each in operations(LIBRARY.documents[name])]
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.identity)
MANNERED_OPERATIONS = [each for one in MANNERED.documents.values() for each in operations(one)]
each_described_operation = pytest.mark.parametrize(
    "operation", OPERATIONS + MANNERED_OPERATIONS, ids=lambda each: each.identity
)


@cache
def merged(library: documents.Library) -> Any:
    return json.loads(library.read("/openapi.json")[1])


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


# The documents alone


@pytest.mark.parametrize("name", [*DESCRIBED, "all", "all mannered"])
def test_a_document_is_valid_openapi(name: str) -> None:
    of_all = {"all": LIBRARY, "all mannered": MANNERED}
    document = merged(of_all[name]) if name in of_all else DESCRIBED[name][1]
    assert document["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid(schema)
    for reference in references(document):
        kind, component = reference.removeprefix("#/components/").split("/")
        assert component in document["components"][kind]


@each_described
def test_the_operations_are_the_addresses_of_the_dialect(dialect: Dialect, document: Any) -> None:
    described = [(each.method, each.path) for each in operations(document)]
    served = [(each.method, each.path) for each in dialect.ROUTES]
    assert sorted(described) == sorted(served)


def test_one_document_has_them_all() -> None:
    described = [(each.method, each.path) for each in operations(merged(LIBRARY))]
    assert described == [(each.method, each.path) for each in OPERATIONS]
    assert len({each.identity for each in OPERATIONS}) == len(OPERATIONS)


@each_described
def test_every_code_of_the_table_of_errors_is_in_the_document(
    dialect: Dialect, document: Any
) -> None:
    told = {(row["status"], row["code"]) for row in document["x-errors"]}
    refusal = validator(document, {"$ref": "#/components/schemas/Refusal"})
    for kind in cast(Any, dialect).ERRORS:
        answer = dialect.refused(kind())
        error = answer.body.get("error", answer.body)
        assert (answer.status, error["code"]) in told, kind
        refusal.validate(answer.body)


@each_described_operation
def test_every_sample_is_what_the_schema_says(operation: Operation) -> None:
    document = operation.document
    for status, response in operation.told["responses"].items():
        for content in contents(response):
            for example in content["examples"].values():
                operation.check(int(status), example["value"])
    for content in operation.told.get("requestBody", {}).get("content", {}).values():
        for example in content["examples"].values():
            if content["schema"] != {"$ref": "#/components/schemas/ImageForm"}:
                validator(document, content["schema"]).validate(example["value"])
    for callback in operation.told.get("callbacks", {}).values():
        ((_, methods),) = callback.items()
        (content,) = methods["post"]["requestBody"]["content"].values()
        assert len(content["examples"]) == 3
        for example in content["examples"].values():
            validator(document, content["schema"]).validate(example["value"])


@each_described_operation
def test_a_reply_with_a_member_more_or_less_is_no_reply(operation: Operation) -> None:
    for status, response in operation.told["responses"].items():
        for content in contents(response):
            checked = validator(operation.document, content["schema"])
            for value in (example["value"] for example in content["examples"].values()):
                assert not checked.is_valid(value | {"more": 1})
                for name in value.keys() & {"code", "error", "id", "data", "status"}:
                    less = {each: value[each] for each in value if each != name}
                    assert not checked.is_valid(less), (status, name)


# Refused, and a schema cannot say it: what a prompt holds, how large a number in a text is, and
# 7.0, which to a schema is an integer.
BEYOND_SCHEMAS = {"BadPrompt", "BadSeed"}


def is_beyond_schemas(row: Any) -> bool:
    whole = [each for each in row["fields"].values() if isinstance(each, float) and each % 1 == 0]
    return row.get("error") in BEYOND_SCHEMAS or bool(whole)


@each_described
def test_the_schema_takes_the_requests_that_the_dialect_takes(
    dialect: Dialect, document: Any
) -> None:
    submit = next(operations(document))
    schema = submit.told["requestBody"]["content"][JSON_TYPE]["schema"]
    checked = validator(document, schema)
    rows = load(dialect.NAME)["requests"]
    wrong = [
        row
        for row in rows
        if checked.is_valid(row["fields"]) != ("request" in row) and not is_beyond_schemas(row)
    ]
    assert len(rows) > 20
    assert wrong == []


@each_described
def test_a_prompt_may_be_as_long_as_the_document_says(dialect: Dialect, document: Any) -> None:
    submit = next(operations(document))
    checked = validator(document, submit.told["requestBody"]["content"][JSON_TYPE]["schema"])
    (asks,) = (each.asks for each in dialect.ROUTES if each.use is Use.SUBMIT)
    limit = MANNERS.prompt_max if dialect is MANNERED.spoken[-1] else LIMITS[dialect.NAME]
    longest, longer = (asking(dialect.NAME, "prompt", "a" * each) for each in (limit, limit + 1))
    assert checked.is_valid(longest)
    assert len(asks(longest).prompt) == limit
    assert not checked.is_valid(longer)
    with pytest.raises(BadPrompt):
        asks(longer)


@pytest.mark.parametrize(
    ("library", "states", "taken"),
    [(LIBRARY, ["IN_PROGRESS"], False), (MANNERED, ["IN_PROGRESS", "SUCCESS"], True)],
    ids=["at once", "waiting"],
)
def test_the_picture_in_the_reply_to_a_submit_is_described_where_the_reply_waits_for_it(
    library: documents.Library, states: list[str], taken: bool
) -> None:
    document = library.documents["zimageturbo"]
    submit = next(operations(document))
    content = submit.told["responses"]["200"]["content"][JSON_TYPE]
    told = [each["value"]["data"] for each in content["examples"].values()]
    done = {"task_id": "task_1", "status": "SUCCESS"}
    replies = [{"code": 200, "message": "success", "data": done | more} for more in (IMAGES, {})]
    checked = validator(document, content["schema"])
    assert [each["status"] for each in told] == states
    assert ["images" in each for each in told] == [each == "SUCCESS" for each in states]
    assert [checked.is_valid(each) for each in replies] == [taken, False]
    assert ("30 seconds" in submit.told["description"]) == taken


IMAGES = {"images": ["https://img.example/f/1.jpeg"]}


@pytest.mark.parametrize("name", ["evolink", "kie"])
def test_a_callback_has_the_headers_that_are_described(name: str) -> None:
    (ended,) = next(operations(LIBRARY.documents[name])).told["callbacks"].values()
    ((_, methods),) = ended.items()
    described = [each["name"] for each in methods["post"]["parameters"]]
    url, secret = "https://hooks.example/", "whsec_c2VjcmV0"
    place = ("d1", "t1", "a1", "p1", name, url, "hooks.example")
    owed = Delivery(*place, DeliveryState.DUE, 0, 0.0, "{}", 0.0, None)
    sent = {**DESCRIBED[name][0].signature("p1", secret, 1), **signed(owed, [secret], 1)}
    assert sorted(described) == sorted(sent.keys() - {"Content-Type", "User-Agent"})


def test_a_callback_url_may_be_as_long_as_the_document_says() -> None:
    schema = schemas.callback()
    for length, taken in ((URL_MAX, True), (URL_MAX + 1, False)):
        url = "https://hooks.example.com/".ljust(length, "a")
        assert jsonschema_rs.is_valid(schema, url) == taken
        found = outcome(lambda url=url: check_url(url, Rules()))
        assert isinstance(found, BadCallback) != taken


def test_every_name_in_the_documents_is_used() -> None:
    package = Path(documents.__file__).parent
    top_level = r"^(?:def |class |(?=[A-Z_]+\b.* = ))(\w+)"
    whole = "".join(each.read_text("utf-8") for each in package.parent.rglob("*.py"))
    names = {
        name
        for each in package.glob("*.py")
        for name in re.findall(top_level, each.read_text("utf-8"), re.MULTILINE)
    }
    assert len(names) > 100
    assert not [name for name in names if len(re.findall(rf"\b{name}\b", whole)) < 2]


def test_the_patterns_of_sides_are_the_limits() -> None:
    for side in range(3 * SIDE_MAX):
        text = str(side)
        assert bool(re.fullmatch(schemas.SIDE, text)) == (SIDE_MIN <= side <= SIDE_MAX)
        assert bool(re.fullmatch(schemas.LONG_SIDE, text)) == (side >= SIDE_MIN)


# The pages


class Tags(HTMLParser):
    """The tags of a page with their attributes; fails where they are not nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.mark.parametrize("path", ["/docs", *(f"/docs/{name}" for name in NAMES)])
def test_a_page_is_whole_and_needs_nothing_from_elsewhere(path: str) -> None:
    media_type, text = LIBRARY.read(path)
    tags = Tags(text).found
    assert media_type == "text/html"
    assert not [tag for tag, _ in tags if tag in ("script", "img", "iframe", "style", "form")]
    targets = [each.get("href") or "" for _, each in tags if "href" in each]
    identities = {each["id"] for _, each in tags if "id" in each}
    for target in targets:
        assert target in documents.PATHS or target.removeprefix("#") in identities, target
    assert not [each for _, each in tags if "style" in each or "onclick" in each]


@each_dialect
def test_a_page_tells_all_that_the_document_tells(name: str) -> None:
    page = unescape(LIBRARY.read(f"/docs/{name}")[1])
    text = re.sub("</?code>", "", page)
    document = LIBRARY.documents[name]
    for operation in operations(document):
        assert f"{operation.method} {operation.path}" in page
        for sample in operation.told["x-codeSamples"]:
            assert sample["source"] in page
    for schema in document["components"]["schemas"].values():
        for member, each in schema["properties"].items():
            assert f"<code>{member}</code>" in page
            assert each.get("description", "").replace("`", "") in text
    for row in document["x-errors"]:
        assert row["meaning"] in page


def test_the_first_page_leads_to_the_others_and_lists_every_address() -> None:
    page = LIBRARY.read("/docs")[1]
    for name in NAMES:
        assert f'href="/docs/{name}"' in page
    for operation in OPERATIONS:
        assert f"{operation.method} {operation.path}" in page
    for path in ("/healthz", "/readyz", "/f/", "/openapi.json"):
        assert path in page


def test_what_the_operator_says_is_escaped() -> None:
    library = documents.Library(dialects.ALL, "https://x.example/<b>&\"'")
    for path in ("/docs", "/docs/kie"):
        assert "<b>&" not in library.read(path)[1]


# A running server


@pytest.mark.parametrize("path", documents.PATHS)
def test_pages_and_documents_need_no_key_and_run_nothing(path: str, server: servers.Server) -> None:
    answer = httpx2.get(f"{server.url}{path}")
    kind = {"": "text/html", ".json": "application/json", ".css": "text/css"}
    assert answer.status_code == 200
    suffix = re.search(r"(\.\w+)?$", path)
    assert suffix
    assert answer.headers["content-type"].partition(";")[0] == kind[suffix[1] or ""]
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    assert server.key not in answer.text
    assert httpx2.post(f"{server.url}{path}").status_code == 405


def test_there_is_no_page_of_another_api(server: servers.Server) -> None:
    for path in ("/docs/nothing", "/docs/", "/docs/nothing.json", "/docs/../first-key"):
        assert httpx2.get(f"{server.url}{path}").status_code == 404


def test_the_front_page_names_the_documents(server: servers.Server) -> None:
    assert "/docs\n" in httpx2.get(f"{server.url}/").text


def test_the_document_says_where_the_server_is(server: servers.Server) -> None:
    for path in ("/docs/kie.json", "/openapi.json"):
        document = httpx2.get(f"{server.url}{path}").json()
        assert document["servers"] == [{"url": server.url}]


@pytest.fixture(scope="module")
def known(server: servers.Server) -> dict[str, str]:
    """By what stands in the documents' samples, what is there in truth: a task and its link."""
    found: dict[str, str] = {}
    for dialect in dialects.ALL:
        identity = servers.submit(server)
        (link,) = servers.ended(server, identity)["results"]
        found |= {samples.task_id(dialect): identity, samples.link(dialect): link}
    return found


def send(
    client: httpx2.Client, operation: Operation, kind: str, body: Any, known: dict[str, str]
) -> httpx2.Response:
    """An example as a client sends it, with what is there in the samples' place."""
    text = json.dumps(body)
    path, query = operation.path, {}
    for each in operation.told["parameters"]:
        if each.get("in") == "path":
            path = path.replace(f"{{{each['name']}}}", known[each["example"]])
        elif "example" in each:
            query[each["name"]] = known.get(each["example"], each["example"])
    for sample, real in known.items():
        text = text.replace(sample, real)
    fields = json.loads(text)
    content: dict[str, Any] = {}
    if kind == JSON_TYPE:
        content = {"json": fields}
    elif kind == MULTIPART_TYPE:
        content = {"files": {name: (None, value) for name, value in fields.items()}}
    elif kind:
        content = {"data": fields}
    return client.request(operation.method, path, params=query, **content)


def examples(operation: Operation) -> Iterator[tuple[str, Any]]:
    """The Content-Type and the body of every example; one without where there is no body."""
    if "requestBody" not in operation.told:
        yield "", None
        return
    for kind, content in operation.told["requestBody"]["content"].items():
        for example in content["examples"].values():
            yield kind, example["value"]


@each_operation
def test_every_example_is_answered_as_the_document_says(
    operation: Operation, server: servers.Server, known: dict[str, str]
) -> None:
    for kind, body in examples(operation):
        answer = send(server.http, operation, kind, body, known)
        for each in told(operation, answer.status_code, answer.text):
            operation.check(answer.status_code, each, answer.headers)
            if operation.identity not in CANCELS:
                assert answer.status_code == 200
                assert not refused(operation, each), answer.text


def told(operation: Operation, status: int, text: str) -> list[Any]:
    """The body of a reply, or the data of each of its events."""
    if EVENTS_TYPE in operation.told["responses"][str(status)]["content"]:
        return [data for _, data in servers.events(text)]
    return [json.loads(text)]


def refused(operation: Operation, body: Any) -> bool:
    schema = {"$ref": "#/components/schemas/Refusal"}
    return validator(operation.document, schema).is_valid(body)


@each_operation
def test_every_example_without_a_key_is_refused_as_the_document_says(
    operation: Operation, server: servers.Server, known: dict[str, str]
) -> None:
    kind, body = next(examples(operation))
    with httpx2.Client(base_url=server.url) as stranger:
        answer = send(stranger, operation, kind, body, known)
    operation.check(answer.status_code, answer.json(), answer.headers)
    assert refused(operation, answer.json())


READING = [each for each in OPERATIONS if "requestBody" in each.told]
WRONG = {"a list": b"[]", "half": b'{"a":', "nothing": b"{}", "long": b"[" * 70_000}


@pytest.mark.parametrize("operation", READING, ids=lambda each: each.identity)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_read_is_refused_as_the_document_says(
    wrong: str, operation: Operation, server: servers.Server
) -> None:
    headers = {"Content-Type": JSON_TYPE}
    answer = server.http.post(operation.path, content=WRONG[wrong], headers=headers)
    operation.check(answer.status_code, answer.json(), answer.headers)
    assert refused(operation, answer.json())


@each_operation
def test_an_id_that_is_no_tasks_is_refused_as_the_document_says(
    operation: Operation, server: servers.Server
) -> None:
    nowhere = dict.fromkeys(map(samples.task_id, dialects.ALL), "no-task") | dict.fromkeys(
        map(samples.link, dialects.ALL), "https://elsewhere.example/x.png"
    )
    kind, body = next(examples(operation))
    answer = send(server.http, operation, kind, body, nowhere)
    operation.check(answer.status_code, answer.json(), answer.headers)
    sent = f"{answer.request.url}{json.dumps(body)}"
    if (
        any(each in sent for each in ("no-task", *nowhere))
        and operation.identity != "evolink_batch"
    ):
        assert refused(operation, answer.json())


@each_operation
def test_every_command_of_the_page_runs_as_it_is(
    operation: Operation, server: servers.Server
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    name = operation.told["tags"][0]
    page = httpx2.get(f"{server.url}/docs/{name}").text
    shown = {unescape(each) for each in re.findall(r'<pre class="shell">(.*?)</pre>', page, re.S)}
    environment = {"PATH": os.environ["PATH"], "ZING": server.url, "KEY": server.key}
    for sample in operation.told["x-codeSamples"]:
        assert sample["source"] in shown
        done = subprocess.run(
            ["sh", "-e", "-c", sample["source"]],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        for body in told(operation, 200, done.stdout):
            if operation.identity not in CANCELS:
                assert not refused(operation, body), body
            assert any(fits(operation, status, body) for status in operation.told["responses"])


def fits(operation: Operation, status: str, body: Any) -> bool:
    found = [each["schema"] for each in contents(operation.told["responses"][status])]
    return any(validator(operation.document, each).is_valid(body) for each in found)


def test_nothing_is_written_before_it_is_asked_for() -> None:
    library = documents.Library(dialects.ALL, ORIGIN)
    assert not vars(library).keys() & {"documents", "_texts"}
    assert library.read("/docs") is library.read("/docs")
