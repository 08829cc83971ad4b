"""`zing tasks`: what was asked for and what became of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import short, show, table
from zing.config import DATA, DATABASE
from zing.task import TaskState

if TYPE_CHECKING:
    from zing.service import Service

app = typer.Typer(help="The tasks of every account.", **PLAIN)

WATCH_S = 0.1
DAY_S = 86_400

IdArgument = Annotated[str, typer.Argument(help="A task's id.")]
StateOption = Annotated[TaskState | None, typer.Option(help="Only tasks in this state.")]
LimitOption = Annotated[int, typer.Option(min=1, max=10_000, help="So many of the newest.")]
PromptsOption = Annotated[
    bool, typer.Option("--prompts", help="Forget the words only; the tasks stay.")
]
DaysOption = Annotated[float, typer.Option(min=0, help="Tasks that ended this long ago or longer.")]


@app.command("list")
def list_tasks(
    state: StateOption = None,
    limit: LimitOption = 20,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """List tasks, the newest first."""
    from zing.admin import Operator
    from zing.store.tasks import Search

    with opened(data, database) as service:
        found = Operator(service).tasks(Search(state), limit)["data"]
    rows = [[each["id"], each["state"], short(each["prompt"])] for each in found]
    show(found, as_json, table([["id", "state", "prompt"], *rows]))


@app.command("show")
def show_task(
    task_id: IdArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of a task."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).task(task_id), as_json)


@app.command()
def cancel(
    task_id: IdArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Cancel a task; one that runs ends at its next step."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).cancel_task(task_id), as_json)


@app.command()
def watch(
    task_id: IdArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Follow a task until it ends: a line for each change."""
    from zing import facts

    with opened(data, database) as service:
        last: tuple[str, int] | None = None
        while True:
            view = service.look(task_id, None)
            now = (str(view.task.state), view.progress)
            if now != last:
                show(facts.of_view(view), as_json, f"{now[0]} {now[1]} %")
            if view.task.state.ended:
                return
            last = now
            time.sleep(WATCH_S)


@app.command()
def purge(
    days: DaysOption,
    prompts: PromptsOption = False,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Forget tasks that ended long ago, their prompts and pictures; the ledger stays."""
    with opened(data, database) as service:
        before = service.clock() - days * DAY_S
        count = _forget_prompts(service, before) if prompts else _purge(service, before)
    what = "prompts" if prompts else "tasks"
    show({"purged": count}, as_json, f"{count} {what} were forgotten.")


def _forget_prompts(service: Service, before: float) -> int:
    from zing.store import tasks

    total = 0
    while count := service.store.write(lambda tx: tasks.forget_prompts(tx, 0.0, before)):
        total += count
    return total


def _purge(service: Service, before: float) -> int:
    from zing.store import tasks

    total = 0
    while True:
        count, gone = service.store.write(lambda tx: tasks.purge(tx, before))
        service.blobs.delete(file.blob_key for file in gone)
        total += count
        if count == 0:
            return total


def _show(facts: dict[str, Any], as_json: bool) -> None:
    rows = [[name, str(value)] for name, value in facts.items() if value not in (None, "", [], {})]
    understood = facts["result"].get("understood")
    if understood is not None:
        rows.append(["understood", ", ".join(understood) or "no word that the model knows"])
    show(facts, as_json, table(rows))
