"""The rows of callbacks: claimed, recorded, listed, sent again, forgotten."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from tests.audit import NOW, funded, submission
from tests.test_queue import History, clear
from zing import ledger, queue
from zing.errors import UnknownAccount, UnknownTask
from zing.queue import Accepted
from zing.store import Store, outbox, tasks
from zing.store.outbox import Bounds, Hands, Held, Record
from zing.store.schema import delivery_attempt
from zing.store.schema import ledger as entries
from zing.store.schema import outbox as rows
from zing.store.schema import task as task_table
from zing.task import Attempt, Delivery, DeliveryState

LEASE_S = 15.0
SMALL = Bounds(in_all=20, of_host=3, of_account=5)


@pytest.fixture
def account_id(store: Store) -> str:
    return funded(store)


def owe(store: Store, account_id: str, count: int = 1, **changes: Any) -> list[str]:
    """Rows of callbacks that are due since NOW, the first for the longest; their ids."""
    host = changes.get("host", "hooks.example.com")
    made = [
        {
            "id": f"msg_{queue.task_id(NOW)[:20]}{number:04d}",
            "task_id": queue.task_id(NOW + number / 1000),
            "account_id": account_id,
            "public_id": "task-1",
            "dialect": "evolink",
            "url": f"https://{host}/",
            "host": host,
            "state": DeliveryState.DUE,
            "attempt": 0,
            "next_at": NOW - 1 + number / 1e6,
            "lease_until": 0.0,
            "created_at": NOW,
        }
        | changes
        for number in range(count)
    ]
    store.write(lambda tx: tx.execute(insert(rows), made))
    return [str(each["id"]) for each in made]


def claim(
    store: Store,
    now: float = NOW,
    held: Sequence[Delivery] = (),
    bounds: Bounds = SMALL,
    limit: int = 100,
    body: str | None = None,
    doubtful: Callable[[str], bool] = lambda _: False,
) -> list[Held]:
    def act(tx: Any) -> list[Held]:
        due = outbox.due(tx, now, limit, Hands(bounds, held, doubtful))
        claimed = outbox.claim(tx, {each.id: body for each in due}, now, now + LEASE_S)
        assert ids(claimed) == [each.id for each in due]
        return claimed

    return store.write(act)


def attempt(number: int, status: int | None = 503) -> Attempt:
    return Attempt(number, NOW, 0.5, status, "" if status else "It did not answer.")


def record(
    store: Store, held: Held, state: DeliveryState, at: float = NOW + 1, status: int | None = 503
) -> None:
    made = Record(held, attempt(held.delivery.attempt + 1, status), state, at)
    store.write(lambda tx: outbox.record(tx, [made]))


def find(store: Store, text: str) -> Delivery:
    return store.read(lambda tx: outbox.find(tx, text))


def ids(held: Sequence[Held]) -> list[str]:
    return [each.delivery.id for each in held]


# Claims


def test_what_is_due_is_claimed_once_until_its_lease_is_over(store: Store, account_id: str) -> None:
    owed = owe(store, account_id, 2)
    assert ids(claim(store)) == owed
    assert claim(store, NOW + LEASE_S - 1) == []
    assert ids(claim(store, NOW + LEASE_S)) == owed


def test_what_is_due_later_or_has_ended_is_not_claimed(store: Store, account_id: str) -> None:
    owe(store, account_id, next_at=NOW + 4)
    for state in (DeliveryState.DELIVERED, DeliveryState.EXHAUSTED, DeliveryState.REFUSED):
        owe(store, account_id, state=state)
    assert claim(store) == []
    assert len(claim(store, NOW + 4)) == 1


def test_the_longest_due_is_claimed_first(store: Store, account_id: str) -> None:
    (young,) = owe(store, account_id, next_at=NOW - 1)
    (old,) = owe(store, account_id, next_at=NOW - 2)
    assert ids(claim(store, limit=1)) == [old]
    assert ids(claim(store)) == [young]


def test_a_dead_hosts_thousand_do_not_keep_others_from_being_claimed(store: Store) -> None:
    owe(store, funded(store), 1000, host="dead.example.com", next_at=NOW - 900)
    good = owe(store, funded(store), 2)
    held = claim(store)
    hosts = Counter(each.delivery.host for each in held)
    assert hosts == {"dead.example.com": SMALL.of_host, "hooks.example.com": 2}
    assert good == ids(held)[-2:]
    # Nor when the host is full already.
    full = [each.delivery for each in held[: SMALL.of_host]]
    (late,) = owe(store, funded(store), host="late.example.com")
    assert ids(claim(store, NOW + 1, full, limit=1)) == [late]
    assert claim(store, NOW + 1, full) == []


def test_of_a_host_that_is_not_known_to_answer_one_is_claimed(
    store: Store, account_id: str
) -> None:
    for number in range(3):
        owe(store, account_id, 2, host=f"h{number}.example.com", next_at=NOW - 9 + number)
    held = claim(store, doubtful=lambda host: host != "h1.example.com")
    assert [each.delivery.host[:2] for each in held] == ["h0", "h1", "h1", "h2"]
    mine = [each.delivery for each in held]
    assert claim(store, held=mine, doubtful=lambda _: True) == []
    assert len(claim(store, held=mine[1:], doubtful=lambda host: host != "h1.example.com")) == 1


def test_a_claim_holds_up_no_submit_to_look_at_what_else_is_due(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'zing.db'}")
    steps = Counter[str]()

    def counted(tx: Any) -> list[Held]:
        raw = tx.connection.driver_connection
        raw.set_progress_handler(lambda: steps.update(["hundred"]), 100)
        try:
            return outbox.claim(tx, dict.fromkeys(late), NOW, NOW + LEASE_S)
        finally:
            raw.set_progress_handler(None, 0)

    owe(store, funded(store), 5000, host="dead.example.com", next_at=NOW - 900)
    late = owe(store, funded(store), 3)
    assert ids(store.write(counted)) == late
    assert steps["hundred"] < 20
    store.close()


def test_an_accounts_thousand_do_not_keep_others_from_being_claimed(store: Store) -> None:
    greedy = funded(store)
    for number in range(40):
        owe(store, greedy, 25, host=f"h{number}.example.com", next_at=NOW - 900)
    owe(store, funded(store), 2)
    held = claim(store)
    assert Counter(each.delivery.account_id == greedy for each in held) == {
        True: SMALL.of_account,
        False: 2,
    }
    mine = [each.delivery for each in held if each.delivery.account_id == greedy]
    assert claim(store, NOW + 1, mine) == []


def test_no_more_are_claimed_than_hands_hold(store: Store) -> None:
    for number in range(30):
        owe(store, funded(store), host=f"h{number}.example.com")
    held = claim(store)
    assert len(held) == SMALL.in_all
    mine = [each.delivery for each in held]
    assert claim(store, held=mine) == []
    assert len(claim(store, held=mine[3:])) == 3


def test_several_that_claim_at_once_share_what_is_due(store: Store) -> None:
    owed = set(owe(store, funded(store), 60))
    ready = threading.Barrier(4)
    wide = Bounds(100, 100, 100)

    def work() -> list[str]:
        ready.wait(10)
        mine: list[str] = []
        while found := store.read(lambda tx: outbox.due(tx, NOW, 5, Hands(wide))):
            bodies = dict.fromkeys(each.id for each in found)
            take = partial(outbox.claim, bodies=bodies, now=NOW, lease_until=NOW + LEASE_S)
            mine += ids(store.write(take))
        return mine

    with ThreadPoolExecutor(4) as pool:
        shares = [each.result() for each in [pool.submit(work) for _ in range(4)]]
    assert Counter(one for share in shares for one in share) == dict.fromkeys(owed, 1)


def test_a_clock_that_jumped_back_stops_no_delivery(store: Store, account_id: str) -> None:
    hour = 3600.0
    (owed,) = owe(store, account_id)
    (held,) = claim(store)
    record(store, held, DeliveryState.DUE, NOW + 4)
    assert ids(claim(store, NOW - hour)) == [owed]
    # Its lease is from the future too, after the next jump.
    assert ids(claim(store, NOW - 2 * hour)) == [owed]
    assert claim(store, NOW - 2 * hour + 1) == []


def test_what_is_in_ones_hands_is_not_claimed_again_whatever_the_clock_does(
    store: Store, account_id: str
) -> None:
    owe(store, account_id)
    mine = [each.delivery for each in claim(store)]
    for jump in (-90_000.0, -3600.0, 3600.0, 90_000.0):
        assert claim(store, NOW + jump, mine) == []


# Records


def test_a_failed_attempt_is_kept_and_the_next_is_due_at_its_time(
    store: Store, account_id: str
) -> None:
    owe(store, account_id)
    (held,) = claim(store)
    record(store, held, DeliveryState.DUE, NOW + 1)
    found = find(store, held.delivery.id)
    assert (found.state, found.attempt, found.next_at) == (DeliveryState.DUE, 1, NOW + 1)
    assert store.read(lambda tx: outbox.attempts_of(tx, found.id)) == [attempt(1)]
    assert claim(store, NOW + 0.9) == []
    (again,) = claim(store, NOW + 1)
    record(store, again, DeliveryState.EXHAUSTED, NOW + 3, None)
    found = find(store, held.delivery.id)
    assert (found.state, found.attempt, found.ended_at) == (DeliveryState.EXHAUSTED, 2, NOW + 3)
    made = store.read(lambda tx: outbox.attempts_of(tx, found.id))
    assert made == [attempt(1), attempt(2, None)]
    assert claim(store, NOW + 999) == []


def test_an_attempt_without_its_lease_ends_a_delivery_only_where_it_succeeded(
    store: Store, account_id: str
) -> None:
    owe(store, account_id)
    (late,) = claim(store)
    (other,) = claim(store, NOW + LEASE_S)
    record(store, late, DeliveryState.DUE)
    assert find(store, late.delivery.id).attempt == 0
    record(store, late, DeliveryState.DELIVERED, status=200)
    record(store, other, DeliveryState.DUE, status=502)
    assert find(store, late.delivery.id).state is DeliveryState.DELIVERED
    assert len(store.read(lambda tx: outbox.attempts_of(tx, late.delivery.id))) == 3


@pytest.mark.parametrize("state", [DeliveryState.DUE, DeliveryState.DELIVERED])
def test_an_attempt_that_is_recorded_again_is_kept_once(
    store: Store, account_id: str, state: DeliveryState
) -> None:
    """The commit was done and its answer lost."""
    (owed,) = owe(store, account_id)
    (held,) = claim(store)
    for _ in range(2):
        record(store, held, state)
    assert len(store.read(lambda tx: outbox.attempts_of(tx, owed))) == 1
    assert (find(store, owed).state, find(store, owed).attempt) == (state, 1)


def test_a_delivery_that_is_given_back_is_due_at_once(store: Store, account_id: str) -> None:
    owe(store, account_id, 2)
    first, second = claim(store)
    record(store, first, DeliveryState.DELIVERED, status=200)
    store.write(lambda tx: outbox.release(tx, [first, second]))
    (again,) = claim(store, NOW + 1)
    assert again.delivery == second.delivery
    # Who gives back late takes nothing away.
    store.write(lambda tx: outbox.release(tx, [second]))
    assert claim(store, NOW + 1) == []


def test_the_first_body_is_the_one_that_is_kept(store: Store, account_id: str) -> None:
    (owed,) = owe(store, account_id)
    for later_s, body in enumerate([None, "first", "second", None]):
        (held,) = claim(store, NOW + later_s * LEASE_S, body=body)
        assert held.delivery == find(store, owed)
        assert held.delivery.body == ("first" if later_s else None)


# What an operator does


def test_deliveries_are_listed_the_newest_first(store: Store, account_id: str) -> None:
    other = funded(store)
    mine = owe(store, account_id, 3)
    (refused,) = owe(store, other, task_id=queue.task_id(NOW + 9), state=DeliveryState.REFUSED)

    def listed(state: DeliveryState | None, account: str | None, limit: int = 9) -> list[str]:
        found = store.read(lambda tx: outbox.list_deliveries(tx, state, account, limit))
        return [each.id for each in found]

    assert listed(None, None) == [refused, *reversed(mine)]
    assert listed(DeliveryState.DUE, None) == [*reversed(mine)]
    assert listed(DeliveryState.REFUSED, account_id) == []
    assert listed(None, other) == [refused]
    assert listed(None, None, 1) == [refused]


def test_a_delivery_is_found_by_its_id_and_by_its_tasks(store: Store, account_id: str) -> None:
    (delivery,) = ended(store, account_id)
    assert find(store, delivery.id) == find(store, delivery.public_id) == delivery
    for text in ("msg_none", "", "\0", "\ud800", "%"):
        with pytest.raises(UnknownTask):
            find(store, text)


@pytest.mark.parametrize("state", list(DeliveryState))
def test_a_delivery_is_sent_again_with_all_its_attempts(
    store: Store, account_id: str, state: DeliveryState
) -> None:
    is_due = state is DeliveryState.DUE
    values = {"state": state, "attempt": 3, "body": "{}", "next_at": NOW + 4}
    (owed,) = owe(store, account_id, ended_at=None if is_due else NOW, **values)
    store.write(lambda tx: outbox.resend(tx, owed, NOW + 1))
    found = find(store, owed)
    assert (found.state, found.next_at, found.ended_at) == (DeliveryState.DUE, NOW + 1, None)
    assert (found.attempt, found.body) == (3 if is_due else 0, "{}")


def test_sending_again_takes_nothing_from_whoever_is_sending(store: Store, account_id: str) -> None:
    (owed,) = owe(store, account_id)
    (held,) = claim(store)
    store.write(lambda tx: outbox.resend(tx, owed, NOW))
    assert claim(store) == []
    record(store, held, DeliveryState.DELIVERED, status=200)
    assert find(store, owed).state is DeliveryState.DELIVERED


def test_purging_a_task_forgets_its_callback_and_the_attempts(
    store: Store, account_id: str
) -> None:
    gone, stays = ended(store, account_id, 2)
    old = update(task_table).where(task_table.c.id == gone.task_id)
    store.write(lambda tx: tx.execute(old.values(ended_at=NOW - 100)))
    held = claim(store)
    for each in held:
        record(store, each, DeliveryState.DUE)
    assert store.write(lambda tx: tasks.purge(tx, NOW - 50))[0] == 1
    with pytest.raises(UnknownTask):
        find(store, gone.id)
    assert store.read(lambda tx: outbox.attempts_of(tx, gone.id)) == []
    assert len(store.read(lambda tx: outbox.attempts_of(tx, stays.id))) == 1
    # An attempt that ends after the purge leaves nothing behind.
    for each in held:
        record(store, each, DeliveryState.DELIVERED, status=200)
    count = select(func.count()).select_from(delivery_attempt)
    assert store.read(lambda tx: tx.scalar(count)) == 2


def ended(store: Store, account_id: str, count: int = 1) -> list[Delivery]:
    """Callbacks of tasks that were cancelled."""

    def act(tx: Any) -> list[Delivery]:
        found = []
        for _ in range(count):
            asked = submission(account_id, callback_url="https://hooks.example.com/")
            (accepted,) = queue.accept(tx, [asked], NOW)
            assert isinstance(accepted, Accepted)
            queue.cancel(tx, asked.public_id, None, NOW)
            found.append(outbox.find(tx, asked.public_id))
        return found

    return store.write(act)


# Secrets


def test_a_rotated_secret_signs_for_another_day(store: Store, account_id: str) -> None:
    day = outbox.OLD_SECRET_S

    def secrets(now: float) -> tuple[int, ...]:
        return store.read(lambda tx: outbox.secrets_of(tx, account_id, now))

    def rotate(now: float) -> None:
        store.write(lambda tx: outbox.rotate_secret(tx, account_id, now))

    assert secrets(NOW) == (1,)
    rotate(NOW)
    assert secrets(NOW) == secrets(NOW + day - 1) == (2, 1)
    assert secrets(NOW + day) == (2,)
    rotate(NOW + 1)
    assert secrets(NOW + day) == (3, 2)
    owe(store, account_id)
    assert claim(store, NOW + day)[0].secrets == (3, 2)
    with pytest.raises(UnknownAccount):
        store.read(lambda tx: outbox.secrets_of(tx, "acct_none", NOW))


# Whatever happens


HISTORIES = {"sqlite": 25, "postgresql": 5}


def test_no_callback_can_be_claimed_before_its_task_has_ended_and_is_paid_for(
    store: Store,
) -> None:
    settled = (
        select(entries.c.task_id)
        .where(entries.c.kind.in_([ledger.Kind.SETTLE, ledger.Kind.RELEASE]))
        .distinct()
    )
    claimed = 0
    for seed in range(HISTORIES["sqlite" if store.sqlite else "postgresql"]):
        store.write(clear)
        history = History(store, 1000 + seed)
        for _ in range(20):
            history.step()
            held = claim(store, history.clock() + 1, bounds=Bounds())
            paid = set(store.read(lambda tx: tx.scalars(settled).all()))
            for each in held:
                state = history.state[each.delivery.task_id]
                assert state.ended, f"seed {seed}"
                assert each.delivery.task_id in paid
            claimed += len(held)
    assert claimed
