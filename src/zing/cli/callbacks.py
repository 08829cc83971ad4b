"""`zing callbacks`: what receivers were told, and what they were not."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE
from zing.task import DeliveryState

if TYPE_CHECKING:
    from zing.dialects.base import Dialect
    from zing.service import Service
    from zing.task import Attempt, Delivery, TaskView

app = typer.Typer(help="The callbacks of every account.", **PLAIN)


class Form(StrEnum):
    """The dialects whose callers name a callback URL."""

    EVOLINK = "evolink"
    KIE = "kie"


# What a made-up task was asked for, as its dialect's callers write it.
_PROMPT = "a red circle"
_FIELDS: dict[str, dict[str, Any]] = {
    Form.EVOLINK: {"model": "z-image-turbo", "prompt": _PROMPT, "size": "1:1"},
    Form.KIE: {"model": "z-image", "input": {"prompt": _PROMPT, "aspect_ratio": "1:1"}},
}

IdArgument = Annotated[str, typer.Argument(help="A callback's id, or its task's.")]
IdsArgument = Annotated[list[str], typer.Argument(help="Callbacks' ids, or their tasks'.")]
UrlArgument = Annotated[str, typer.Argument(help="Where to send it: https://host/path.")]
KeyArgument = Annotated[str, typer.Argument(help="A key's id or name, or the key itself.")]
KeyOption = Annotated[str, typer.Option(help="Whose secret signs it: a key's id or name.")]
OfKeyOption = Annotated[str, typer.Option("--key", help="Only of this key's account.")]
StateOption = Annotated[DeliveryState | None, typer.Option(help="Only callbacks in this state.")]
LimitOption = Annotated[int, typer.Option(min=1, max=10_000, help="So many of the newest.")]
DialectOption = Annotated[Form, typer.Option(help="In whose words.")]
RotateOption = Annotated[bool, typer.Option("--rotate", help="Put a new one in force first.")]


@app.command("list")
def list_callbacks(
    state: StateOption = None,
    key: OfKeyOption = "",
    limit: LimitOption = 20,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """List callbacks, those of the newest tasks first."""
    from zing import keys
    from zing.admin import Operator

    with opened(data, database) as service:
        account_id = service.store.read(lambda tx: keys.find(tx, key).account_id) if key else ""
        _show_all(Operator(service).callbacks(state, account_id, limit)["data"], as_json)


@app.command("show")
def show_callback(
    callback_id: IdArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show a callback and every attempt to deliver it."""
    from zing.admin import Operator
    from zing.task import Attempt

    with opened(data, database) as service:
        facts = Operator(service).callback(callback_id)
    attempts = [Attempt(**each) for each in facts["attempts"]]
    told = {name: value for name, value in facts.items() if name != "attempts"}
    rows = [[name, str(value)] for name, value in told.items() if value is not None]
    tries = [[str(each.number), f"{each.took_s:.2f} s", _came_of(each)] for each in attempts]
    lines = [table(rows), *([table([["attempt", "took", "what came"], *tries])] if tries else [])]
    show(facts, as_json, "\n".join(lines))


