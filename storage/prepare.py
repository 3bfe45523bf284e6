"""Give a database this program's schema: a new one at once, an older one by migrating it."""

from sqlalchemy import Connection, Engine

from storage import revision
from storage.errors import storage_errors
from storage.schema import METADATA, views

#: Alembic's own table, as Alembic makes it.
_REVISION = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""


def prepare(engine: Engine) -> None:
    """Make the tables and views, or apply what is missing, in one transaction.

    Running all revisions on nothing leads to the same schema, to the letter, but takes half a
    second of processor time and, with Alembic, 15 MB. Raises SchemaTooNewError if a newer program
    made the database, and KeyboardInterrupt; nothing is changed then.
    """
    with storage_errors(revision.path_of(engine)), engine.begin() as connection:
        found = revision.of(connection)
        if found is None:
            _make(connection)
            return
    if found != revision.head():
        from storage.migrate import upgrade  # noqa: PLC0415  (Alembic: for older databases only)

        upgrade(engine)


def _make(connection: Connection) -> None:
    METADATA.create_all(connection, checkfirst=False)
    for view in views().values():
        connection.exec_driver_sql(view)
    connection.exec_driver_sql(_REVISION)
    connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (revision.head(),))
