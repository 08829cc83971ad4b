"""The database through SQLAlchemy Core, one code for SQLite and PostgreSQL."""

from zing.store.database import Store

__all__ = ["Store"]
