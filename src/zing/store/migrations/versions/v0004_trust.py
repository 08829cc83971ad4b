"""What a key may do and spend, how often, how much an account may have open, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TASK = sa.table(
    "task",
    sa.column("key_id"),
    sa.column("cost", sa.BigInteger),
    sa.column("state"),
)
_KEY = sa.table("api_key", sa.column("id"), sa.column("held"))
_USUAL = '["cancel", "create", "read"]'


def upgrade() -> None:
    """The columns and tables, and what open tasks hold of their keys."""
    for each in (
        sa.Column("held", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("scopes", sa.Text(), server_default=_USUAL, nullable=False),
        sa.Column("dialects", sa.Text(), server_default="[]", nullable=False),
        sa.Column("models", sa.Text(), server_default="[]", nullable=False),
        sa.Column("cap", sa.BigInteger(), nullable=True),
        sa.Column("daily_cap", sa.BigInteger(), nullable=True),
        sa.Column("rate", sa.String(length=20), nullable=True),
        sa.Column("day", sa.Integer(), server_default="0", nullable=False),
        sa.Column("day_spent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_used_at", sa.Double(), nullable=True),
    ):
        op.add_column("api_key", each)
    op.add_column("lane", sa.Column("max_open", sa.Integer(), nullable=True))
    op.create_table(
        "limit_bucket",
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("rule", sa.String(length=40), nullable=False),
        sa.Column("tat", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "rule"),
    )
    op.create_table(
        "audit_log",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_log_by_time", "audit_log", ["at"])
    _count_what_is_held()


def _count_what_is_held() -> None:
    held = sa.select(sa.func.coalesce(sa.func.sum(_TASK.c.cost), 0)).where(
        _TASK.c.key_id == _KEY.c.id, _TASK.c.state.in_(["queued", "running"])
    )
    op.execute(sa.update(_KEY).values(held=held.scalar_subquery()))
