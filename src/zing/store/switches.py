"""What the operator has switched; one that is on refuses new tasks and touches no accepted one."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, text

from zing.errors import BadSetting, Refused, SwitchedOff, Unavailable
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
_LIST = select(switch).order_by(switch.c.name)  # built once, as it runs in every accept


@dataclass(frozen=True)
class Switch:
    """A switch that is on, since when (UTC seconds), and what callers are told where not empty."""

    name: str
    since: float
    message: str


def without(dialect_name: str) -> str:
    """The switch that takes no new tasks by a dialect."""
    return f"without {dialect_name}"


def refusal(switched: Mapping[str, Switch], dialect_name: str) -> Refused | None:
    """Why a new task by a dialect is not taken, where a switch is against it."""
    if MAINTENANCE in switched:
        message = switched[MAINTENANCE].message or MAINTENANCE_MESSAGE
        return Unavailable(message, retry_after_s=MAINTENANCE_RETRY_S)
    return SwitchedOff() if without(dialect_name) in switched else None


def check(connection: Connection, dialect_name: str) -> None:
    """Raise why a new task by a dialect is not taken, where a switch is against it."""
    why = refusal(list_switches(connection), dialect_name)
    if why is not None:
        raise why


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
    rows = connection.execute(_LIST)
    return {row.name: Switch(row.name, row.since, row.message) for row in rows}
