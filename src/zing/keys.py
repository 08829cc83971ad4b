"""API keys: `zk_live_` + public id + `_` + secret. Only an HMAC of the secret is kept.

The secret has 256 random bits, so a fast hash is enough; the pepper it is keyed with lies in the
data folder and not in the database.
"""

import hashlib
import hmac
import json
import math
import re
import secrets
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, tuple_, update

from zing.errors import BadKey, BadSetting, KeyDisabled, KeyEnded, Refused, UnknownKey
from zing.rates import Rate
from zing.store.schema import account, api_key
from zing.task import credits_number

PREFIX = "zk_live_"
NAME_MAX = 200
DAY_S = 86_400
_ID_LETTERS = string.digits + string.ascii_lowercase
_SECRET_LETTERS = string.digits + string.ascii_letters
_ID_LENGTH, _SECRET_LENGTH = 8, 43  # 43 of 62 letters: 256 bits
_KEY = re.compile(rf"{PREFIX}([0-9a-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})")
_NO_HASH = "0" * 64
_BY_IDS = select(api_key).where(api_key.c.id.in_(bindparam("ids", expanding=True)))
_USED = (
    update(api_key).where(api_key.c.id == bindparam("key")).values(last_used_at=bindparam("now"))
)


class Scope(StrEnum):
    """What a key may be for."""

    CREATE = "create"  # new tasks
    READ = "read"  # tasks, pictures' links, the balance
    CANCEL = "cancel"  # cancel and delete
    ADMIN = "admin"  # everybody's: the operator's own

    @classmethod
    def parse(cls, names: Collection[str]) -> "frozenset[Scope]":
        """The scopes of these names; raises BadSetting where one is none, or none is named."""
        if not names or not set(names) <= set(cls):
            wrong = ", ".join(repr(each) for each in names if each not in set(cls)) or "nothing"
            raise BadSetting(f"{wrong[:80]} is no scope: there are {', '.join(cls)}.")
        return frozenset(map(cls, names))


USUAL = frozenset({Scope.CREATE, Scope.READ, Scope.CANCEL})


@dataclass(frozen=True)
class Allowed:
    """What a key may do, and for how long.

    dialects, models  by their names; empty: all of them
    cap, daily_cap    micro-credits that it may spend in all and on one day (UTC); None: any
    rate              how often it may create; None: as often as it likes
    expires_at        UTC seconds; None: never
    """

    scopes: frozenset[Scope] = USUAL
    dialects: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    cap: int | None = None
    daily_cap: int | None = None
    rate: Rate | None = None
    expires_at: float | None = None

    def values(self) -> dict[str, Any]:
        """The columns that these are kept in."""
        lists = (self.scopes, self.dialects, self.models)
        scopes, dialects, models = (json.dumps(sorted(each)) for each in lists)
        return {
            "scopes": scopes,
            "dialects": dialects,
            "models": models,
            "cap": self.cap,
            "daily_cap": self.daily_cap,
            "rate": None if self.rate is None else str(self.rate),
            "expires_at": self.expires_at,
        }


