"""What /readyz says: whether a picture asked for now would be drawn now, and if not, why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from zing import safety
from zing.disk import MIB, Room, room
from zing.errors import ZingError
from zing.limits import Rules
from zing.store import Store, counts, switches
from zing.store.counts import Standing


class Stage(StrEnum):
    """How far it is until pictures are drawn, by the worker that is farthest."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    NONE = "none"


@dataclass(frozen=True)
class Place:
    """What readiness is of.

    workers    whether a worker belongs to this service, which is not ready without one
    queue_max  tasks that may wait
    """

    store: Store
    pictures: Path
    model: str
    workers: bool
    queue_max: int = Rules.queue_max

    def rooms(self) -> dict[str, Room]:
        """The room for the pictures, and for a database that is a file."""
        folders = {"pictures": self.pictures}
        if self.store.sqlite:
            folders["database"] = Path(self.store.url.database or "").absolute().parent
        return {name: room(folder) for name, folder in folders.items()}


def look(place: Place, now: float, draining: bool = False) -> dict[str, Any]:
    """The facts; `ready` is among them, with the stage and a reason that a person reads.

    Maintenance does not make it less ready: tasks are still drawn and looked up here. Nor does a
    full queue: it says so to those who submit.
    """
    rooms = place.rooms()
    try:
        standing, maintenance = place.store.read(lambda tx: _read(tx, now))
    except (ZingError, SQLAlchemyError) as error:
        known = isinstance(error, ZingError)
        database = str(error) if known else "The database cannot be read."
        standing, maintenance = Standing(0, 0, []), None
    else:
        database = "ok"
    # Who cannot be asked is not told to be starting.
    stage, reason = Stage.NONE, ""
    if database == "ok":
        stage, reason = _stage(standing.workers, place.workers, draining)
    reasons = [*_of_database(database), *_of_rooms(rooms), *([reason] if reason else [])]
    return {
        "ready": not reasons,
        "stage": str(stage),
        "reason": " ".join(reasons),
        "model": place.model,
        "database": database,
        "workers": [state for state, _ in standing.workers].count(Stage.READY),
        "open_tasks": standing.queued + standing.running,
        "queue": {"queued": standing.queued, "limit": place.queue_max},
        "disk": {
            name: {"ok": each.ok, "free": each.free, "why": each.trouble}
            for name, each in rooms.items()
        },
        "maintenance": maintenance,
        "moderation": safety.LEVEL,
    }


def _read(tx: Connection, now: float) -> tuple[Standing, bool]:
    return counts.standing(tx, now), switches.MAINTENANCE in switches.list_switches(tx)


def _stage(workers: Sequence[tuple[str, bool]], needed: bool, draining: bool) -> tuple[Stage, str]:
    """The stage, and why it is not ready; empty where that is no reason."""
    states = {state for state, _ in workers}
    if draining:
        return Stage.DRAINING, "The service ends: what runs is finished, nothing new is drawn."
    if Stage.READY in states:
        return Stage.READY, ""
    stage, why = _unready(set(workers), needed)
    return stage, why if needed else ""


def _unready(workers: set[tuple[str, bool]], needed: bool) -> tuple[Stage, str]:
    if (Stage.LOADING, True) in workers:
        return Stage.LOADING, "The worker draws a first picture, to be warm."
    if (Stage.LOADING, False) in workers:
        return Stage.LOADING, "The worker reads the model."
    if workers:
        return Stage.DRAINING, "The worker finishes what it draws and then ends."
    if needed:
        return Stage.STARTING, "The worker is being started."
    return Stage.NONE, "No worker is there."


def _of_database(database: str) -> list[str]:
    return [] if database == "ok" else [database]


def _of_rooms(rooms: Mapping[str, Room]) -> list[str]:
    return [
        f"The folder of the {name} {each.trouble or f'has only {each.free // MIB} MiB left'}."
        for name, each in rooms.items()
        if not each.ok
    ]
