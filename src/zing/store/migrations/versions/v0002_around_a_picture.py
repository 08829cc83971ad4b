"""Callbacks with their attempts, idempotency keys, the operator's switches, what a key used."""

from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TASK = sa.table(
    "task",
    sa.column("id"),
    sa.column("account_id"),
    sa.column("public_id"),
    sa.column("dialect"),
    sa.column("key_id"),
    sa.column("cost", sa.BigInteger),
    sa.column("state"),
)
_KEY = sa.table("api_key", sa.column("id"), sa.column("used"))
_ACCOUNT = sa.table("account", sa.column("id"), sa.column("used"))
_ENTRY = sa.table(
    "ledger", sa.column("account_id"), sa.column("kind"), sa.column("amount", sa.BigInteger)
)


def upgrade() -> None:
    """The second tables."""
    _add_columns()
    _add_tables()
    _fill_outbox()
    _count_what_was_used()


def _count_what_was_used() -> None:
    """By account from the ledger, which forgets nothing; by key from the tasks that are there."""
    settled = sa.select(sa.func.coalesce(sa.func.sum(_ENTRY.c.amount), 0)).where(
        _ENTRY.c.account_id == _ACCOUNT.c.id, _ENTRY.c.kind == "settle"
    )
    op.execute(sa.update(_ACCOUNT).values(used=settled.scalar_subquery()))
    spent = sa.select(sa.func.coalesce(sa.func.sum(_TASK.c.cost), 0)).where(
        _TASK.c.key_id == _KEY.c.id, _TASK.c.state == "succeeded"
    )
    op.execute(sa.update(_KEY).values(used=spent.scalar_subquery()))


def _add_columns() -> None:
    spent = sa.Column("used", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("account", spent)
    number = sa.Column("secret_number", sa.Integer(), server_default="1", nullable=False)
    op.add_column("account", number)
    op.add_column("account", sa.Column("old_secret_until", sa.Double(), nullable=True))
    used = sa.Column("used", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("api_key", used)
    op.create_index("task_by_account", "task", ["account_id", "id"])


def _add_tables() -> None:
    op.create_table(
        "delivery_attempt",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("delivery_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("took_s", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("attempt_by_delivery", "delivery_attempt", ["delivery_id", "id"])
    op.create_table(
        "idem",
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("route", sa.String(length=80), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "route", "key"),
    )
    op.create_index("idem_to_sweep", "idem", ["expires_at"])
    op.create_table(
        "switch",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _fill_outbox() -> None:
    """The outbox made anew, as SQLite adds no column that must not be null; its rows are kept."""
    old = sa.table("outbox", *map(sa.column, "id task_id url state next_at created_at".split()))
    owed = (
        op.get_bind()
        .execute(
            sa.select(old, _TASK.c.account_id, _TASK.c.public_id, _TASK.c.dialect).join(
                _TASK, _TASK.c.id == old.c.task_id
            )
        )
        .mappings()
        .all()
    )
    op.drop_index("outbox_due", "outbox")
    op.drop_table("outbox")
    outbox = op.create_table(
        "outbox",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("public_id", sa.String(length=128), nullable=False),
        sa.Column("dialect", sa.String(length=20), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("task_id"),
    )
    op.create_index("outbox_due", "outbox", ["state", "next_at", "host", "account_id"])
    op.create_index("outbox_by_account", "outbox", ["account_id", "id"])
    rows = [
        dict(row) | {"host": urlsplit(row["url"]).hostname or "", "attempt": 0, "lease_until": 0.0}
        for row in owed
    ]
    if rows:
        op.bulk_insert(outbox, rows)
