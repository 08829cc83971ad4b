"""`zing tasks`: what was asked for and what became of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import short, show, table
from zing.config import DATA, DATABASE
from zing.task import TaskState, credits_number

if TYPE_CHECKING:
    from zing.service import Service
    from zing.task import Task, TaskView

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
    from zing.store import tasks

    with opened(data, database) as service:
        found = service.store.read(lambda tx: tasks.list_tasks(tx, state, None, limit))
    rows = [[each.public_id, each.state, short(each.request.prompt)] for each in found]
    show(
        [_facts(each) for each in found],
        as_json,
        table([["id", "state", "prompt"], *rows]),
    )


@app.command("show")
def show_task(
    task_id: IdArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of a task."""
    with opened(data, database) as service:
        _show(service.look(task_id, None), as_json)


@app.command()
def cancel(
    task_id: IdArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Cancel a task; one that runs ends at its next step."""
    with opened(data, database) as service:
        _show(service.cancel(task_id, None), as_json)


@app.command()
def watch(
    task_id: IdArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Follow a task until it ends: a line for each change."""
    with opened(data, database) as service:
        last: tuple[str, int] | None = None
        while True:
            view = service.look(task_id, None)
            now = (str(view.task.state), view.progress)
            if now != last:
                show(_view(view), as_json, f"{now[0]} {now[1]} %")
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


def _show(view: TaskView, as_json: bool) -> None:
    facts = _view(view)
    rows = [[name, str(value)] for name, value in facts.items() if value not in (None, "", [], {})]
    understood = view.task.result.get("understood")
    if understood is not None:
        rows.append(["understood", ", ".join(understood) or "no word that the model knows"])
    show(facts, as_json, table(rows))


def _view(view: TaskView) -> dict[str, Any]:
    return _facts(view.task) | {
        "progress": view.progress,
        "estimated_s": view.estimated_s,
        "links": list(view.links),
    }


def _facts(task: Task) -> dict[str, Any]:
    return {
        "id": task.public_id,
        "account": task.account_id,
        "dialect": task.dialect,
        "state": str(task.state),
        "prompt": task.request.prompt,
        "extended": task.request.extended,
        "size": f"{task.request.width}x{task.request.height}",
        "seed": task.seed,
        "credits": credits_number(task.cost),
        "attempt": task.attempt,
        "error": task.error,
        "error_message": task.error_message,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "ended_at": task.ended_at,
        "result": task.result,
    }
