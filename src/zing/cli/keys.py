"""`zing keys`: who may use the service."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE
from zing.errors import BadSetting
from zing.task import parse_credits

if TYPE_CHECKING:
    from zing.admin import Operator
    from zing.service import Service

app = typer.Typer(help="The keys that callers authenticate with.", **PLAIN)

NONE = "none"
MODELS_MAX, MODEL_MAX = 100, 200
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
YEARS_S = 100 * 366 * 86_400.0

NameArgument = Annotated[str, typer.Argument(help="What to call the key.")]
KeyArgument = Annotated[str, typer.Argument(help="A key's id or name, or the key itself.")]
CreditsOption = Annotated[str, typer.Option(help="Credits for the account, such as 10 or 0.5.")]
AccountOption = Annotated[str, typer.Option(help="An account that exists; a new one if not given.")]
ScopesOption = Annotated[
    str, typer.Option(help="What it may be for, with commas: create, read, cancel, admin.")
]
DialectsOption = Annotated[str, typer.Option(help="APIs it may use, with commas; none: all.")]
ModelsOption = Annotated[str, typer.Option(help="Models it may use, with commas; none: all.")]
CapOption = Annotated[str, typer.Option(help="Credits it may spend in all; none: any.")]
DailyCapOption = Annotated[str, typer.Option(help="Credits it may spend a day (UTC); none: any.")]
RateOption = Annotated[
    str, typer.Option(help="New tasks, such as 20/10: 20 in 10 seconds; none: any.")
]
ExpiresOption = Annotated[
    str, typer.Option(help="When it ends: in 30d or 12h, or on 2030-12-31 (UTC); none: never.")
]
OverlapOption = Annotated[
    str,
    typer.Option(help="How long the old key goes on, such as 24h; it ends at once if not given."),
]


@dataclass(frozen=True)
class Wish:
    """The options that say what a key may do, as they were typed; empty where not given."""

    scopes: str
    dialects: str
    models: str
    cap: str
    daily_cap: str
    rate: str
    expires: str

    def changes(self, now: float) -> dict[str, Any]:
        """What the options say, named as in Allowed; raises BadSetting."""
        from zing.keys import Scope
        from zing.rates import Rate

        readers: dict[str, Callable[[str], Any]] = {
            "scopes": lambda text: Scope.parse(_words(text)),
            "dialects": _dialects,
            "models": _models,
            "cap": _optional(parse_credits),
            "daily_cap": _optional(parse_credits),
            "rate": _optional(Rate.parse),
            "expires": _optional(lambda text: _moment(text, now)),
        }
        given = {name: getattr(self, name) for name in readers if getattr(self, name)}
        read = {name: readers[name](text) for name, text in given.items()}
        if "expires" in read:
            read["expires_at"] = read.pop("expires")
        return read


@app.command()
def create(
    name: NameArgument,
    credits: CreditsOption = "0",
    account: AccountOption = "",
    scopes: ScopesOption = "",
    dialects: DialectsOption = "",
    models: ModelsOption = "",
    cap: CapOption = "",
    daily_cap: DailyCapOption = "",
    rate: RateOption = "",
    expires: ExpiresOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once: only a hash of it is kept."""
    from zing.admin import Operator
    from zing.keys import Allowed

    amount = parse_credits(credits)
    wish = Wish(scopes, dialects, models, cap, daily_cap, rate, expires)
    with opened(data, database) as service:
        allowed = Allowed(**wish.changes(service.clock()))
        made = Operator(service).create_key(name, account, amount, allowed)
    _show_new(made, as_json)


