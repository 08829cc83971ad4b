"""The tables. Times are UTC seconds, money is integer micro-credits, JSON is text of our own.

JSON is kept as text: PostgreSQL's own JSON refuses characters that prompts may hold, and SQLite
has no such type. Changing a table means a new file in migrations/versions.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# SQLite counts rows itself only in a column of type INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

# One row: the name that this database's pictures are kept under.
installation = Table("installation", metadata, Column("id", String(40), primary_key=True))

account = Table(
    "account",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("available", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Double, nullable=False),
    # Which of the account's callback secrets is in force, and until when the one before it is too.
    Column("secret_number", Integer, nullable=False, server_default="1"),
    Column("old_secret_until", Double),
    CheckConstraint("available >= 0", name="available_not_negative"),
    CheckConstraint("held >= 0", name="held_not_negative"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account_id", String(40), ForeignKey("account.id"), nullable=False),
    # No foreign key: an entry stays when its task is purged.
    Column("task_id", String(40)),
    Column("kind", String(12), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("task_id", "kind", name="once_a_task"),
    Index("ledger_by_account", "account_id", "id"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("account_id", String(40), ForeignKey("account.id"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("disabled_at", Double),
    # Micro-credits that the key's tasks settled, and those that its open tasks hold.
    Column("used", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    # What it may do, as lists in JSON. No dialects or models named: all of them.
    Column("scopes", Text, nullable=False, server_default='["cancel", "create", "read"]'),
    Column("dialects", Text, nullable=False, server_default="[]"),
    Column("models", Text, nullable=False, server_default="[]"),
    # Micro-credits that it may spend in all and in one day (UTC), a rate such as 20/10.
    Column("cap", BigInteger),
    Column("daily_cap", BigInteger),
    Column("rate", String(20)),
    # What its tasks of one day cost, without those that ended for nothing; days since 1970.
    Column("day", Integer, nullable=False, server_default="0"),
    Column("day_spent", BigInteger, nullable=False, server_default="0"),
    Column("last_used_at", Double),
    Index("api_key_by_account", "account_id"),
)

# A rate that is counted: when all of it is free again (rates.py). Its account's row is its lock.
limit_bucket = Table(
    "limit_bucket",
    metadata,
    Column("account_id", String(40), primary_key=True),
    Column("rule", String(40), primary_key=True),
    Column("tat", Double, nullable=False),
)

# What operators did and who was refused for a key: who, from where, what, to whom.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    # A key's id, the command line, or nobody.
    Column("actor", String(40), nullable=False),
    Column("address", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("target", String(128), nullable=False),
    Column("detail", Text, nullable=False),
    Index("audit_log_by_time", "at"),
)

lane = Table(
    "lane",
    metadata,
    Column("account_id", String(40), ForeignKey("account.id"), primary_key=True),
    Column("queued", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("max_running", Integer),
    # Tasks queued or running that it may have; as the settings say where none is named.
    Column("max_open", Integer),
    Column("weight", Integer, nullable=False),
    Column("vtime", Double, nullable=False),
    CheckConstraint("queued >= 0", name="queued_not_negative"),
    CheckConstraint("running >= 0", name="running_not_negative"),
    Index(
        "lane_waiting",
        "vtime",
        "account_id",
        sqlite_where=text("queued > 0"),
        postgresql_where=text("queued > 0"),
    ),
    Index("lane_by_vtime", "vtime"),
)

worker = Table(
    "worker",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("host", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("progress", Text, nullable=False),
    Column("draining", Boolean, nullable=False),
)

task = Table(
    "task",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("public_id", String(128), nullable=False, unique=True),
    Column("account_id", String(40), ForeignKey("account.id"), nullable=False),
    Column("key_id", String(12), nullable=False),
    Column("dialect", String(20), nullable=False),
    Column("state", String(12), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("compat", Text, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker_id", String(80)),
    Column("claim_token", String(32)),
    Column("cancel_requested", Boolean, nullable=False),
    Column("request", Text, nullable=False),
    Column("callback_url", Text),
    Column("fields", Text, nullable=False),
    Column("suffix", String(8), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("error", String(40), nullable=False),
    Column("error_message", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Index("task_to_claim", "account_id", "state", "model", "priority", "id"),
    Index("task_by_account", "account_id", "id"),
    Index("task_by_worker", "worker_id", "state"),
    Index("task_by_compat", "compat", "state", "ended_at"),
    Index("task_by_state", "state", "ended_at"),
)

file = Table(
    "file",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("task_id", String(40), nullable=False),
    Column("blob_key", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("suffix", String(8), nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("deleted_at", Double),
    Index("file_by_task", "task_id"),
    Index("file_to_sweep", "deleted_at", "expires_at"),
)

# A callback that is owed: made with the end of its task, sent by delivery.py.
outbox = Table(
    "outbox",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("task_id", String(40), nullable=False, unique=True),
    Column("account_id", String(40), nullable=False),
    Column("public_id", String(128), nullable=False),
    Column("dialect", String(20), nullable=False),
    Column("url", Text, nullable=False),
    Column("host", String(255), nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("lease_until", Double, nullable=False),
    # What attempt 1 sent; sent again as it is.
    Column("body", Text),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    # Whose callbacks they are too, so that those without room are passed over within the index.
    Index("outbox_due", "state", "next_at", "host", "account_id"),
    Index("outbox_by_account", "account_id", "id"),
)

delivery_attempt = Table(
    "delivery_attempt",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("delivery_id", String(40), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("took_s", Double, nullable=False),
    # HTTP status; none where no answer came, and then `error` says why.
    Column("status", Integer),
    Column("error", Text, nullable=False),
    Index("attempt_by_delivery", "delivery_id", "id"),
)

# The answer that a request with an idempotency key was given, for whoever sends it again.
idem = Table(
    "idem",
    metadata,
    Column("account_id", String(40), primary_key=True),
    Column("route", String(80), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("task_id", String(40), nullable=False),
    Column("answer", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("idem_to_sweep", "expires_at"),
)

# What the operator has switched: a row is there while it is so. `maintenance`, `without NAME`.
switch = Table(
    "switch",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("since", Double, nullable=False),
    Column("message", Text, nullable=False),
)
