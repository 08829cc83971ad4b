"""The audit finds everything that is broken, by planting it, and nothing where nothing is."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from tests import databases
from tests.audit import MODEL, NOW, PRICE, accepted, funded, kept_file, submission
from tests.servers import ended, serving, submit
from zing import cli, ledger, queue
from zing.audit import GONE_AFTER_S, INVARIANTS, Finding, Report, examine, examine_pictures
from zing.blobs import Blobs
from zing.errors import BadPicture, BadSetting
from zing.queue import Outcome
from zing.store import Store, files, idem, inspection, outbox, tasks
from zing.store.idem import Sent
from zing.store.outbox import Bounds, Hands, Record
from zing.task import Attempt, DeliveryState, Task, TaskState

URL = "https://hooks.example.com/"
LEASE_S = 10**6


class Books:
    """A database with a task in every state, told of in every way; all in order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.account_id = funded(store)
        store.write(lambda tx: queue.register(tx, "w1", "host", NOW, LEASE_S))
        self.told(DeliveryState.DELIVERED, self.ended(TaskState.SUCCEEDED, callback_url=URL))
        self.told(DeliveryState.EXHAUSTED, self.ended(TaskState.FAILED, callback_url=URL))
        refunded = self.ended(TaskState.SUCCEEDED)
        store.write(lambda tx: ledger.refund(tx, refunded.public_id, NOW, "sorry"))
        self.ended(TaskState.CANCELLED, callback_url=URL)
        self.purge(self.ended(TaskState.SUCCEEDED, callback_url=URL))
        self.accept(callback_url=URL)
        self.claim()
        self.answered(self.accept())

    def accept(self, **changes: Any) -> Task:
        return accepted(self.store, submission(self.account_id, **changes))

    def claim(self) -> queue.Claim:
        return self.store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, NOW))[0]

    def ended(self, state: TaskState, **changes: Any) -> Task:
        """A task that ended so."""
        task = self.accept(**changes)
        if state == TaskState.CANCELLED:
            self.store.write(lambda tx: queue.cancel(tx, task.public_id, None, NOW))
            return task
        held = self.claim()
        drawn = Outcome(state, file=kept_file(task.id))
        ends = [(held, drawn if state == TaskState.SUCCEEDED else queue.failure(BadPicture()))]
        assert self.store.write(lambda tx: queue.settle(tx, ends, NOW)) != [None]
        return task

    def told(self, state: DeliveryState, task: Task) -> None:
        """Its callback, tried until it had this state."""
        times = 4 if state is DeliveryState.EXHAUSTED else 2
        for number in range(1, times + 1):
            last = state if number == times else DeliveryState.DUE
            self.store.write(partial(self._tried, task=task, number=number, state=last))

    def _tried(self, tx: Connection, task: Task, number: int, state: DeliveryState) -> None:
        due = outbox.due(tx, NOW, 99, Hands(Bounds()))
        mine = {each.id: "{}" for each in due if each.task_id == task.id}
        (held,) = outbox.claim(tx, mine, NOW, NOW + 9)
        status = 200 if state is DeliveryState.DELIVERED else 500
        outbox.record(tx, [Record(held, Attempt(number, NOW, 0.1, status, ""), state, NOW)])

    def purge(self, task: Task) -> None:
        """Forget a task as an operator may, and an answer that led to it stays a while."""
        self.answered(task)
        aged = text("update task set ended_at = 1 where id = :id")
        self.store.write(lambda tx: tx.execute(aged, {"id": task.id}))
        assert self.store.write(lambda tx: tasks.purge(tx, 2.0))[0] == 1

    def answered(self, task: Task) -> None:
        sent = Sent(self.account_id, "/submit", f"key-{task.id}", "0" * 64)
        self.store.write(lambda tx: idem.keep(tx, sent, task.id, "{}", NOW))

    @contextmanager
    def broken(self, *statements: str) -> Iterator[Connection]:
        """The database after these statements, which are undone at the end."""
        with self.store._writer.connect() as connection:
            for each in statements:
                assert connection.execute(text(each)).rowcount, each
            yield connection
            connection.rollback()


@pytest.fixture(scope="module", params=databases.KINDS)
def books(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Books]:
    """One for all tests of a database's kind: each undoes what it plants."""
    if request.param == "sqlite":
        opened = Store(f"sqlite:///{tmp_path_factory.mktemp('audit') / 'zing.db'}")
        yield Books(opened)
        opened.close()
        return
    with databases.new_database(request.getfixturevalue("postgresql")) as url:
        opened = Store(url)
        yield Books(opened)
        opened.close()


