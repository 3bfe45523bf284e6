"""Which schema a database has, and whether it is this program's: without Alembic, which is slow.

A revision's file is named for it: ``0004_samples.py`` is revision 0004. They sort as they follow.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path

from sqlalchemy import Connection, Engine

from storage.errors import SchemaTooNewError, SchemaTooOldError, storage_errors


def known() -> list[str]:
    """All revisions that this program has, in order."""
    return list(_known(Path(str(files("migrations") / "versions"))))


@cache
def _known(folder: Path) -> tuple[str, ...]:
    """Looked for once: a writer that has become another user may not enter the folder any more."""
    stems = (file.stem for file in folder.iterdir() if file.suffix == ".py")
    return tuple(sorted(stem.partition("_")[0] for stem in stems if stem != "__init__"))


def head() -> str:
    """The revision that this program needs."""
    return known()[-1]


def current(engine: Engine) -> str | None:
    """The revision of the database; None if it never got its tables."""
    with storage_errors(path_of(engine)), engine.connect() as connection:
        return of(connection)


def of(connection: Connection) -> str | None:
    """Likewise, through a connection to it."""
    table = "SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'"
    if connection.exec_driver_sql(table).first() is None:
        return None
    revision: str | None = connection.exec_driver_sql(
        "SELECT version_num FROM alembic_version"
    ).scalar()
    return revision


def check(engine: Engine) -> None:
    """Raise SchemaTooNewError or SchemaTooOldError unless the database has this schema."""
    found = current(engine)
    if found == head():
        return
    refuse_newer(engine, found)
    raise SchemaTooOldError(
        f"{path_of(engine)} has schema {found or 'none'}, this estats needs {head()}",
        "Run `estats db upgrade` as a user who may write to it.",
    )


def refuse_newer(engine: Engine, found: str | None) -> None:
    """Raise SchemaTooNewError for a revision that this program never heard of."""
    if found is not None and found not in known():
        raise SchemaTooNewError(
            f"{path_of(engine)} has schema {found}, this estats knows up to {head()}",
            "Use the estats that made it, or a newer one; the database is as it was.",
        )


def path_of(engine: Engine) -> Path:
    """The file behind an engine of ``storage.engine``."""
    assert engine.url.database is not None, "storage.engine names the file in the URL"
    return Path(engine.url.database)
