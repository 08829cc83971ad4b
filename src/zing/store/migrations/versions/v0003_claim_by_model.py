"""The index that claims go by knows the model: tasks of others are not looked through."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The index anew."""
    op.drop_index("task_to_claim", "task")
    columns = ["account_id", "state", "model", "priority", "id"]
    op.create_index("task_to_claim", "task", columns)
