"""What happened over time, beside a count by hand of the same rows."""

import math
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, insert, text

from tests.audit import NOW, funded, key_of
from zing.store import Store, series
from zing.store.schema import task
from zing.store.series import SERIES, Span
from zing.store.tasks import Search, id_at, search
from zing.task import TaskState

ROW = {
    "dialect": "evolink",
    "priority": 100,
    "model": "tiny",
    "compat": "tiny 64x64 8",
    "not_before": 0.0,
    "attempt": 1,
    "cancel_requested": False,
    "request": '{"prompt": "a cat", "width": 64, "height": 64}',
    "fields": "{}",
    "suffix": ".png",
    "seed": 1,
    "error": "",
    "error_message": "",
    "result": "{}",
}
ENDS = ("succeeded", "failed", "cancelled")

# Whole seconds, so that no step's edge is a matter of rounding.
lives = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.one_of(st.none(), st.integers(0, 20)),
        st.one_of(st.none(), st.integers(0, 20)),
        st.sampled_from(ENDS),
        st.integers(0, 90_000),
    ),
    max_size=30,
)
spans = st.tuples(st.integers(-5, 70), st.integers(1, 60), st.integers(1, 25))


def row(number: int, account_id: str, life: tuple[Any, ...]) -> dict[str, Any]:
    """A task that waited, was drawn and ended, as far as it came."""
    came, waited, drawn, end, cost = life
    created = NOW + came
    started = None if waited is None else created + waited
    ended = None if drawn is None else (started or created) + drawn
    state = "queued" if started is None else "running"
    return {
        "id": f"{id_at(created)}{number:016x}",
        "public_id": f"task-{number}",
        "account_id": account_id,
        "key_id": key_of(account_id),
        "state": state if ended is None else end,
        "cost": cost,
        "created_at": created,
        "updated_at": created,
        "started_at": started,
        "ended_at": ended,
        **ROW,
    }


def by_hand(name: str, rows: list[dict[str, Any]], span: Span) -> list[dict[str, Any]]:
    return [_value(name, rows, span, number) for number in range(span.count)]


def _value(name: str, rows: list[dict[str, Any]], span: Span, number: int) -> dict[str, Any]:
    start = span.start + number * span.step
    end = min(span.until, start + span.step)

    def within(column: str) -> list[dict[str, Any]]:
        return [each for each in rows if each[column] is not None and start <= each[column] < end]

    ended = within("ended_at")
    done = [each for each in ended if each["state"] == "succeeded"]
    timed = [each for each in done if each["started_at"] is not None]
    match name:
        case "tasks_accepted":
            return {"tasks": len(within("created_at"))}
        case "tasks_ended":
            return {state: sum(each["state"] == state for each in ended) for state in ENDS}
        case "credits":
            micro = sum(each["cost"] for each in done)
            return {"credits": micro / 1e6, "credits_micro": micro}
        case "seconds":
            queued = sum(each["started_at"] - each["created_at"] for each in timed)
            drawn = sum(each["ended_at"] - each["started_at"] for each in timed)
            count = len(timed)
            return {
                "queued": queued / count if count else None,
                "drawn": drawn / count if count else None,
            }
    gone = [(each, each["started_at"] or each["ended_at"] or math.inf) for each in rows]
    return {"queued": sum(each["created_at"] < end <= left for each, left in gone)}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lives, spans)
def test_a_series_is_what_a_count_by_hand_finds(
    store: Store, lives: list[tuple[Any, ...]], span: tuple[int, int, int]
) -> None:
    account_id = funded(store, 0)
    rows = [row(number, account_id, life) for number, life in enumerate(lives)]
    start, length, step = span
    asked = Span(NOW + start, NOW + start + length, float(step))

    def fill(tx: Any) -> None:
        tx.execute(delete(task))
        if rows:
            tx.execute(insert(task), rows)

    store.write(fill)
    for name in SERIES:
        found = store.read(partial(series.read, name=name, span=asked))
        expected = by_hand(name, rows, asked)
        assert len(found) == asked.count
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other), name


def test_a_clock_that_was_set_back_makes_no_wait_less_than_nothing(store: Store) -> None:
    account_id = funded(store, 0)
    back = row(1, account_id, (50, -20, 5, "succeeded", 1))
    store.write(lambda tx: tx.execute(insert(task), [back]))
    asked = Span(NOW, NOW + 100, 10.0)
    for name in ("seconds", "queue"):
        points = store.read(partial(series.read, name=name, span=asked))
        values = [value for each in points for value in each.values() if value is not None]
        assert min(values) >= 0


MANY = 20_000


@pytest.fixture
def crowded(store: Store) -> Store:
    """A database of many tasks, one a second, the last of which wait."""
    account_id = funded(store, 0)
    rows = [
        row(n, account_id, (n, 5, 5, ENDS[n % 50 if n % 50 < 3 else 0], 26_000))
        if n < MANY - 100
        else row(n, account_id, (n, None, None, "succeeded", 26_000))
        for n in range(MANY)
    ]
    store.write(lambda tx: tx.execute(insert(task), rows))
    if not store.sqlite:
        store.write(lambda tx: tx.execute(text("ANALYZE task")))
    return store


@pytest.mark.parametrize("name", SERIES)
def test_a_series_goes_through_its_own_time_alone(crowded: Store, name: str) -> None:
    """No plan reads the whole table where a hundredth of it is asked for."""
    lately = Span(NOW + MANY - 500.0, NOW + MANY, 10.0)
    plans = explained(crowded, partial(series.read, name=name, span=lately))
    assert plans
    for plan in plans:
        whole = "SCAN task" if crowded.sqlite else "Seq Scan on task"
        assert whole not in plan, plan


@pytest.mark.parametrize(
    "wanted",
    [
        Search(),
        Search(state=TaskState.QUEUED),
        Search(since=NOW + MANY - 50.0),
        Search(until=NOW + 50.0),
        Search(account_id="acct_none"),
    ],
    ids=str,
)
def test_a_page_of_tasks_is_found_by_an_index(crowded: Store, wanted: Search) -> None:
    (plan,) = explained(crowded, partial(search, wanted=wanted, limit=50))
    sorts_or_scans = ("SCAN task\n",) if crowded.sqlite else ("Seq Scan on task",)
    assert not any(each in f"{plan}\n" for each in sorts_or_scans), plan


def explained(store: Store, query: Any) -> list[str]:
    """The plans of all statements that a query makes."""
    said: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    def run(tx: Any) -> list[str]:
        event.listen(tx, "before_cursor_execute", note)
        query(tx)
        event.remove(tx, "before_cursor_execute", note)
        words = "EXPLAIN QUERY PLAN " if store.sqlite else "EXPLAIN "
        plans = []
        for statement, parameters in said:
            rows = tx.exec_driver_sql(words + statement, parameters).all()
            plans.append("\n".join(str(each[-1]) for each in rows))
        return plans

    return store.read(run)
