"""The operator's use cases: accounts, keys, money, tasks, callbacks, switches, what is going on.

No HTTP and no terminal: the command line and the admin API do the same by them and are told the
same. Whatever changes something is noted in the audit log, in the transaction that changes it.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any, TypeVar

from sqlalchemy import Connection, select, update

from zing import accounts, audit, dialects, facts, keys, ledger, logs, queue, statement
from zing.errors import BadField, BadSetting, LastKey, UnknownKey
from zing.facts import Facts
from zing.keys import Allowed, Key, Scope
from zing.ledger import Span as Entries
from zing.service import Service
from zing.store import audit_log, outbox, series, switches, tasks
from zing.store.audit_log import COMMAND_LINE
from zing.store.schema import api_key, worker
from zing.store.series import POINTS_MAX, Span
from zing.store.switches import MAINTENANCE, without
from zing.store.tasks import Search
from zing.task import DeliveryState, show_credits

CSV_IN_MEMORY = 1024 * 1024
ANY = Allowed()

T = TypeVar("T")


@dataclass(frozen=True)
class Operator:
    """Who administers.

    actor    the id of a key, or COMMAND_LINE
    address  where they are; empty on this machine
    """

    service: Service
    actor: str = COMMAND_LINE
    address: str = ""

    # Accounts and money

    def accounts(self, limit: int, after: str = "") -> Facts:
        """A page of accounts, the newest first."""
        found = self._read(lambda tx: accounts.page(tx, limit + 1, after))
        return _page(found, limit, facts.of_account, lambda each: each.id)

    def account(self, account_id: str) -> Facts:
        """An account; raises UnknownAccount."""
        return facts.of_account(self._read(lambda tx: accounts.find(tx, account_id)))

    def open_account(self, credits: int = 0, reason: str = "") -> Facts:
        """A new account, with so many micro-credits."""

        def act(tx: Connection, now: float) -> Facts:
            account_id = self._opened(tx, credits, reason, now)
            return facts.of_account(accounts.find(tx, account_id))

        return self._write(act)

    def change_account(self, account_id: str, values: Mapping[str, int | None]) -> Facts:
        """Set some of an account's `weight`, `max_running`, `max_open`; raises UnknownAccount."""

        def act(tx: Connection, now: float) -> Facts:
            if values:
                accounts.change(tx, account_id, values)
                self._note(tx, now, "account changed", account_id, _told(values))
            return facts.of_account(accounts.find(tx, account_id))

        return self._write(act)

    def entries(self, span: Entries, limit: int, after: int | None = None) -> Facts:
        """A page of an account's entries, the newest first; raises UnknownAccount."""
        found = self._read(lambda tx: ledger.page(tx, span, limit + 1, after))
        return _page(found, limit, facts.of_entry, lambda each: each.id)

    def entries_csv(self, span: Entries) -> IO[bytes]:
        """All entries of a span as CSV, in a file of their own that is read from its start."""
        # Written first and sent then: who reads slowly holds no connection to the database.
        file = tempfile.SpooledTemporaryFile(CSV_IN_MEMORY)  # noqa: SIM115 - its reader closes it
        with self.service.store.snapshot() as tx:
            for line in statement.lines(ledger.statement(tx, span)):
                file.write(line.encode())
        file.seek(0)
        return file

    def grant(self, account_id: str, amount: int, reason: str = "") -> Facts:
        """Give an account micro-credits; raises UnknownAccount or BadSetting."""

        def act(tx: Connection, now: float) -> Facts:
            if amount <= 0:
                raise BadSetting("Nothing to grant: say how many credits.")
            ledger.grant(tx, account_id, amount, now, reason)
            self._note(tx, now, "credits granted", account_id, _why(amount, reason))
            return facts.of_account(accounts.find(tx, account_id))

        return self._write(act)

    def adjust(self, account_id: str, amount: int, reason: str) -> Facts:
        """Give or take micro-credits for a reason; raises UnknownAccount or BadSetting."""

        def act(tx: Connection, now: float) -> Facts:
            ledger.adjust(tx, account_id, amount, now, reason)
            self._note(tx, now, "credits adjusted", account_id, _why(amount, reason))
            return facts.of_account(accounts.find(tx, account_id))

        return self._write(act)

    def refund(self, task_id: str, reason: str) -> Facts:
        """Give back what a task was charged, once; its account. UnknownTask or BadSetting."""

        def act(tx: Connection, now: float) -> Facts:
            balance = ledger.refund(tx, task_id, now, reason)
            self._note(tx, now, "task refunded", task_id, reason)
            return facts.of_account(accounts.find(tx, balance.account_id))

        return self._write(act)

    # Keys

    def keys(self, limit: int, after: str = "", account_id: str = "") -> Facts:
        """A page of keys, the newest first."""
        found = self._read(lambda tx: keys.page(tx, limit + 1, after, account_id))
        return _page(found, limit, self._key, lambda each: each.id)

    def key(self, key_id: str) -> Facts:
        """A key, without its secret; raises UnknownKey."""
        return self._key(self._read(lambda tx: _key(tx, key_id)))

    def create_key(
        self, name: str, account_id: str = "", credits: int = 0, allowed: Allowed = ANY
    ) -> Facts:
        """A new key, its text in `key` this once; of a new account where none is named.

        Raises UnknownAccount or BadSetting.
        """

        def act(tx: Connection, now: float) -> Facts:
            reason = f"with the key {name}"[: ledger.REASON_MAX]
            owner = account_id or self._opened(tx, credits, reason, now)
            ledger.balance(tx, owner)
            if account_id and credits:
                ledger.grant(tx, owner, credits, now, reason)
                self._note(tx, now, "credits granted", owner, _why(credits, reason))
            text, key = keys.mint(tx, self.service.pepper, name, owner, now, allowed)
            self._note(tx, now, "key created", key.id, _told({"name": name, **_named(allowed)}))
            return {"key": text, **self._key(key)}

        return self._write(act)

    def change_key(self, key_id: str, name: str | None, values: Mapping[str, Any]) -> Facts:
        """Set some of what a key is called and may do, named as in Allowed.

        Raises UnknownKey, BadSetting, or LastKey.
        """

        def act(tx: Connection, now: float) -> Facts:
            key = _key(tx, key_id, locked=True)
            keys.change(tx, key_id, replace(key.allowed, **values))
            rest = {} if name is None else {"name": name}
            if rest:
                tx.execute(update(api_key).where(api_key.c.id == key_id).values(**rest))
            self._check_way_in(tx, key, now)
            self._note(tx, now, "key changed", key_id, _told({**rest, **values}))
            return self._key(_key(tx, key_id))

        return self._write(act)

    def revoke_key(self, key_id: str) -> Facts:
        """End a key for good; raises UnknownKey or LastKey."""
        return self._set_key(key_id, keys.revoke, "key revoked")

    def disable_key(self, key_id: str) -> Facts:
        """Stop a key until it is enabled again; raises UnknownKey or LastKey."""
        return self._set_key(key_id, keys.disable, "key disabled")

    def enable_key(self, key_id: str) -> Facts:
        """Let a disabled key work again; raises UnknownKey."""
        return self._set_key(key_id, keys.enable, "key enabled")

    def rotate_key(self, key_id: str, overlap_s: float = 0.0) -> Facts:
        """A new key that may do the same, its text in `key` this once; the old one ends.

        At once, or after `overlap_s`. Raises UnknownKey, or BadSetting where it lets nobody in.
        """

        def act(tx: Connection, now: float) -> Facts:
            old = _key(tx, key_id)
            if old.refusal(now) is not None:
                raise BadSetting(f"The key is {old.state(now)}: only an active one is replaced.")
            text, key = keys.rotate(tx, self.service.pepper, old, now, overlap_s)
            overlap = f", overlap {overlap_s:g} s" if overlap_s else ""
            self._note(tx, now, "key rotated", key_id, f"the new one is {key.id}{overlap}")
            return {"key": text, **self._key(key)}

        return self._write(act)

    # Tasks and callbacks

    def tasks(self, wanted: Search, limit: int) -> Facts:
        """A page of the tasks that are looked for, the newest first."""
        found = self._read(lambda tx: tasks.search(tx, wanted, limit + 1))
        return _page(found, limit, facts.of_task, lambda each: each.id)

    def task(self, task_id: str) -> Facts:
        """A task as it is now; raises UnknownTask."""
        return facts.of_view(self.service.look(task_id, None))

    def cancel_task(self, task_id: str) -> Facts:
        """Cancel a task; one that runs ends at its next step. UnknownTask or NotCancellable."""

        def act(tx: Connection, now: float) -> Any:
            ended = queue.cancel(tx, task_id, None, now)
            self._note(tx, now, "task cancelled", task_id)
            return ended

        if ended := self._write(act):
            logs.tell_end(ended)
        self.service.wake()
        return self.task(task_id)

    def callbacks(
        self, state: DeliveryState | None, account_id: str, limit: int, after: str = ""
    ) -> Facts:
        """A page of callbacks, those of the newest tasks first."""
        of = account_id or None
        found = self._read(lambda tx: outbox.list_deliveries(tx, state, of, limit + 1, after))
        return _page(found, limit, facts.of_callback, lambda each: each.task_id)

    def callback(self, callback_id: str) -> Facts:
        """A callback, by its id or its task's, and every attempt; raises UnknownTask."""
        return self._read(partial(_callback, callback_id))

    def resend_callbacks(self, callback_ids: Sequence[str]) -> list[Facts]:
        """Make callbacks due again, all of them or none; raises UnknownTask."""

        def act(tx: Connection, now: float) -> list[Facts]:
            found = [outbox.find(tx, each).id for each in callback_ids]
            for each in found:
                outbox.resend(tx, each, now)
                self._note(tx, now, "callback resent", each)
            return [facts.of_callback(outbox.find(tx, each)) for each in found]

        return self._write(act)

    # Switches

    def maintenance(self) -> Facts:
        """Whether new tasks are refused."""
        return facts.of_maintenance(self._read(switches.list_switches))

    def start_maintenance(self, message: str = "") -> Facts:
        """Refuse new tasks from now on; raises BadSetting where the message cannot be told."""

        def act(tx: Connection, now: float) -> Facts:
            switches.turn_on(tx, MAINTENANCE, now, message)
            self._note(tx, now, "maintenance on", detail=message)
            return facts.of_maintenance(switches.list_switches(tx))

        return self._write(act)

    def end_maintenance(self) -> Facts:
        """Take new tasks again."""

        def act(tx: Connection, now: float) -> Facts:
            switches.turn_off(tx, MAINTENANCE)
            self._note(tx, now, "maintenance off")
            return facts.of_maintenance(switches.list_switches(tx))

        return self._write(act)

    def dialects(self) -> list[Facts]:
        """The APIs, and whether each takes new tasks."""
        switched = self._read(switches.list_switches)
        return [facts.of_dialect(each.NAME, switched) for each in dialects.ALL]

    def dialect(self, name: str) -> Facts:
        """Whether an API takes new tasks; raises BadSetting."""
        return facts.of_dialect(_dialect(name), self._read(switches.list_switches))

    def enable_dialect(self, name: str) -> Facts:
        """Take new tasks by an API again; raises BadSetting."""

        def act(tx: Connection, now: float) -> Facts:
            switches.turn_off(tx, without(_dialect(name)))
            self._note(tx, now, "dialect enabled", name)
            return facts.of_dialect(name, switches.list_switches(tx))

        return self._write(act)

    def disable_dialect(self, name: str) -> Facts:
        """Refuse new tasks by an API; raises BadSetting."""

        def act(tx: Connection, now: float) -> Facts:
            switches.turn_on(tx, without(_dialect(name)), now)
            self._note(tx, now, "dialect disabled", name)
            return facts.of_dialect(name, switches.list_switches(tx))

        return self._write(act)

    # What is going on

    def workers(self) -> list[Facts]:
        """The workers that there are, those that began first in front."""
        now = self.service.clock()
        query = select(worker).order_by(worker.c.started_at, worker.c.id)
        return [facts.of_worker(row, now) for row in self._read(lambda tx: tx.execute(query).all())]

    def limits(self) -> Facts:
        """What holds where a key or an account has nothing else."""
        return facts.of_limits(self.service.most, self.service.terms.price)

    def audit_log(
        self, limit: int, after: int | None = None, action: str = "", actor: str = ""
    ) -> Facts:
        """A page of what was done and who was refused, the newest first."""
        found = self._read(lambda tx: audit_log.page(tx, limit + 1, after, action, actor))
        return _page(found, limit, lambda each: facts.of_log(*each), lambda each: each[0])

    def audit(self) -> Facts:
        """Whether everything in the database is as it must be."""
        most = self.service.most.queue_max
        return facts.of_report(self._read(lambda tx: audit.examine(tx, most)))

    def series(self, name: str, span: Span) -> Facts:
        """What happened over a time, in steps; raises BadField."""
        if span.until <= span.start:
            raise BadField("from must be before until.", field="from")
        if span.count > POINTS_MAX:
            raise BadField(
                f"step must be longer: that would be {span.count} points, {POINTS_MAX} at most.",
                field="step",
            )
        points = self._read(lambda tx: series.read(tx, name, span))
        starts = (span.start + number * span.step for number in range(span.count))
        return {
            "name": name,
            "from": span.start,
            "until": span.until,
            "step": span.step,
            "points": [{"at": at, **each} for at, each in zip(starts, points, strict=True)],
        }

    # What these share

    def _read(self, query: Callable[[Connection], T]) -> T:
        return self.service.store.read(query)

    def _write(self, act: Callable[[Connection, float], T]) -> T:
        """What comes of a transaction, durable; it may be done again from the start."""
        return self.service.store.write(lambda tx: act(tx, self.service.clock()))

    def _note(
        self, tx: Connection, now: float, action: str, target: str = "", detail: str = ""
    ) -> None:
        entry = audit_log.Entry(now, self.actor, self.address, action, target, detail)
        audit_log.add(tx, [entry])

    def _opened(self, tx: Connection, credits: int, reason: str, now: float) -> str:
        account_id = ledger.open_account(tx, now)
        self._note(tx, now, "account opened", account_id)
        if credits:
            ledger.grant(tx, account_id, credits, now, reason)
            self._note(tx, now, "credits granted", account_id, _why(credits, reason))
        return account_id

    def _key(self, key: Key) -> Facts:
        return keys.facts(key, self.service.clock())

    def _set_key(
        self, key_id: str, verb: Callable[[Connection, str, float], None], action: str
    ) -> Facts:
        def act(tx: Connection, now: float) -> Facts:
            key = _key(tx, key_id)
            verb(tx, key_id, now)
            self._check_way_in(tx, key, now)
            self._note(tx, now, action, key_id, key.name)
            return self._key(_key(tx, key_id))

        return self._write(act)

    def _check_way_in(self, tx: Connection, before: Key, now: float) -> None:
        """Raise LastKey where this transaction took the last key that lets an operator in.

        On this machine one can always be made. The rows are locked, so that two operators who end
        each other's key are not both right.
        """
        if self.actor == COMMAND_LINE or Scope.ADMIN not in before.allowed.scopes:
            return
        some = select(api_key).where(api_key.c.scopes.contains(f'"{Scope.ADMIN}"'))
        rows = tx.execute(some.order_by(api_key.c.id).with_for_update())
        if not any(keys.of_row(row).state(now) == "active" for row in rows):
            raise LastKey