@app.command("list")
def list_keys(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """List the keys."""
    from zing import keys

    with opened(data, database) as service:
        found = service.store.read(keys.list_keys)
        facts = [keys.facts(key, service.clock()) for key in found]
    titles = ["id", "name", "account", "state", "scopes", "spent", "expires", "last used"]
    show(facts, as_json, table([titles, *map(_row, facts)]))


@app.command("show")
def show_key(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show what a key may do, what it has spent and when it was used."""
    from zing import keys

    with opened(data, database) as service:
        found = service.store.read(lambda tx: keys.find(tx, key))
        facts = keys.facts(found, service.clock())
    show(facts, as_json, table(_lines(facts)))


@app.command()
def change(
    key: KeyArgument,
    scopes: ScopesOption = "",
    dialects: DialectsOption = "",
    models: ModelsOption = "",
    cap: CapOption = "",
    daily_cap: DailyCapOption = "",
    rate: RateOption = "",
    expires: ExpiresOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Change what a key may do; what is not named stays."""
    from zing.admin import Operator

    wish = Wish(scopes, dialects, models, cap, daily_cap, rate, expires)
    with opened(data, database) as service:
        changes = wish.changes(service.clock())
        if not changes:
            raise BadSetting("Nothing to change: name what, such as --cap 10.")
        facts = Operator(service).change_key(_id(service, key), None, changes)
    show(facts, as_json, table(_lines(facts)))


@app.command()
def revoke(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """End a key for good."""
    from zing.admin import Operator

    _switch(Operator.revoke_key, key, (data, database), as_json)


@app.command()
def disable(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Stop a key until it is enabled again."""
    from zing.admin import Operator

    _switch(Operator.disable_key, key, (data, database), as_json)


@app.command()
def enable(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Let a disabled key work again."""
    from zing.admin import Operator

    _switch(Operator.enable_key, key, (data, database), as_json)


@app.command()
def rotate(
    key: KeyArgument,
    overlap: OverlapOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Make a new key of the same name and account that may do the same; the old one ends."""
    from zing.admin import Operator

    overlap_s = _duration(overlap) if overlap else 0.0
    with opened(data, database) as service:
        made = Operator(service).rotate_key(_id(service, key), overlap_s)
    _show_new(made, as_json)


def _switch(
    verb: Callable[[Operator, str], dict[str, Any]],
    text: str,
    place: tuple[str, str],
    as_json: bool,
) -> None:
    from zing.admin import Operator

    with opened(*place) as service:
        facts = verb(Operator(service), _id(service, text))
    show(facts, as_json, f"{facts['id']} ({facts['name']}) is {facts['state']}")


def _id(service: Service, text: str) -> str:
    """The id of the key that a person means; raises UnknownKey."""
    from zing import keys

    return service.store.read(lambda tx: keys.find(tx, text)).id


def _show_new(made: dict[str, Any], as_json: bool) -> None:
    """A key's text, this once."""
    show({name: made[name] for name in ("key", "id", "account")}, as_json, made["key"])


def _row(facts: dict[str, Any]) -> list[str]:
    return [
        *(facts[name] for name in ("id", "name", "account", "state")),
        ",".join(facts["scopes"]),
        _spent(facts["spent"], facts["cap"]),
        _time(facts["expires_at"]),
        _time(facts["last_used_at"]),
    ]


def _lines(facts: dict[str, Any]) -> list[list[str]]:
    """All of a key for a person, a line for each fact."""
    return [
        *([name, facts[name]] for name in ("id", "name", "account", "state")),
        ["scopes", ", ".join(facts["scopes"])],
        ["dialects", ", ".join(facts["dialects"]) or "all"],
        ["models", ", ".join(facts["models"]) or "all"],
        ["spent", _spent(facts["spent"], facts["cap"])],
        ["today", _spent(facts["spent_today"], facts["daily_cap"])],
        ["rate", facts["rate"] or "any"],
        ["created", _time(facts["created_at"])],
        ["expires", _time(facts["expires_at"])],
        ["last used", _time(facts["last_used_at"])],
    ]


def _spent(amount: float, cap: float | None) -> str:
    return f"{amount}" if cap is None else f"{amount} of {cap}"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == NONE else read(text)


def _dialects(text: str) -> frozenset[str]:
    from zing.dialects import ALL

    names = frozenset(_words(text)) if text != NONE else frozenset()
    known = [each.NAME for each in ALL]
    if wrong := sorted(names - set(known)):
        raise BadSetting(f"{wrong[0][:40]!r} is no API: there are {', '.join(known)}.")
    return names


def _models(text: str) -> frozenset[str]:
    names = frozenset(_words(text)) if text != NONE else frozenset()
    if len(names) > MODELS_MAX or any(len(e) > MODEL_MAX or not e.isprintable() for e in names):
        raise BadSetting(
            f"A key is for {MODELS_MAX} models at most, with names of {MODEL_MAX} letters at most."
        )
    return names


def _duration(text: str) -> float:
    """Seconds; raises BadSetting."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    seconds = float(match[1]) * UNITS_S[match[2]] if match else 0.0
    if not 0 < seconds <= YEARS_S:
        raise BadSetting(f"{text[:40]!r} is no time: write such as 24h, 30d, 90m or 45s.")
    return seconds


def _moment(text: str, now: float) -> float:
    """UTC seconds of a moment that is still to come; raises BadSetting."""
    if re.fullmatch(r"\d+[smhd]", text, re.ASCII):
        return now + _duration(text)
    try:
        parsed = datetime.fromisoformat(text)
        seconds = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadSetting(
            f"{text[:40]!r} is no end: write such as 30d, 12h, 2030-12-31 or none."
        ) from None
    if not now < seconds <= now + YEARS_S:
        raise BadSetting(
            f"{text[:40]!r} is not in the next hundred years; to end it now, revoke it."
        )
    return seconds
