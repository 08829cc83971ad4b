"""API keys: `zk_live_` + public id + `_` + secret. Only an HMAC of the secret is kept.

The secret has 256 random bits, so a fast hash is enough; the pepper it is keyed with lies in the
data folder and not in the database.
"""

import hashlib
import hmac
import json
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, tuple_, update

from zing.errors import BadKey, BadSetting, KeyDisabled, KeyEnded, Refused, UnknownKey
from zing.rates import Rate
from zing.store.schema import api_key

PREFIX = "zk_live_"
NAME_MAX = 200
_ID_LETTERS = string.digits + string.ascii_lowercase
_SECRET_LETTERS = string.digits + string.ascii_letters
_ID_LENGTH, _SECRET_LENGTH = 8, 43  # 43 of 62 letters: 256 bits
_KEY = re.compile(rf"{PREFIX}([0-9a-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})")
_NO_HASH = "0" * 64
_BY_IDS = select(api_key).where(api_key.c.id.in_(bindparam("ids", expanding=True)))


class Scope(StrEnum):
    """What a key may be for."""

    CREATE = "create"  # new tasks
    READ = "read"  # tasks, pictures' links, the balance
    CANCEL = "cancel"  # cancel and delete
    ADMIN = "admin"  # everybody's: the operator's own


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


@dataclass(frozen=True)
class Spending:
    """Micro-credits of a key: settled, held by open tasks, and what the tasks of a day cost.

    day  the day that `day_spent` is of, since 1970 in UTC
    """

    used: int
    held: int
    day: int
    day_spent: int


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


def find(connection: Connection, text: str) -> Key:
    """The key that a person means by its id, its name or the key itself; raises UnknownKey.

    Of several of one name the one that is not revoked, as after a rotation.
    """
    match = _KEY.fullmatch(text)
    wanted = match[1] if match else text
    if not wanted.isprintable():  # a key's name is, and a database may choke on what is not
        raise UnknownKey(f"There is no key {wanted[:40]!r}; `zing keys list` names them.")
    by_id = select(api_key).where(api_key.c.id == wanted)
    by_name = select(api_key).where(api_key.c.name == wanted)
    by_live_name = by_name.where(api_key.c.revoked_at.is_(None))
    for query in (by_id, by_live_name, by_name):
        rows = connection.execute(query.limit(2)).all()
        if len(rows) > 1:
            raise UnknownKey(f"More than one key is named {wanted[:40]!r}; name it by its id.")
        if rows:
            return of_row(rows[0])
    raise UnknownKey(f"There is no key {wanted[:40]!r}; `zing keys list` names them.")


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


def rotate(connection: Connection, pepper: bytes, old: Key, now: float) -> tuple[str, Key]:
    """A new key of the same name and account that may do the same; the old one ends at once."""
    revoke(connection, old.id, now)
    return mint(connection, pepper, old.name, old.account_id, now, old.allowed)


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
        scopes=frozenset(map(Scope, json.loads(row.scopes))),
        dialects=frozenset(json.loads(row.dialects)),
        models=frozenset(json.loads(row.models)),
        cap=row.cap,
        daily_cap=row.daily_cap,
        rate=None if row.rate is None else Rate.parse(row.rate),
        expires_at=row.expires_at,
    )


def _hash(pepper: bytes, key_id: str, secret: str) -> str:
    message = f"{key_id}:{secret}".encode(errors="surrogatepass")
    return hmac.new(pepper, message, hashlib.sha256).hexdigest()


def _pick(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))
