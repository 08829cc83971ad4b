"""Limits: how often an account or a key may create, what a key may spend, how much may be open.

They are counted in the transaction that accepts, after the accounts' rows are locked: what two
replicas accept at once is counted one after the other. A set of requests is one admission.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, case, select, text, update

from zing import config, keys
from zing.config import KIE_RATE, OPEN_MAX, QUEUE_MAX
from zing.errors import (
    BadKey,
    KeyCapReached,
    KeyDailyCapReached,
    ModelDenied,
    RateLimited,
    Refused,
)
from zing.keys import Key
from zing.rates import Rate
from zing.store.schema import api_key, lane, limit_bucket

OPEN_AGAIN_S = 10  # seconds after which it is worth asking again where too much is open

_KEYS = (
    select(api_key, (lane.c.queued + lane.c.running).label("open"), lane.c.max_open)
    .join(lane, lane.c.account_id == api_key.c.account_id)
    .where(api_key.c.id.in_(bindparam("ids", expanding=True)))
)
_BUCKETS = select(limit_bucket).where(
    limit_bucket.c.account_id.in_(bindparam("accounts", expanding=True))
)
_FILL = text(
    "INSERT INTO limit_bucket (account_id, rule, tat) VALUES (:account, :rule, :tat) "
    "ON CONFLICT (account_id, rule) DO UPDATE SET tat = excluded.tat"
)
_HOLD = (
    update(api_key)
    .where(api_key.c.id == bindparam("key"))
    .values(
        held=api_key.c.held + bindparam("cost"),
        day_spent=bindparam("cost")
        + case((api_key.c.day == bindparam("today"), api_key.c.day_spent), else_=0),
        day=bindparam("today"),
        last_used_at=bindparam("now"),
    )
)


@dataclass(frozen=True)
class Rules:
    """What holds where an operator has named nothing else.

    queue_max  tasks that wait, of all accounts
    open_max   tasks of one account that wait or are drawn
    rates      how often an account may create by a dialect, by the dialects' names
    """

    queue_max: int = int(QUEUE_MAX.default)
    open_max: int = int(OPEN_MAX.default)
    rates: Mapping[str, Rate] = field(default_factory=lambda: {"kie": Rate.parse(KIE_RATE.default)})

    @classmethod
    def read(cls) -> "Rules":
        """The rules that the settings name."""
        queue_max = config.whole_number(QUEUE_MAX, 1, 10_000_000)
        open_max = config.whole_number(OPEN_MAX, 1, 10_000_000)
        kie = {} if config.emptied(KIE_RATE) else {"kie": Rate.parse(config.read(KIE_RATE))}
        return cls(queue_max, open_max, kie)


USUAL = Rules()


@dataclass(frozen=True)
class Ask:
    """What limits need to know of a request: whose it is, how it came, what it asks."""

    account_id: str
    key_id: str
    dialect: str
    model: str
    cost: int


@dataclass(frozen=True)
class Quota:
    """A rate that a request was counted by: how many more it allows now, and when all of it."""

    rate: Rate
    left: int
    full_in_s: float


@dataclass
class Used:
    """What a key has spent, today and in all, with what `taken` tasks of the admission add."""

    key: Key
    today: int
    total: int
    taken: int = 0
    added: int = 0


class Admission:
    """What a set of requests is measured by, as it is when their accounts are locked.

    `refusal` asks and changes nothing; `take` counts one that is accepted; `save` keeps the counts.
    """

    def __init__(
        self, connection: Connection, asks: Collection[Ask], rules: Rules, now: float
    ) -> None:
        self._rules = rules
        self._now = now
        self._today = keys.day(now)
        ids = sorted({ask.key_id for ask in asks})
        rows = connection.execute(_KEYS, {"ids": ids}).all()
        self._used = {row.id: self._of(keys.of_row(row)) for row in rows}
        self._open = {row.account_id: row.open for row in rows}
        self._most = {
            row.account_id: rules.open_max if row.max_open is None else row.max_open for row in rows
        }
        self._tats: dict[tuple[str, str], float] = {}
        if any(True for ask in asks for _ in self._rates(ask)):
            accounts = sorted({ask.account_id for ask in asks})
            buckets = connection.execute(_BUCKETS, {"accounts": accounts})
            self._tats = {(row.account_id, row.rule): row.tat for row in buckets}
        self._filled: dict[tuple[str, str], float] = {}

    def refusal(self, ask: Ask) -> Refused | None:
        """Why a request is not accepted now, where a limit is against it."""
        used = self._used.get(ask.key_id)
        if used is None or used.key.account_id != ask.account_id:
            return BadKey()
        return (
            used.key.refusal(self._now)
            or self._model_refusal(used.key, ask)
            or self._open_refusal(ask)
            or self._cap_refusal(used, ask)
            or self._rate_refusal(ask)
        )

    def take(self, ask: Ask) -> Quota | None:
        """Count a request that is accepted; of the rates that it was counted by the fullest."""
        used = self._used[ask.key_id]
        used.today += ask.cost
        used.total += ask.cost
        used.added += ask.cost
        used.taken += 1
        self._open[ask.account_id] += 1
        quotas = []
        for bucket, rate in self._rates(ask):
            taken = rate.take(self._tat(bucket), self._now)
            self._filled[bucket] = taken.tat
            quotas.append(Quota(rate, taken.left, taken.tat - self._now))
        return min(quotas, key=lambda quota: (quota.left, -quota.full_in_s), default=None)

    def save(self, connection: Connection) -> None:
        """Keep what was counted, with the set."""
        held = [
            {"key": key_id, "cost": used.added, "today": self._today, "now": self._now}
            for key_id, used in sorted(self._used.items())
            if used.taken
        ]
        if held:
            connection.execute(_HOLD, held)
        if self._filled:
            filled = sorted(self._filled.items())
            rows = [{"account": each[0], "rule": each[1], "tat": tat} for each, tat in filled]
            connection.execute(_FILL, rows)

    def _of(self, key: Key) -> Used:
        return Used(key, key.spending.today(self._now), key.spending.total)

    def _model_refusal(self, key: Key, ask: Ask) -> Refused | None:
        allowed = key.allowed.models
        return ModelDenied() if allowed and ask.model not in allowed else None

    def _open_refusal(self, ask: Ask) -> Refused | None:
        most = self._most[ask.account_id]
        if self._open[ask.account_id] < most:
            return None
        return RateLimited(
            f"This account has {most} open tasks, as many as it may; wait for one to end.",
            retry_after_s=OPEN_AGAIN_S,
        )

    def _cap_refusal(self, used: Used, ask: Ask) -> Refused | None:
        allowed = used.key.allowed
        if allowed.cap is not None and used.total + ask.cost > allowed.cap:
            return KeyCapReached()
        if allowed.daily_cap is not None and used.today + ask.cost > allowed.daily_cap:
            return KeyDailyCapReached()
        return None

    def _rate_refusal(self, ask: Ask) -> Refused | None:
        for bucket, rate in self._rates(ask):
            wait_s = rate.take(self._tat(bucket), self._now).wait_s
            if wait_s:
                return RateLimited(
                    f"At most {rate.count} new tasks in {rate.seconds:g} seconds; try again later.",
                    retry_after_s=math.ceil(wait_s),
                    count=rate.count,
                    seconds=rate.seconds,
                )
        return None

    def _rates(self, ask: Ask) -> Iterator[tuple[tuple[str, str], Rate]]:
        """The rates that a request counts by, each with its bucket."""
        used = self._used.get(ask.key_id)
        if used is not None and used.key.allowed.rate is not None:
            yield (ask.account_id, f"key {ask.key_id}"), used.key.allowed.rate
        if ask.dialect in self._rules.rates:
            yield (ask.account_id, ask.dialect), self._rules.rates[ask.dialect]

    def _tat(self, bucket: tuple[str, str]) -> float:
        return self._filled.get(bucket, self._tats.get(bucket, 0.0))