def test_nothing_is_found_where_everything_holds(books: Books) -> None:
    report = books.store.read(examine)
    assert report.findings == []
    assert report.clean
    assert not report.cut
    assert report.by_invariant() == dict.fromkeys(INVARIANTS, 0)
    assert report.checked["tasks"] == 6
    assert report.checked["entries"] > 12
    assert all(report.checked.values()), "something was not there to be looked at"
    assert report.took_s > 0


def one(state: str, table: str = "task") -> str:
    """The row of a state, as a condition."""
    return f"id = (select min(id) from {table} where state = '{state}')"


def entry(kind: str, state: str) -> str:
    """The entry of a kind of a task in a state, as a condition."""
    return f"kind = '{kind}' and task_id = (select min(id) from task where state = '{state}')"


PURGED = "task_id is not null and task_id not in (select id from task)"
PLANTED = {
    "available is more": ("I1", "update account set available = available + 1"),
    "held is more": ("I1", "update account set held = held + 1"),
    "used is more": ("I1", "update account set used = used + 1"),
    "used is below zero": ("I1 keys", "update account set used = -1"),
    "a grant was changed": ("I1", "update ledger set amount = amount + 1 where kind = 'grant'"),
    "a grant is gone": ("I1", "delete from ledger where kind = 'grant'"),
    "a grant of less than nothing": (
        "I1",
        "insert into ledger (account_id, kind, amount, created_at)"
        " select id, 'grant', -5, 0 from account",
        "update account set available = available - 5",
    ),
    "a kind that is none": ("I1", "update ledger set kind = 'gift' where kind = 'grant'"),
    "a grant of a task": (
        "I3",
        f"update ledger set task_id = (select id from task where {one('failed')})"
        " where kind = 'grant'",
    ),
    "a state that is none": (
        "I1 I2 keys lanes",
        f"update task set state = 'x' where {one('queued')}",
    ),
    "a worker that is not there": (
        "I2",
        "update task set worker_id = 'w9' where state = 'running'",
    ),
    "nobody's running task": ("I2", "update task set worker_id = null where state = 'running'"),
    "a running task without a claim": (
        "I2",
        "update task set claim_token = null where state = 'running'",
    ),
    "a claim that stayed": ("I2", f"update task set claim_token = 'x' where {one('succeeded')}"),
    "a worker that stayed": ("I2", f"update task set worker_id = 'w1' where {one('queued')}"),
    "an end without a time": ("I2", f"update task set ended_at = null where {one('failed')}"),
    "a time without an end": ("I2", f"update task set ended_at = 9 where {one('queued')}"),
    "running since never": ("I2", "update task set started_at = null where state = 'running'"),
    "queued and begun": ("I2", f"update task set started_at = 9 where {one('queued')}"),
    "more attempts than there are": ("I2", f"update task set attempt = 4 where {one('failed')}"),
    "fewer attempts than none": ("I2", f"update task set attempt = -1 where {one('queued')}"),
    "drawn without an attempt": ("I2", f"update task set attempt = 0 where {one('succeeded')}"),
    "a hold is gone": ("I1 I3", f"delete from ledger where {entry('hold', 'succeeded')}"),
    "a hold of an answered task is gone": (
        "I1 I3 I4",
        f"delete from ledger where kind = 'hold' and {PURGED}",
    ),
    "a settle is gone": ("I1 I3", f"delete from ledger where {entry('settle', 'succeeded')}"),
    "a release is gone": ("I1 I3", f"delete from ledger where {entry('release', 'failed')}"),
    "a failed task was charged": (
        "I1 I3",
        f"update ledger set kind = 'settle' where {entry('release', 'failed')}",
    ),
    "a drawn task was free": (
        "I1 I3",
        f"update ledger set kind = 'release' where {entry('settle', 'succeeded')}",
    ),
    "settled and released": (
        "I1 I3",
        "insert into ledger (account_id, task_id, kind, amount, created_at) select account_id,"
        f" task_id, 'release', amount, 0 from ledger where {entry('settle', 'succeeded')}",
    ),
    "settled while it waits": (
        "I1 I3",
        "insert into ledger (account_id, task_id, kind, amount, created_at) select account_id,"
        f" task_id, 'settle', amount, 0 from ledger where {entry('hold', 'queued')}",
    ),
    "refunded what was never settled": (
        "I1 I3",
        "insert into ledger (account_id, task_id, kind, amount, created_at) select account_id,"
        f" task_id, 'refund', amount, 0 from ledger where {entry('release', 'failed')}",
    ),
    "a refund is gone": ("I1", "delete from ledger where kind = 'refund'"),
    "a refund of another amount": (
        "I1 I3",
        "update ledger set amount = amount - 1 where kind = 'refund'",
    ),
    "a refund that the key was not given": (
        "keys",
        "update api_key set used = (select used from account) + 1",
    ),
    "a settle of another amount": (
        "I1 I3",
        f"update ledger set amount = amount + 1 where {entry('settle', 'succeeded')}",
    ),
    "another cost": ("I3", f"update task set cost = cost + 1 where {one('succeeded')}"),
    "a purged task's settle of another amount": (
        "I1 I3",
        f"update ledger set amount = amount - 1 where kind = 'settle' and {PURGED}",
    ),
    "a purged task's end is gone": (
        "I1 I3",
        f"delete from ledger where kind = 'settle' and {PURGED}",
    ),
    "a waiting task is gone": ("I1 I3 keys lanes", f"delete from task where {one('queued')}"),
    "an answer of another account": ("I4", "update idem set account_id = 'acct_other'"),
    "an answer of a task that never was": ("I4", "update idem set task_id = 'nothing'"),
    "a callback is gone": ("I5", f"delete from outbox where {one('due', 'outbox')}"),
    "a callback that nobody asked for": (
        "I5",
        "update task set callback_url = null where state = 'cancelled'",
    ),
    "a callback before the end": (
        "I5",
        f"update outbox set task_id = (select id from task where {one('running')}),"
        f" url = '{URL}' where {one('due', 'outbox')}",
    ),
    "a callback of before": (
        "I5",
        f"update outbox set created_at = 9 where {one('due', 'outbox')}",
    ),
    "a callback of nothing": (
        "I5",
        f"update outbox set task_id = 'nothing' where {one('due', 'outbox')}",
    ),
    "another account's callback": (
        "I5",
        f"update outbox set account_id = 'acct_other' where {one('due', 'outbox')}",
    ),
    "a callback's state that is none": (
        "I5",
        f"update outbox set state = 'x', ended_at = 9 where {one('due', 'outbox')}",
    ),
    "a callback's end without a time": (
        "I5",
        "update outbox set ended_at = null where state = 'delivered'",
    ),
    "a callback's time without an end": (
        "I5",
        "update outbox set ended_at = 9 where state = 'due'",
    ),
    "given up without a try": ("I5", "update outbox set attempt = 0 where state = 'exhausted'"),
    "an attempt is gone": ("I5", "delete from delivery_attempt where number = 3"),
    "delivered by a failure": ("I5", "update delivery_attempt set status = 500 where status = 200"),
    "an attempt of nothing": (
        "I5",
        "update delivery_attempt set delivery_id = 'x' where number = 3",
    ),
    "a file is gone": ("I6", "delete from file where id = (select min(id) from file)"),
    "a file of a task that failed": (
        "I6",
        f"update file set task_id = (select id from task where {one('failed')})"
        " where id = (select min(id) from file)",
    ),
    "a file of nothing": (
        "I6",
        "update file set task_id = 'x' where id = (select min(id) from file)",
    ),
    "two files": (
        "I6",
        "insert into file select 'f0', task_id, blob_key, sha256, bytes, suffix, expires_at,"
        " deleted_at from file where id = (select min(id) from file)",
    ),
    "a file of no bytes": ("I6", "update file set bytes = 0"),
    "a file that was over at once": ("I6", "update file set expires_at = 9"),
    "a key holds more": ("keys", "update api_key set held = held + 1"),
    "a key holds less": ("keys", "update api_key set held = 0"),
    "a key used less": ("keys", "update api_key set used = 1"),
    "a key used less than nothing": ("keys", "update api_key set used = -1"),
    "a key used more": ("keys", "update api_key set used = used + 1"),
    "a queue counts more": ("lanes", "update lane set queued = queued + 1"),
    "a queue counts fewer": ("lanes", "update lane set running = running - 1"),
    "no place in the queue": ("lanes", "delete from lane"),
    "no turn in the queue": ("lanes", "update lane set weight = 0"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_broken_is_found(books: Books, name: str) -> None:
    broken, *statements = PLANTED[name]
    with books.broken(*statements) as connection:
        report = examine(connection)
    assert {each.invariant for each in report.findings} == set(broken.split()), report.findings
    assert not report.clean
    assert all("{" not in each.what for each in report.findings)
    assert {name for name, count in report.by_invariant().items() if count} == set(broken.split())


@pytest.mark.parametrize(
    ("table", "column"),
    [("account", "used"), ("ledger", "amount"), ("task", "cost"), ("api_key", "held")],
)
@pytest.mark.parametrize("value", ["0.5", "'many'"])
@pytest.mark.parametrize("books", ["sqlite"], indirect=True)  # the other's columns refuse it
def test_money_that_is_no_integer_is_found(
    books: Books, table: str, column: str, value: str
) -> None:
    with books.broken(f"update {table} set {column} = {value}") as connection:
        found = [str(each) for each in examine(connection).findings]
    assert [each for each in found if each.startswith(f"I1: the {table} ")], found


def test_a_queue_beyond_its_bound_is_found(books: Books) -> None:
    with books.broken("select 1") as connection:
        assert examine(connection, queue_max=1).clean
        assert [each.invariant for each in examine(connection, queue_max=0).findings] == ["I9"]
        # One that came back from a dead worker was let in when there was room.
        connection.execute(text("update task set updated_at = updated_at + 1"))
        assert examine(connection, queue_max=0).clean


def test_a_finding_names_the_account_and_the_task(books: Books) -> None:
    with books.broken(f"delete from ledger where {entry('release', 'failed')}") as connection:
        public_id = connection.scalar(text("select public_id from task where state = 'failed'"))
        found = examine(connection).findings
    what = f"{public_id} is failed at {PRICE} micro-credits and was never released"
    assert Finding("I3", what, books.account_id, public_id) in found
    assert [each.account for each in found] == [books.account_id] * len(found)


def test_of_many_findings_so_many_are_shown_and_that_is_said(books: Books) -> None:
    with books.broken("update task set attempt = 9") as connection:
        assert len(examine(connection).findings) == 6
        report = examine(connection, most=2)
    assert len(report.findings) == 2
    assert report.cut


def test_a_statement_is_built_once_and_loads_no_table(books: Books) -> None:
    """As many statements for any number of tasks, and none of them without a bound."""
    said: list[str] = []
    with books.broken("select 1") as connection:

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            said.append(statement)

        event.listen(connection, "before_cursor_execute", note)
        examine(connection)
    bound = [each for each in said if " LIMIT " in each or each.startswith("SELECT count(*)")]
    assert len(said) == len(bound) > 20


# The pictures' bytes


class Album:
    """Pictures in a dictionary, and their rows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.account_id = funded(store)
        self.bytes: dict[str, bytes] = {}
        store.write(lambda tx: queue.register(tx, "w1", "host", NOW, LEASE_S))

    def drawn(self, data: bytes = b"bytes") -> str:
        """The key of a new picture."""
        task = accepted(self.store, submission(self.account_id))
        (held,) = self.store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, NOW))
        sha256 = hashlib.sha256(data).hexdigest()
        file = replace(kept_file(task.id), sha256=sha256, bytes=len(data))
        ends = [(held, Outcome(TaskState.SUCCEEDED, file=file))]
        self.store.write(lambda tx: queue.settle(tx, ends, NOW))
        self.bytes[file.blob_key] = data
        return file.blob_key

    def sweep(self, now: float) -> None:
        self.store.write(lambda tx: files.sweep(tx, now))

    def look(self, now: float = NOW, most: int = 100) -> Report:
        return examine_pictures(self.store.read, self.bytes.get, now, most)


@pytest.fixture
def album(store: Store) -> Album:
    return Album(store)


OVER = NOW + 86_401


def test_every_picture_is_read_and_compared(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zing.audit.PAGE", 2)
    first, middle, *_, last = [album.drawn(b"%d" % n) for n in range(5)]
    report = album.look()
    assert (report.findings, report.checked) == ([], {"pictures": 5})
    album.bytes[first] = b"0x"
    album.bytes[last] = b"5"
    del album.bytes[middle]
    found = [each.what.rpartition(" of ")[2] for each in album.look().findings]
    assert sorted(each.partition(" ")[2] for each in found) == [
        "is not the one that was drawn",
        "is not the one that was drawn",
        "is not there",
    ]
    assert {each.account for each in album.look().findings} == {album.account_id}
    short = album.look(most=1)
    assert (len(short.findings), short.cut) == (1, True)


def test_bytes_are_promised_until_their_time_is_over(album: Album) -> None:
    album.drawn()
    album.bytes.clear()
    assert not album.look(OVER - 2).clean
    assert album.look(OVER).clean


def test_the_bytes_of_a_deleted_picture_are_gone(album: Album) -> None:
    album.drawn()
    album.sweep(OVER)
    assert album.look(OVER + GONE_AFTER_S).clean, "a crash may have come between"
    (found,) = album.look(OVER + GONE_AFTER_S + 1).findings
    assert found.what.endswith("was deleted and is there")
    album.bytes.clear()
    assert album.look(OVER + GONE_AFTER_S + 1).clean


def test_a_picture_that_goes_while_it_is_looked_at_is_no_finding(album: Album) -> None:
    album.drawn()

    def get(_key: str) -> None:
        album.sweep(OVER)

    assert examine_pictures(album.store.read, get, NOW).clean


def test_a_picture_that_cannot_be_read_is_found(album: Album) -> None:
    album.drawn()

    def get(_key: str) -> None:
        raise OSError(5, "Input/output error")

    (found,) = examine_pictures(album.store.read, get, NOW).findings
    assert "cannot be read" in found.what


# The command

Zing = Callable[..., tuple[int, str]]


@pytest.fixture
def zing(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Zing:
    """Runs `zing audit` on the database; its exit status and what it printed."""

    def run(*arguments: str, url: str = database_url) -> tuple[int, str]:
        data = ["--data", str(tmp_path / "data"), "--database", url]
        code = cli.app(["audit", *arguments, *data], standalone_mode=False, prog_name="zing")
        return code or 0, capsys.readouterr().out

    return run


def test_a_person_reads_that_all_is_well_or_what_is_not(zing: Zing, store: Store) -> None:
    Album(store).drawn()
    code, said = zing()
    assert (code, said.count("\n")) == (0, 1)
    assert "1 accounts, 3 entries" in said
    assert said.endswith(": everything holds.\n")
    store.write(lambda tx: tx.execute(text("update account set used = used + 1")))
    code, said = zing()
    first, last = said.splitlines()
    assert code == 1
    assert first.startswith("I1: acct_")
    assert last.endswith(": 1 findings.")


def test_a_program_reads_json(zing: Zing, store: Store) -> None:
    album = Album(store)
    album.drawn()
    code, said = zing("--json")
    told = json.loads(said)
    assert (code, told["clean"], told["findings"]) == (0, True, [])
    assert told["checked"]["tasks"] == 1
    assert told["took_s"] > 0
    store.write(lambda tx: tx.execute(text("update file set expires_at = 1e11")))
    code, said = zing("--pictures", "--json")
    told = json.loads(said)
    assert (code, told["clean"], told["checked"]["pictures"]) == (1, False, 1)
    (found,) = told["findings"]
    assert set(found) == {"invariant", "what", "account", "task"}
    assert (found["invariant"], found["account"]) == ("I6", album.account_id)


def test_the_pictures_of_a_data_folder_are_found(zing: Zing, store: Store, tmp_path: Path) -> None:
    album = Album(store)
    key = album.drawn()
    store.write(lambda tx: tx.execute(text("update file set expires_at = 1e11")))
    Blobs(tmp_path / "data" / "pictures" / store.id).put(key, b"bytes")
    code, said = zing("--pictures")
    assert code == 0
    assert "1 pictures" in said


def test_the_audit_makes_and_changes_nothing(zing: Zing, database_url: str, tmp_path: Path) -> None:
    opened = Store(database_url)
    opened.close()
    before = sorted((each, each.stat().st_mtime_ns) for each in tmp_path.rglob("*"))
    assert zing("--pictures")[0] == 0
    assert sorted((each, each.stat().st_mtime_ns) for each in tmp_path.rglob("*")) == before


def test_a_server_may_run_beside_it(tmp_path: Path) -> None:
    """One of its own: other suites set the times of their pictures."""
    with serving(tmp_path / "data") as server:
        ended(server, submit(server))
        told = server.zing("audit", "--pictures")
        assert (told["clean"], told["findings"]) == (True, [])


def test_without_a_database_there_is_nothing_to_be_told(zing: Zing, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="There is no database"):
        zing(url="")
    with pytest.raises(BadSetting, match="There is no database"):
        zing(url=f"sqlite:///{tmp_path / 'none.db'}")
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    with pytest.raises(BadSetting, match="cannot be read"):
        zing(url=f"sqlite:///{tmp_path / 'broken.db'}")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("version", ["0001", "9999"])
def test_tables_of_another_version_are_not_audited(zing: Zing, store: Store, version: str) -> None:
    other = text("update alembic_version set version_num = :version")
    store.write(lambda tx: tx.execute(other, {"version": version}))
    with pytest.raises(BadSetting, match=f"version {version}"):
        zing()


def test_a_database_that_is_written_to_meanwhile_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "zing.db"
    Store(f"sqlite:///{path}").close()
    looks: list[int] = []

    def query(tx: Connection) -> int:
        if not looks:
            opened = Store(f"sqlite:///{path}")
            funded(opened)
            opened.close()
        looks.append(int(tx.scalar(text("select count(*) from account")) or 0))
        return looks[-1]

    assert inspection.read("", path, query) == 1
    assert len(looks) == 2