def _page(
    found: Sequence[T], limit: int, told: Callable[[T], Facts], place: Callable[[T], Any]
) -> Facts:
    """The first `limit` of these, and after which one the next page begins; null at the end."""
    shown = found[:limit]
    more = str(place(shown[-1])) if len(found) > limit else None
    return {"data": [told(each) for each in shown], "next": more}


def _key(tx: Connection, key_id: str, *, locked: bool = False) -> Key:
    query = select(api_key).where(api_key.c.id == key_id)
    row = tx.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None:
        raise UnknownKey(f"There is no key {key_id[:40]!r}.")
    return keys.of_row(row)


def _callback(callback_id: str, tx: Connection) -> Facts:
    delivery = outbox.find(tx, callback_id)
    attempts = outbox.attempts_of(tx, delivery.id)
    shown = [facts.of_attempt(each) for each in attempts]
    return {**facts.of_callback(delivery), "attempts": shown}


def _dialect(name: str) -> str:
    names = [each.NAME for each in dialects.ALL]
    if name not in names:
        raise BadSetting(f"There is no API {name[:40]!r}: {', '.join(names)} are there.")
    return name


def _named(allowed: Allowed) -> dict[str, Any]:
    """What of this is not as a key usually is."""
    return {name: value for name, value in vars(allowed).items() if value != getattr(ANY, name)}


def _why(amount: int, reason: str) -> str:
    return f"{show_credits(amount)}: {reason}" if reason else show_credits(amount)


def _told(values: Mapping[str, Any]) -> str:
    """What was set, in a line of the log."""
    return ", ".join(f"{name} {_word(name, value)}" for name, value in values.items())


def _word(name: str, value: Any) -> str:
    if name in ("cap", "daily_cap") and value is not None:
        return show_credits(value)
    if isinstance(value, frozenset):
        return "+".join(sorted(map(str, value))) or "any"
    return "none" if value is None else str(value)
