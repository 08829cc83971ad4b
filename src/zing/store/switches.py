"""What the operator has switched; one that is on refuses new tasks and touches no accepted one."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select, text

from zing.errors import BadSetting, SwitchedOff, Unavailable
from zing.store.schema import switch

MAINTENANCE = "maintenance"
MAINTENANCE_MESSAGE = "The service is under maintenance; try again later."
MAINTENANCE_RETRY_S = 60
MESSAGE_MAX = 200

# One statement, in words that both databases know: two who switch at once are both right.
_TURN_ON = text(
    "INSERT INTO switch (name, since, message) VALUES (:name, :since, :message) "
    "ON CONFLICT (name) DO UPDATE SET message = excluded.message"
)
# Built once, as it runs in every accept.
_AGAINST = select(switch.c.name, switch.c.message).where(
    switch.c.name.in_((MAINTENANCE, bindparam("without")))
)


@dataclass(frozen=True)
class Switch:
    """A switch that is on, since when (UTC seconds), and what callers are told where not empty."""

    name: str
    since: float
    message: str


def without(dialect_name: str) -> str:
    """The switch that takes no new tasks by a dialect."""
    return f"without {dialect_name}"


def check(connection: Connection, dialect_name: str) -> None:
    """Refuse a new task where a switch is against it: raises Unavailable or SwitchedOff."""
    rows = connection.execute(_AGAINST, {"without": without(dialect_name)}).all()
    messages = {row.name: row.message for row in rows}
    if MAINTENANCE in messages:
        message = messages[MAINTENANCE] or MAINTENANCE_MESSAGE
        raise Unavailable(message, retry_after_s=MAINTENANCE_RETRY_S)
    if messages:
        raise SwitchedOff


def turn_on(connection: Connection, name: str, now: float, message: str = "") -> None:
    """Switch on; one that is on already stays so since when it was, with the new message."""
    if len(message) > MESSAGE_MAX or not message.isprintable():
        raise BadSetting(f"A message has at most {MESSAGE_MAX} printable characters.")
    connection.execute(_TURN_ON, {"name": name, "since": now, "message": message})


def turn_off(connection: Connection, name: str) -> None:
    """Switch off, also what is off already."""
    connection.execute(delete(switch).where(switch.c.name == name))


def list_switches(connection: Connection) -> dict[str, Switch]:
    """The switches that are on, by their names."""
    rows = connection.execute(select(switch).order_by(switch.c.name))
    return {row.name: Switch(row.name, row.since, row.message) for row in rows}
