"""The rows of the pictures that are kept. Their bytes are in blobs.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from zing.store.schema import file, task

_INSERT = insert(file)
_OF_TASKS = select(file).where(file.c.task_id.in_(bindparam("task_ids", expanding=True)))


@dataclass(frozen=True)
class File:
    """A picture that is kept: where its bytes are, their hash, and until when (UTC seconds)."""

    id: str
    blob_key: str
    sha256: str
    bytes: int
    suffix: str
    expires_at: float
    deleted_at: float | None = None


def add(connection: Connection, pictures: Sequence[tuple[str, File]]) -> None:
    """Keep the rows of pictures, each with its task's id, whose bytes are there already."""
    rows = [
        {
            "id": kept.id,
            "task_id": task_id,
            "blob_key": kept.blob_key,
            "sha256": kept.sha256,
            "bytes": kept.bytes,
            "suffix": kept.suffix,
            "expires_at": kept.expires_at,
        }
        for task_id, kept in pictures
    ]
    if rows:
        connection.execute(_INSERT, rows)


def find(connection: Connection, task_ids: Sequence[str]) -> dict[str, File]:
    """The pictures of tasks, by the tasks' ids."""
    if not task_ids:
        return {}
    rows = connection.execute(_OF_TASKS, {"task_ids": task_ids})
    return {row.task_id: _file(row) for row in rows}


def get(connection: Connection, file_id: str) -> File | None:
    """The picture of this id."""
    return _first(connection, file.c.id == file_id)


def owned(connection: Connection, file_id: str, account_id: str) -> File | None:
    """The picture of this id, where a task of this account drew it."""
    mine = (task.c.id == file.c.task_id) & (task.c.account_id == account_id)
    return _first(connection, (file.c.id == file_id) & select(task.c.id).where(mine).exists())


def known(connection: Connection, blob_keys: Sequence[str]) -> set[str]:
    """Which of these blobs a row that is not deleted points to."""
    kept = file.c.blob_key.in_(blob_keys) & file.c.deleted_at.is_(None)
    return set(connection.scalars(select(file.c.blob_key).where(kept)))


def bytes_kept(connection: Connection) -> int:
    """What all pictures take whose bytes are there."""
    kept = select(func.sum(file.c.bytes)).where(file.c.deleted_at.is_(None))
    return int(connection.scalar(kept) or 0)


def sweep(connection: Connection, now: float, limit: int = 500) -> list[File]:
    """The files whose time is over, the oldest first, marked deleted.

    Their bytes may go once this is durable.
    """
    return _mark(connection, file.c.expires_at <= now, now, limit)


def delete_of(connection: Connection, task_id: str, now: float) -> list[File]:
    """A task's files, marked deleted before their time; bytes as with `sweep`."""
    return _mark(connection, file.c.task_id == task_id, now, 500)


def remove(connection: Connection, task_ids: Sequence[str]) -> list[File]:
    """Forget the rows of these tasks; the files whose bytes are still there, as with `sweep`."""
    mine = file.c.task_id.in_(task_ids)
    rows = connection.execute(select(file).where(mine, file.c.deleted_at.is_(None))).all()
    connection.execute(delete(file).where(mine))
    return [_file(row) for row in rows]


def _mark(
    connection: Connection, condition: ColumnElement[bool], now: float, limit: int
) -> list[File]:
    query = select(file).where(condition, file.c.deleted_at.is_(None))
    query = query.order_by(file.c.expires_at).limit(limit)
    rows = connection.execute(query).all()
    marked = update(file).where(file.c.id.in_([row.id for row in rows]))
    connection.execute(marked.values(deleted_at=now))
    return [_file(row) for row in rows]


def _first(connection: Connection, condition: ColumnElement[bool]) -> File | None:
    row = connection.execute(select(file).where(condition)).first()
    return None if row is None else _file(row)


def _file(row: Row[Any]) -> File:
    return File(
        row.id, row.blob_key, row.sha256, row.bytes, row.suffix, row.expires_at, row.deleted_at
    )