@app.command()
def resend(
    callback_ids: IdsArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Make callbacks due again; the running server sends them, the same bytes as before."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show_all(Operator(service).resend_callbacks(callback_ids), as_json)


@app.command("test")
def send_sample(
    url: UrlArgument,
    key: KeyOption,
    dialect: DialectOption = Form.EVOLINK,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Send one signed callback of a made-up task from here, and tell what came of it."""
    with opened(data, database) as service:
        delivery, attempt, state = _try(service, dialect, key, url)
    taken = state is DeliveryState.DELIVERED
    facts = {"id": delivery.id, "taken": taken} | vars(attempt)
    line = f"It was {'' if taken else 'not '}taken, after {attempt.took_s:.2f} s: "
    show(facts, as_json, line + _came_of(attempt))
    if not taken:
        raise typer.Exit(1)


@app.command()
def secret(
    key: KeyArgument,
    rotate: RotateOption = False,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Print the secret that signs an account's callbacks.

    After --rotate the one before it signs too for 24 hours.
    """
    from zing import delivery, keys
    from zing.store import outbox

    with opened(data, database) as service:

        def read(tx: Any) -> tuple[str, tuple[int, ...]]:
            account_id, now = keys.find(tx, key).account_id, service.clock()
            if rotate:
                outbox.rotate_secret(tx, account_id, now)
            return account_id, outbox.secrets_of(tx, account_id, now)

        account_id, numbers = service.store.write(read)
        texts = [delivery.secret(service.pepper, account_id, each) for each in numbers]
    old = texts[1] if len(texts) > 1 else None
    show({"account": account_id, "secret": texts[0], "old_secret": old}, as_json, texts[0])


def _try(
    service: Service, form: Form, key: str, url: str
) -> tuple[Delivery, Attempt, DeliveryState]:
    """One attempt of a callback that is in no database, by the rules of all others."""
    import asyncio
    from functools import partial

    from zing import app as http
    from zing import keys, ledger, netguard
    from zing.delivery import Sender
    from zing.store import outbox

    rules = netguard.callback_rules()
    netguard.check_url(url, rules)

    def read(tx: Any) -> tuple[str, int, tuple[int, ...]]:
        account_id = keys.find(tx, key).account_id
        available = ledger.balance(tx, account_id).available
        return account_id, available, outbox.secrets_of(tx, account_id, service.clock())

    account_id, available, numbers = service.store.read(read)
    # In the plain manner: how a server speaks by its settings changes nothing of a success.
    wiring = http.Wiring(service)
    dialect = next(each for each in wiring.dialects if form == each.NAME)
    view = _sample(service, dialect, account_id)
    body = json.dumps(dialect.told(view, available), ensure_ascii=False, separators=(",", ":"))
    delivery = _owed(view, url, body)
    door, sign = netguard.Door(rules), partial(http.sign, wiring)
    sender = Sender(door, service.pepper, service.clock, sign)
    return delivery, *asyncio.run(sender.attempt(delivery, numbers))


def _owed(view: TaskView, url: str, body: str) -> Delivery:
    import secrets

    from zing.egress import host_of
    from zing.task import Delivery

    return Delivery(
        id=f"msg_{secrets.token_hex(12)}",
        task_id=view.task.id,
        account_id=view.task.account_id,
        public_id=view.task.public_id,
        dialect=view.task.dialect,
        url=url,
        host=host_of(url),
        state=DeliveryState.DUE,
        attempt=0,
        next_at=view.task.updated_at,
        body=body,
        created_at=view.task.updated_at,
        ended_at=None,
    )


def _sample(service: Service, dialect: Dialect, account_id: str) -> TaskView:
    """A task that never was, as if it had succeeded just now; its picture's time is over."""
    import random

    from zing.task import ImageRequest, Task, TaskState, TaskView

    now = service.clock()
    task = Task(
        id="sample",
        public_id=dialect.new_id(now, random.SystemRandom()),
        account_id=account_id,
        dialect=dialect.NAME,
        state=TaskState.SUCCEEDED,
        request=ImageRequest(_PROMPT, 1024, 1024),
        fields=_FIELDS[dialect.NAME],
        seed=1,
        cost=service.terms.price,
        created_at=now - 1,
        updated_at=now,
        attempt=1,
        started_at=now - 1,
        ended_at=now,
    )
    link = service.links.sign("sample", now + service.terms.link_ttl_s, dialect.SUFFIX)
    return TaskView(task, 100, 0, (link,), service.terms.price)


def _show_all(facts: list[dict[str, Any]], as_json: bool) -> None:
    titles = ["id", "state", "attempt", "host", "task"]
    rows = [titles, *([str(each[title]) for title in titles] for each in facts)]
    show(facts, as_json, table(rows))


def _came_of(attempt: Attempt) -> str:
    return attempt.error or f"It answered {attempt.status}."
