"""estats db: look after a database: bring it up to date, check it, say what is in it."""

import sys
from dataclasses import replace
from typing import Any, Final

import typer

from bpf.errors import StorageError
from cli.asking import reading
from cli.notice import losses
from cli.options import As, Db, database
from cli.progress import bar
from cli.render import Format, Look, printable, say, write
from cli.rights import as_owner
from cli.times import age, iso, short
from storage.question import RunPart

app: Final = typer.Typer(
    no_args_is_help=True, help="Upgrade, check, compact or describe a database."
)


def _example(command: str) -> str:
    """For the end of a command's help: all of them are called alike."""
    return f"\b\nExamples:\n  estats db {command} --db flows.db\n"


@app.command(short_help="Bring it to this estats's schema.", epilog=_example("upgrade"))
def upgrade(db: Db = None) -> None:
    """Bring a database that an older estats made up to this one's schema.

    All or nothing: if a step fails, the database is as it was. Refused while a collector writes.
    """
    from storage import migrate, revision  # noqa: PLC0415  (SQLAlchemy, as below: see cli.asking)
    from storage.engine import open_readonly, open_writable  # noqa: PLC0415
    from storage.file import lock  # noqa: PLC0415

    path = database(db)
    open_readonly(path).dispose()  # refuses what is missing or not ours, before the lock makes it
    with as_owner(path):
        lock(path)
        engine = open_writable(path)
        try:
            with bar("upgrading") as progress:
                applied = migrate.upgrade(engine, progress)
        finally:
            engine.dispose()
    for step in applied:
        print(f"applied {step}")
    say(f"{path} has schema {revision.head()}" + ("" if applied else " already"))


@app.command(short_help="Look for damage.", epilog=_example("check"))
def check(db: Db = None) -> None:
    """Look for damage: pages, indexes, references, rows without an owner, the schema.

    Reads the whole database. Prints "ok", or a line for each fault and exits with 4.
    """
    from storage import inventory, revision  # noqa: PLC0415
    from storage.engine import open_readonly  # noqa: PLC0415
    from storage.errors import storage_errors  # noqa: PLC0415
    from storage.long import interruptible  # noqa: PLC0415

    path = database(db)
    engine = open_readonly(path)
    try:
        revision.check(engine)
        with (
            storage_errors(path),
            engine.connect() as connection,
            bar("checking") as progress,
            interruptible(connection, lambda: progress(None)),
        ):
            faults = inventory.faults(connection)
    finally:
        engine.dispose()
    if faults:
        print("\n".join(map(printable, faults)))
        raise StorageError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
            "Keep a copy, then save what can be read: sqlite3 FILE .recover | sqlite3 NEW.",
        )
    print("ok")
    say(f"{path} is sound")


@app.command(short_help="Say what is in it.", epilog=_example("info"))
def info(db: Db = None, form: As = Format.TABLE) -> None:
    """Say what is in a database: its size, its runs, the rows of each table, what was lost.

    As JSON it is one object, with a list of the runs; CSV has a line for each run.
    """
    from storage import revision  # noqa: PLC0415
    from storage.file import file_bytes  # noqa: PLC0415

    path = database(db)
    with reading(path) as reader:
        parts = reader.parts(reader.period())
        rows = reader.row_counts()
        if form is not Format.TABLE:
            whole = {
                "file": str(path.absolute()),
                "bytes": file_bytes(path),
                "schema": revision.head(),
                "rows": rows,
                "runs": list(map(_run, parts)),
            }
            if form is Format.CSV:
                keys = tuple(_run(parts[0])) if parts else ()
                write(parts, form, replace(_RUNS, keys=keys), sys.stdout)
            else:
                write([whole], form, _WHOLE, sys.stdout)
            return
        print(f"file      {printable(str(path.absolute()))}")
        print(f"size      {file_bytes(path) / 1e6:.1f} MB")
        print(f"schema    {revision.head()}")
        print(f"losses    {losses(parts) if parts else 'no snapshot yet'}")
        print("rows      " + ", ".join(f"{name} {count}" for name, count in rows.items() if count))
        if parts:
            print()
            write(parts, Format.TABLE, _RUNS, sys.stdout)


@app.command(short_help="Give free space back.", epilog=_example("compact"))
def compact(db: Db = None) -> None:
    """Write a database anew without its free pages, so that its file shrinks.

    Takes as long as copying it, and room for two copies beside it. Refused while a collector
    writes. Later on, the database gives back by itself what a collector forgets.
    """
    from storage import revision  # noqa: PLC0415
    from storage.compact import compact as rewrite  # noqa: PLC0415
    from storage.engine import open_readonly  # noqa: PLC0415
    from storage.file import file_bytes, lock  # noqa: PLC0415

    path = database(db)
    engine = open_readonly(path)  # refuses what is missing or not ours, before the lock makes it
    revision.refuse_newer(engine, revision.current(engine))
    engine.dispose()
    before = file_bytes(path)
    with as_owner(path):
        lock(path)
        with bar("compacting") as progress:
            rewrite(path, progress)
    print(f"{before / 1e6:.1f} MB became {file_bytes(path) / 1e6:.1f} MB")


def _run(part: RunPart) -> dict[str, Any]:
    """A run as an object: its row, its snapshots and what they counted."""
    period = {"snapshots": part.snapshots, "from": iso(part.from_us), "to": iso(part.to_us)}
    return {**part.run, **period, **part.meters}


_WHOLE: Final[Look[dict[str, Any]]] = Look(keys=(), as_object=lambda whole: whole)
_RUNS: Final[Look[RunPart]] = Look(
    keys=(),  # (of the schema, which SQLAlchemy has)
    as_object=_run,
    header=("run", "from", "to", "end", "snapshots", "source", "host", "interval", "losses"),
    as_row=lambda part: (
        part.run["run_id"],
        short(part.from_us),
        short(part.to_us),
        part.run["end_reason"],
        part.snapshots,
        part.run["source"],
        part.run["host"],
        age(part.run["interval_us"]),
        losses([part]),
    ),
)