def day(seconds: float) -> int:
    """The day of a time (UTC seconds), counted from 1970."""
    return int(seconds // DAY_S)


@dataclass(frozen=True)
class Spending:
    """Micro-credits of a key: settled, held by open tasks, and what the tasks of a day cost.

    day  the day that `day_spent` is of, since 1970 in UTC
    """

    used: int
    held: int
    day: int
    day_spent: int

    @property
    def total(self) -> int:
        """What counts for the cap."""
        return self.used + self.held

    def today(self, now: float) -> int:
        """What counts for the cap of the day."""
        return self.day_spent if self.day == day(now) else 0


@dataclass(frozen=True)
class Key:
    """What is known of a key; times are UTC seconds, None where it never was."""

    id: str
    name: str
    account_id: str
    created_at: float
    revoked_at: float | None = None
    disabled_at: float | None = None
    last_used_at: float | None = None
    allowed: Allowed = Allowed()
    spending: Spending = Spending(0, 0, 0, 0)

    @property
    def expires_at(self) -> float | None:
        """When it ends, or has ended, by itself."""
        return self.allowed.expires_at

    def state(self, now: float) -> str:
        """active, expired, revoked or disabled."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active" if self.disabled_at is None else "disabled"

    def refusal(self, now: float) -> Refused | None:
        """Why it lets nobody in, where it does not."""
        state = self.state(now)
        if state in ("revoked", "expired"):
            return KeyEnded()
        return KeyDisabled() if state == "disabled" else None


def mint(
    connection: Connection,
    pepper: bytes,
    name: str,
    account_id: str,
    now: float,
    allowed: Allowed = Allowed(),
) -> tuple[str, Key]:
    """A new key for an account: its text, which is shown once and never kept, and what is."""
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise BadSetting(f"A key's name has 1 to {NAME_MAX} printable characters.")
    key = Key(_pick(_ID_LETTERS, _ID_LENGTH), name, account_id, now, allowed=allowed)
    secret = _pick(_SECRET_LETTERS, _SECRET_LENGTH)
    connection.execute(
        insert(api_key).values(
            id=key.id,
            hash=_hash(pepper, key.id, secret),
            name=name,
            account_id=account_id,
            created_at=now,
            **allowed.values(),
        )
    )
    return f"{PREFIX}{key.id}_{secret}", key


def authenticate(
    connection: Connection, pepper: bytes, texts: Sequence[str], now: float
) -> list[Key | Refused]:
    """For each text the key that it is, or BadKey, KeyEnded or KeyDisabled, in their order."""
    matches = [_KEY.fullmatch(text) for text in texts]
    parts = [
        (match[1], match[2]) if match else ("", text)
        for match, text in zip(matches, texts, strict=True)
    ]
    ids = sorted({key_id for key_id, _ in parts})
    rows = {row.id: row for row in connection.execute(_BY_IDS, {"ids": ids})}
    return [_recognised(pepper, rows.get(part[0]), part, now) for part in parts]


def _recognised(
    pepper: bytes, row: Row[Any] | None, part: tuple[str, str], now: float
) -> Key | Refused:
    """Whatever is wrong, one hash is computed and one comparison made, in the same time."""
    same = hmac.compare_digest(_hash(pepper, *part), row.hash if row else _NO_HASH)
    if row is None or not same:
        return BadKey()
    key = of_row(row)
    return key.refusal(now) or key


def claimed(text: str) -> str:
    """The id that a text of a key's form names, of a key or of none; empty where it has another."""
    match = _KEY.fullmatch(text)
    return match[1] if match else ""


def known(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of some ids that are keys'."""
    found = connection.execute(_BY_IDS, {"ids": sorted(ids)}) if any(ids) else ()
    return {row.id for row in found}


def note_used(connection: Connection, used: Mapping[str, float]) -> None:
    """Note when keys were used last, by their ids."""
    if used:
        connection.execute(_USED, [{"key": each, "now": now} for each, now in sorted(used.items())])


def find(connection: Connection, text: str) -> Key:
    """The key that a person means by its id, its name or the key itself; raises UnknownKey.

    Of several of one name the one that is not revoked, as after a rotation.
    """
    match = _KEY.fullmatch(text)
    wanted = match[1] if match else text
    if not wanted.isprintable():  # a key's name is, and a database may choke on what is not
        raise _unknown(wanted)
    by_id = select(api_key).where(api_key.c.id == wanted)
    by_name = select(api_key).where(api_key.c.name == wanted)
    by_live_name = by_name.where(api_key.c.revoked_at.is_(None))
    for query in (by_id, by_live_name, by_name):
        rows = connection.execute(query.limit(2)).all()
        if len(rows) > 1:
            raise UnknownKey(f"More than one key is named {wanted[:40]!r}; name it by its id.")
        if rows:
            return of_row(rows[0])
    raise _unknown(wanted)


def _unknown(wanted: str) -> UnknownKey:
    """Repeats a name, and of what may be a key with a slip in it nothing: it would be in a log."""
    shown = f"{PREFIX}…" if PREFIX in wanted else wanted[:40]
    return UnknownKey(f"There is no key {shown!r}; `zing keys list` names them.")


def without_keys(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as they may be kept: a caller that sends its key among them has it left out."""
    text = json.dumps(fields)
    if PREFIX not in text:
        return fields
    kept: dict[str, Any] = json.loads(_KEY.sub(rf"{PREFIX}\1_hidden", text))
    return kept


def used(connection: Connection, key_id: str) -> int:
    """Micro-credits that the tasks of a key settled."""
    return int(connection.scalar(select(api_key.c.used).where(api_key.c.id == key_id)) or 0)


def list_keys(connection: Connection) -> list[Key]:
    """Every key, oldest first."""
    rows = connection.execute(select(api_key).order_by(api_key.c.created_at, api_key.c.id))
    return [of_row(row) for row in rows]


def page(connection: Connection, limit: int, after: str = "", account_id: str = "") -> list[Key]:
    """Keys, the newest first: those after the one of an id, of an account where it is named."""
    query = select(api_key).order_by(api_key.c.created_at.desc(), api_key.c.id.desc()).limit(limit)
    if account_id:
        query = query.where(api_key.c.account_id == account_id)
    if after:
        last = select(api_key.c.created_at, api_key.c.id).where(api_key.c.id == after)
        place = tuple_(api_key.c.created_at, api_key.c.id)
        query = query.where(place < last.scalar_subquery())
    return [of_row(row) for row in connection.execute(query)]


def revoke(connection: Connection, key_id: str, now: float) -> None:
    """End a key for good."""
    ended = update(api_key).where(api_key.c.id == key_id, api_key.c.revoked_at.is_(None))
    connection.execute(ended.values(revoked_at=now))


def disable(connection: Connection, key_id: str, now: float) -> None:
    """Stop a key until it is enabled again."""
    connection.execute(update(api_key).where(api_key.c.id == key_id).values(disabled_at=now))


def enable(connection: Connection, key_id: str, _now: float) -> None:
    """Let a disabled key work again."""
    connection.execute(update(api_key).where(api_key.c.id == key_id).values(disabled_at=None))


def change(connection: Connection, key_id: str, allowed: Allowed) -> None:
    """Let a key do from now on what is named here, and no more."""
    connection.execute(update(api_key).where(api_key.c.id == key_id).values(**allowed.values()))


def rotate(
    connection: Connection, pepper: bytes, old: Key, now: float, overlap_s: float = 0.0
) -> tuple[str, Key]:
    """A new key of the same name and account that may do the same; the old one ends.

    It ends at once, or after `overlap_s`, and never later than it would have. No cap begins anew:
    the new one may spend what was left of the old one's, which spends nothing more where it has a
    cap. Raises KeyEnded or KeyDisabled where the old one lets nobody in.
    """
    # Accepts lock the account first: what they hold of the key is counted before or refused after.
    locked = select(account.c.id).where(account.c.id == old.account_id).with_for_update()
    connection.execute(locked)
    old = find(connection, old.id)
    if refusal := old.refusal(now):
        raise refusal
    _end(connection, old, now, overlap_s)
    allowed, spent = old.allowed, old.spending
    if allowed.cap is not None:
        allowed = replace(allowed, cap=max(0, allowed.cap - spent.total))
    text, new = mint(connection, pepper, old.name, old.account_id, now, allowed)
    # Sums of money are of the tasks of a key; the day's is there for its cap alone.
    heir = update(api_key).where(api_key.c.id == new.id)
    connection.execute(heir.values(day=spent.day, day_spent=spent.day_spent))
    return text, replace(new, spending=Spending(0, 0, spent.day, spent.day_spent))


def _end(connection: Connection, old: Key, now: float, overlap_s: float) -> None:
    """Two keys that spend what is left of one cap would spend it twice: it is the new one's."""
    if overlap_s <= 0:
        revoke(connection, old.id, now)
        return
    allowed = old.allowed
    until = min(now + overlap_s, math.inf if old.expires_at is None else old.expires_at)
    cap = None if allowed.cap is None else min(allowed.cap, old.spending.total)
    daily_cap = None if allowed.daily_cap is None else 0
    ending = replace(allowed, cap=cap, daily_cap=daily_cap, expires_at=until)
    change(connection, old.id, ending)


def facts(key: Key, now: float) -> dict[str, Any]:
    """What is told of a key as JSON: all but what it is checked with. Amounts are credits."""
    allowed, spent = key.allowed, key.spending
    return {
        "id": key.id,
        "name": key.name,
        "account": key.account_id,
        "state": key.state(now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "disabled_at": key.disabled_at,
        "last_used_at": key.last_used_at,
        "scopes": sorted(allowed.scopes),
        "dialects": sorted(allowed.dialects),
        "models": sorted(allowed.models),
        "rate": None if allowed.rate is None else str(allowed.rate),
        "cap": _credits(allowed.cap),
        "daily_cap": _credits(allowed.daily_cap),
        "spent": credits_number(spent.total),
        "spent_today": credits_number(spent.today(now)),
    }


def _credits(amount: int | None) -> int | float | None:
    return None if amount is None else credits_number(amount)


def of_row(row: Row[Any]) -> Key:
    """The key in a row of its table."""
    return Key(
        id=row.id,
        name=row.name,
        account_id=row.account_id,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        disabled_at=row.disabled_at,
        last_used_at=row.last_used_at,
        allowed=_allowed(row),
        spending=Spending(row.used, row.held, row.day, row.day_spent),
    )


def _allowed(row: Row[Any]) -> Allowed:
    return Allowed(
        scopes=_scopes(row.scopes),
        dialects=_names(row.dialects),
        models=_names(row.models),
        cap=row.cap,
        daily_cap=row.daily_cap,
        rate=None if row.rate is None else Rate.parse(row.rate),
        expires_at=row.expires_at,
    )


@lru_cache(64)
def _scopes(text: str) -> frozenset[Scope]:
    return frozenset(map(Scope, json.loads(text)))


@lru_cache(1024)
def _names(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def _hash(pepper: bytes, key_id: str, secret: str) -> str:
    message = f"{key_id}:{secret}".encode(errors="surrogatepass")
    return hmac.new(pepper, message, hashlib.sha256).hexdigest()


def _pick(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))
