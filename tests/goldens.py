"""The golden files of the dialects, and the check of a dialect against its own.

A golden file holds what dialects.md and the providers' documents ask for, typed from there and not
from the code: requests with what they mean, and replies with every byte of them.
"""

import ast
import copy
import inspect
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from zing import errors
from zing.dialects.base import Answer
from zing.task import Credits, ImageRequest, Listing, Moment, Task, TaskPage, TaskState, TaskView

FOLDER = Path(__file__).parent / "golden"
NOW, END = 1763630000.123, 1763630002.456
PRICE = 26_000
WHY = "Say why."
ASKED: dict[str, Any] = {"prompt": "a red barn", "width": 1024, "height": 1024}

# What became of a task, by name: fields of the task and of its view.
VIEWS: dict[str, dict[str, Any]] = {
    "queued": {"estimated_s": 4},
    "queued again": {"attempt": 1, "estimated_s": 4},
    "running": {"state": TaskState.RUNNING, "attempt": 1, "progress": 37, "estimated_s": 2},
    "succeeded": {"state": TaskState.SUCCEEDED, "attempt": 1, "progress": 100},
    "failed Blocked": {"state": TaskState.FAILED, "error": "Blocked"},
    "cancelled": {"state": TaskState.CANCELLED, "error": "Cancelled", "progress": 62},
} | {
    f"failed {name}": {
        "state": TaskState.FAILED,
        "error": name,
        "error_message": "It did not work.",
        "attempt": 1,
        "progress": 62,
    }
    for name in """Unreadable BadPicture WrongSize NotEncoded StorageFull OutOfMemory TimedOut
    EngineFailed EngineLost ModelGone Unreachable Internal""".split()
}


# By dialect: a whole request, the wire's names, the most characters of a prompt.
LEAST: dict[str, dict[str, Any]] = {
    "evolink": {"model": "z-image-turbo", "prompt": "a red barn"},
    "kie": {"model": "z-image", "input": {"prompt": "a red barn"}},
    "tensorslab": {"prompt": "a red barn"},
    "zimageturbo": {"prompt": "a red barn"},
}
NAMES = {
    "evolink": {"prompt": "prompt", "size": "size", "seed": "seed"},
    "kie": {"prompt": "input.prompt", "size": "input.aspect_ratio", "seed": "input.seed"},
    "tensorslab": {"prompt": "prompt", "size": "resolution", "seed": "seed"},
    "zimageturbo": {"prompt": "prompt", "size": "size", "seed": "seed"},
}
LIMITS = {"evolink": 2000, "kie": 1000, "tensorslab": 2000, "zimageturbo": 1000}


class Edge(random.Random):
    """Chance that always picks the first or always the last."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.last = last

    def choices(self, population: Sequence[Any], *_: Any, k: int = 1, **__: Any) -> list[Any]:
        return [population[-1 if self.last else 0]] * k

    def randrange(self, start: int, *_: Any) -> int:
        return start - 1 if self.last else 0

    def getrandbits(self, k: int) -> int:
        return 2**k - 1 if self.last else 0


@cache
def load(name: str) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return golden


def compact(body: Any) -> str:
    """A body as it goes over the wire."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def view(golden: dict[str, Any], of: str, **changes: Any) -> TaskView:
    """The task of VIEWS as a dialect's golden file tells of it; changes go to where they belong."""
    values = VIEWS[of] | changes
    ended = values.get("state", TaskState.QUEUED).ended
    request = ImageRequest(**ASKED, seed=values.pop("seed_asked", None))
    task = Task(
        id="t1",
        public_id=golden["public_id"],
        account_id="a1",
        dialect=golden["name"],
        state=TaskState.QUEUED,
        request=replace(request, **_of(ImageRequest, values)),
        fields=golden["fields"],
        seed=12345,
        cost=PRICE,
        created_at=NOW,
        updated_at=END if ended else NOW,
        ended_at=END if ended else None,
    )
    links = (golden["link"],) if of == "succeeded" else ()
    shown = TaskView(replace(task, **_of(Task, values)), 0, 0, links, PRICE)
    return replace(shown, **_of(TaskView, values))


def _of(kind: Any, values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)} - ({"seed"} if kind is ImageRequest else set())
    return {name: value for name, value in values.items() if name in names}


def asking(name: str, which: str, value: Any) -> dict[str, Any]:
    """The least request of a dialect with its prompt, size or seed set."""
    request = copy.deepcopy(LEAST[name])
    *folder, field = NAMES[name][which].split(".")
    (request[folder[0]] if folder else request)[field] = value
    return request


def outcome(read: Callable[[], Any]) -> Any:
    """What `read` gives, or the error of ours that it raises."""
    try:
        return read()
    except errors.ZingError as error:
        return error


