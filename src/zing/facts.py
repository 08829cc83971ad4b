"""What an operator is told: plain dicts whose names stay. `zing … --json` and the admin API agree.

Times are UTC seconds. Money is in credits, and beside it in whole micro-credits where it is counted
on. No secret, and of a callback's URL no query, which may hold one of the receiver's.
"""

import json
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row

from zing.accounts import Account
from zing.audit import Report
from zing.ledger import Entry
from zing.limits import Rules
from zing.store import audit_log
from zing.store.switches import MAINTENANCE, MAINTENANCE_MESSAGE, Switch, without
from zing.task import Attempt, Delivery, DeliveryState, Task, TaskView, credits_number

Facts = dict[str, Any]


def money(name: str, micro: int | None) -> Facts:
    """An amount in credits, and in micro-credits; null where there is none."""
    return {
        name: None if micro is None else credits_number(micro),
        f"{name}_micro": micro,
    }


def of_account(account: Account) -> Facts:
    """An account."""
    balance = account.balance
    return {
        "id": account.id,
        "created_at": account.created_at,
        **money("available", balance.available),
        **money("held", balance.held),
        **money("used", balance.used),
        "queued": account.queued,
        "running": account.running,
        "weight": account.weight,
        "max_running": account.max_running,
        "max_open": account.max_open,
    }


def of_entry(entry: Entry) -> Facts:
    """A line of the ledger."""
    return {
        "id": entry.id,
        "created_at": entry.created_at,
        "account": entry.account_id,
        "kind": str(entry.kind),
        **money("credits", entry.amount),
        "task": entry.public_id or entry.task_id,
        "reason": entry.reason,
    }


def of_task(task: Task) -> Facts:
    """A task, as a list has it."""
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


def of_view(view: TaskView) -> Facts:
    """A task at one moment, with links to its picture."""
    return of_task(view.task) | {
        "progress": view.progress,
        "estimated_s": view.estimated_s,
        "links": list(view.links),
    }


def of_callback(delivery: Delivery) -> Facts:
    """A callback."""
    parts = urlsplit(delivery.url)
    return {
        "id": delivery.id,
        "task": delivery.public_id,
        "account": delivery.account_id,
        "dialect": delivery.dialect,
        "url": parts._replace(query="…" if parts.query else "", fragment="").geturl(),
        "host": delivery.host,
        "state": str(delivery.state),
        "attempt": delivery.attempt,
        "next_at": delivery.next_at if delivery.state is DeliveryState.DUE else None,
        "created_at": delivery.created_at,
        "ended_at": delivery.ended_at,
    }


def of_attempt(attempt: Attempt) -> Facts:
    """One try of a callback."""
    return dict(vars(attempt))


def of_worker(row: Row[Any], now: float) -> Facts:
    """A worker, and how far its tasks are; `alive` where its lease is not over."""
    said = json.loads(row.progress)
    steps = {name: each for name, each in said.items() if isinstance(each, list)}
    return {
        "id": row.id,
        "host": row.host,
        "state": row.state,
        "alive": row.lease_until > now,
        "draining": row.draining,
        "started_at": row.started_at,
        "lease_until": row.lease_until,
        "capacity": row.capacity,
        "model": said.get("model"),
        "tasks": [
            {"task": name, "step": step, "steps": of} for name, (step, of, *_) in steps.items()
        ],
    }


def of_limits(rules: Rules, price: int) -> Facts:
    """What holds where a key or an account has nothing else."""
    return {
        "queue_max": rules.queue_max,
        "open_max": rules.open_max,
        "rates": {name: str(rate) for name, rate in sorted(rules.rates.items())},
        **money("price", price),
    }


def of_maintenance(switched: dict[str, Switch]) -> Facts:
    """Whether new tasks are refused, and what callers are told."""
    found = switched.get(MAINTENANCE)
    if found is None:
        return {"maintenance": False}
    message = found.message or MAINTENANCE_MESSAGE
    return {"maintenance": True, "since": found.since, "message": message}


def of_dialect(name: str, switched: dict[str, Switch]) -> Facts:
    """Whether an API takes new tasks, and since when not."""
    found = switched.get(without(name))
    return {"name": name, "enabled": found is None, "since": None if found is None else found.since}


def of_log(number: int, entry: audit_log.Entry) -> Facts:
    """A line of the audit log."""
    return {"id": number, **vars(entry)}


def of_report(report: Report) -> Facts:
    """What an audit found."""
    return {
        "clean": report.clean,
        "checked": report.checked,
        "findings": [dict(vars(each)) for each in report.findings],
        "took_s": round(report.took_s, 3),
    }
