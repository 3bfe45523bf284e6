"""Connects Alembic to the schema and to the database that ``storage.migrate`` has open.

For work on a new revision there is also ``alembic -x db=FILE``, with a database of its own.
"""

from pathlib import Path

from alembic import context
from sqlalchemy import Connection

from storage.engine import open_writable
from storage.schema import METADATA


def run(connection: Connection) -> None:
    """Apply the revisions asked for in the transaction that the connection is in."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=True,
        # Alembic takes SQLite's DDL for untransactional, which is sqlite3's habit, not SQLite's.
        transactional_ddl=True,
        on_version_apply=context.config.attributes.get("on_version_apply"),
    )
    with context.begin_transaction():
        context.run_migrations()


if "connection" in context.config.attributes:
    run(context.config.attributes["connection"])
else:
    options = context.get_x_argument(as_dictionary=True)
    with open_writable(Path(options["db"])).begin() as own:
        run(own)
