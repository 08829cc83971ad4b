"""Each manner changes what it is about, in one dialect, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.goldens import VIEWS, asking, ending, load, view
from zing import errors
from zing.dialects import ALL
from zing.dialects.base import Dialect, Use
from zing.dialects.manners import Manners, spoken
from zing.errors import BadPrompt
from zing.task import Credits, Listing, Moment, TaskPage, TaskState

MANNERS: dict[str, tuple[str, Manners]] = {
    "cancelled is failed": ("evolink", Manners(cancelled_is_failed=True)),
    "codes in http": ("kie", Manners(codes_in_http=True)),
    "waits": ("zimageturbo", Manners(wait_s=30)),
    "longer prompts": ("zimageturbo", Manners(prompt_max=1500)),
}
each_manner = pytest.mark.parametrize(("name", "manners"), MANNERS.values(), ids=MANNERS.keys())


def speaking(name: str, manners: Manners) -> Dialect:
    (found,) = (each for each in spoken(manners) if name == each.NAME)
    return found


def asks(dialect: Dialect, use: Use) -> Callable[[Mapping[str, Any]], Any]:
    return next(each.asks for each in dialect.ROUTES if each.use is use)


def given(use: Use, name: str) -> list[tuple[str, Any]]:
    """What an address of this use may have to put into words, each with what it is."""
    golden = load(name)
    views = {of: view(golden, of) for of in VIEWS}
    match use:
        case Use.BATCH:
            return [("batch", [*views.values()])]
        case Use.LIST:
            return [("page", TaskPage((*views.values(),), 20, Listing((), 1, 20)))]
        case Use.FOLLOW:
            ends = [(of, ending(each)) for of, each in views.items() if each.task.state.ended]
            steps = [(f"step {n}", Moment(n, TaskState.RUNNING, n, 8)) for n in range(9)]
            return [("waits", Moment(0, TaskState.QUEUED, place=2)), *steps, *ends]
        case Use.CREDITS:
            return [("credits", Credits(1, 2, 3, 4))]
        case Use.LINK:
            return [("link", "https://img.example/f/x.png")]
        case _:
            return [*views.items()]


def said(dialect: Dialect) -> dict[str, Any]:
    """All that a dialect says of the golden files' tasks and of every error, by what it is of."""
    golden = load(dialect.NAME)
    found: dict[str, Any] = {
        f"{each.method} {each.path} {of}": each.words(thing)
        for each in dialect.ROUTES
        for of, thing in given(each.use, dialect.NAME)
    }
    found |= {f"told {of}": dialect.told(view(golden, of), 7) for of in VIEWS}
    found |= {f"refused {each.__name__}": dialect.refused(each()) for each in errors.leaves()}
    found["headers"] = dialect.signature("p1", "whsec_c2VjcmV0", 1)
    found["keys"] = [dialect.key(each) for each in ("Bearer k", "k", "")]
    return found


def changed(name: str, manners: Manners) -> Mapping[str, tuple[Any, Any]]:
    """What is said otherwise than as documented: before and after."""
    before, after = (said(speaking(name, each)) for each in (Manners(), manners))
    assert before.keys() == after.keys()
    return {of: (before[of], after[of]) for of in before if before[of] != after[of]}


def test_without_manners_every_dialect_says_what_is_documented() -> None:
    for dialect, plain in zip(spoken(Manners()), ALL, strict=True):
        assert said(dialect) == said(plain)


@each_manner
def test_a_manner_is_one_dialects(name: str, manners: Manners) -> None:
    for dialect, plain in zip(spoken(manners), ALL, strict=True):
        assert (dialect.NAME, dialect.PREFIXES, dialect.SUFFIX) == (
            plain.NAME,
            plain.PREFIXES,
            plain.SUFFIX,
        )
        if name != dialect.NAME:
            assert said(dialect) == said(plain)


@each_manner
def test_a_manner_leaves_the_addresses_and_the_time_they_wait_but_for_the_submit_that_waits(
    name: str, manners: Manners
) -> None:
    def addresses(dialect: Dialect) -> list[tuple[Any, ...]]:
        return [(e.method, e.path, e.use, e.reads, e.wait_s) for e in dialect.ROUTES]

    before, after = (addresses(speaking(name, each)) for each in (Manners(), manners))
    differing = [each[2:] for each in after if each not in before]
    assert differing == ([(Use.SUBMIT, "json", 30)] if manners.wait_s else [])
    assert len(before) == len(after)


