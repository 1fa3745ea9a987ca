"""Run by Alembic on a connection that the caller opened and will commit."""

from alembic import context

from enginehouse.router.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
