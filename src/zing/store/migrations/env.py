"""What alembic runs: the steps on the connection that `database.upgrade` hands over."""

from alembic import context

from zing.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