def test_all_manners_at_once_are_each_of_them() -> None:
    together = Manners(cancelled_is_failed=True, codes_in_http=True, wait_s=30, prompt_max=1500)
    for name, manners in MANNERS.values():
        assert (
            said(speaking(name, together)).items()
            >= {of: after for of, (_, after) in changed(name, manners).items()}.items()
        )


# EvoLink: cancelled is failed


def test_a_cancelled_task_is_failed_wherever_evolink_shows_it_and_nothing_else_is_otherwise() -> (
    None
):
    found = changed(*MANNERS["cancelled is failed"])
    assert found.keys() == {
        "GET /v1/tasks page",
        "POST /v1/tasks/batch batch",
        *(f"{where} cancelled" for where in SHOWN),
    }
    for before, after in (found[f"{where} cancelled"] for where in SHOWN):
        before, after = (getattr(each, "body", each) for each in (before, after))
        assert dict(after) == dict(before) | {"status": "failed"}
        assert after["error"]["code"] == "request_cancelled"
    for where in ("GET /v1/tasks page", "POST /v1/tasks/batch batch"):
        before, after = (each.body["data"] for each in found[where])
        for line, other in zip(before, after, strict=True):
            words = {"status": "failed"} if line["status"] == "cancelled" else {}
            assert dict(other) == dict(line) | words


SHOWN = (
    "GET /v1/tasks/{id}",
    "GET /v1/tasks/{id}/events",
    "DELETE /v1/tasks/{id}",
    "POST /v1/tasks/{id}/cancel",
    "told",
)


@pytest.mark.parametrize(
    ("status", "states"),
    [
        (None, set(TaskState)),
        ("pending", {TaskState.QUEUED}),
        ("processing", {TaskState.QUEUED, TaskState.RUNNING}),
        ("completed", {TaskState.SUCCEEDED}),
        ("failed", {TaskState.FAILED, TaskState.CANCELLED}),
        ("cancelled", {TaskState.CANCELLED}),
    ],
)
def test_who_lists_the_failed_gets_the_cancelled_too(
    status: str | None, states: set[TaskState]
) -> None:
    listing = asks(speaking(*MANNERS["cancelled is failed"]), Use.LIST)
    found = listing({"page": "3", "page_size": "7"} | ({"status": status} if status else {}))
    assert set(found.states) == states
    assert (found.page, found.page_size) == (3, 7)


# kie.ai: codes in HTTP


def test_kies_refusals_have_their_code_as_http_status_and_nothing_else_is_otherwise() -> None:
    found = changed(*MANNERS["codes in http"])
    codes = {of: after.body["code"] for of, (_, after) in found.items()}
    assert {of.partition(" ")[0] for of in found} == {"refused"}
    assert {"refused BadKey", "refused InsufficientCredits", "refused Internal"} < found.keys()
    assert {codes[f"refused {of}"] for of in ("BadKey", "UnknownTask", "Internal")} == {
        401,
        422,
        500,
    }
    for before, after in found.values():
        assert after == replace(before, status=after.body["code"])


# zimageturbo.ai: waiting, and longer prompts


def test_only_the_reply_to_a_submit_that_waits_is_otherwise() -> None:
    found = changed(*MANNERS["waits"])
    assert {of.rpartition(" ")[0].partition(" failed")[0] for of in found} == {"POST /api/generate"}
    statuses = {of: after.body["data"]["status"] for of, (_, after) in found.items()}
    for of, status in statuses.items():
        data = found[of][1].body["data"]
        assert (status == "SUCCESS") == ("images" in data)
        assert data["task_id"] == found[of][0].body["data"]["task_id"]
    assert set(statuses.values()) == {"SUCCESS", "FAILED"}


def test_longer_prompts_change_no_reply() -> None:
    assert not changed(*MANNERS["longer prompts"])


def test_prompts_are_as_long_as_the_operator_says_and_all_else_is_asked_as_before() -> None:
    plain, longer = (
        asks(speaking("zimageturbo", each), Use.SUBMIT)
        for each in (Manners(), Manners(prompt_max=1500))
    )
    for row in load("zimageturbo")["requests"]:
        if "request" in row:
            assert longer(row["fields"]) == plain(row["fields"])
    assert len(longer(asking("zimageturbo", "prompt", "a" * 1500)).prompt) == 1500
    with pytest.raises(BadPrompt):
        longer(asking("zimageturbo", "prompt", "a" * 1501))
    with pytest.raises(BadPrompt):
        plain(asking("zimageturbo", "prompt", "a" * 1001))