def check(dialect: Any, golden: dict[str, Any]) -> None:
    """Raise AssertionError where the dialect does otherwise than its golden file."""
    _check_addresses(dialect, golden)
    for case in golden["requests"]:
        expected = ImageRequest(**ASKED | case.get("request", {}))
        _check_read(lambda case=case: dialect.parse(case["fields"]), case, expected)
    for case in golden["task_ids"]:
        _check_read(lambda case=case: list(dialect.task_ids(case["fields"])), case, case.get("ids"))
    for case in golden["reads"]:
        read = getattr(dialect, case["call"])
        _check_read(lambda read=read, case=case: read(case["fields"]), case, _of_read(case))
    for case in golden["replies"]:
        _check_reply(_reply(getattr(dialect, case["call"]), golden, case), case)
    for case in golden["signatures"]:
        found = dialect.signature(case["public_id"], case["secret"], case["now"])
        assert found == case["headers"], case
    for case in golden["refused"]:
        kind = getattr(errors, case["error"])
        _check_reply(dialect.refused(kind(WHY, **_of_error(case))), case)


def _of_read(case: dict[str, Any]) -> Any:
    if "listing" not in case:
        return case.get("gives")
    states, page, size = case["listing"]
    return Listing(tuple(map(TaskState, states)), page, size)


def _reply(words: Callable[..., Any], golden: dict[str, Any], case: dict[str, Any]) -> Answer:
    """What a dialect says of what the case gives it."""
    match case["call"]:
        case "batch":
            return words([view(golden, of) for of in case["of"]])
        case "listed":
            views = tuple(view(golden, of) for of in case["of"])
            return words(TaskPage(views, case["total"], Listing((), *case["page"])))
        case "credits":
            return words(Credits(*case["credits"]))
        case "told":
            return Answer(200, words(view(golden, case["of"]), case["available"]))
        case "followed":
            return words(_moment(golden, case))
        case "fresh":
            return words(case["url"])
        case _:
            return words(view(golden, case["of"], **case.get("with", {})))


def _moment(golden: dict[str, Any], case: dict[str, Any]) -> Moment:
    if "moment" in case:
        return Moment(1, **case["moment"] | {"state": TaskState(case["moment"]["state"])})
    return ending(view(golden, case["of"]))


def ending(view: TaskView) -> Moment:
    """The moment in which a task ended so."""
    return Moment(1999, view.task.state, view=view)


def _of_error(case: dict[str, Any]) -> dict[str, Any]:
    return {name: case[name] for name in ("field", "retry_after_s") if name in case}


def _check_addresses(dialect: Any, golden: dict[str, Any]) -> None:
    routes = [
        [
            *(each.method, each.path, each.use, each.reads),
            *(each.asks.__name__, each.words.__name__, each.wait_s),
        ]
        for each in dialect.ROUTES
    ]
    assert golden["name"] == dialect.NAME
    assert list(dialect.PREFIXES) == golden["prefixes"]
    assert golden["suffix"] == dialect.SUFFIX
    assert routes == golden["routes"]
    for header, key in golden["keys"]:
        assert dialect.key(header) == key, header
    for edge in {"first", "last"} & golden["id"].keys():
        found = dialect.new_id(NOW, Edge(last=edge == "last"))
        assert found == golden["id"][edge]


def _check_read(read: Callable[[], Any], case: dict[str, Any], expected: Any) -> None:
    """`read` gives what is expected, or raises the error that the case names."""
    found = outcome(read)
    if isinstance(found, errors.ZingError):
        found, expected = [type(found).__name__, found.field], [case.get("error"), case["field"]]
    else:
        assert "error" not in case, case
    assert found == expected, case


def _check_reply(answer: Answer, case: dict[str, Any]) -> None:
    """The status, the headers and every byte of the body, but for the member `but` names."""
    body = {name: value for name, value in answer.body.items() if name != case.get("but")}
    assert answer.status == case["status"], case
    assert compact(body) == compact(case["body"]), case
    assert dict(answer.headers) == case.get("headers", {}), case


def mutants(dialect: Any) -> Iterator[tuple[str, Any]]:
    """What was changed, and the module with it: as it is, then one word or number at a time."""
    tree = ast.parse(inspect.getsource(dialect))
    yield "as it is", _run(tree)
    for node in list(_constants(tree)):
        value = node.value
        node.value = f"{value}x" if isinstance(value, str) else value + 1
        yield f"line {node.lineno}:{node.col_offset} {value!r}", _run(tree)
        node.value = value


def passes(mutant: Any, golden: dict[str, Any]) -> bool:
    try:
        check(mutant, golden)
    except Exception:  # noqa: BLE001 - whatever a mutant stumbles over, it was noticed
        return False
    return True


def _run(tree: ast.Module) -> ModuleType | None:
    """The module of this source; None where it does not even load."""
    module = ModuleType("mutant")
    try:
        exec(compile(tree, module.__name__, "exec"), module.__dict__)
    except Exception:  # noqa: BLE001 - as in `passes`
        return None
    return module


def _constants(tree: ast.AST) -> Iterator[ast.Constant]:
    """Whole numbers, and the strings that are not for people: no docstrings, no sentences."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Constant):
            if type(node.value) is int or (isinstance(node.value, str) and " " not in node.value):
                yield node
        elif not _for_people(node):
            yield from _constants(node)


def _for_people(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr):
        parts = [each.value for each in node.values if isinstance(each, ast.Constant)]
        return any(" " in part for part in parts)
    return isinstance(node, ast.Expr)
