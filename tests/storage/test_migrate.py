"""The schema's history: it ends where the catalogue is, and it is applied whole or not at all."""

import argparse
import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

import migrations
from bpf.errors import StorageError
from bpf.meters import METERS, Run, Snapshot
from bpf.record import CONNECTION, ENDPOINT, LISTENER_ROW
from bpf.variable import SAMPLED
from storage import inventory, migrate, revision
from storage.bounds import Bounds
from storage.engine import APPLICATION_ID, open_readonly, open_writable
from storage.errors import DatabaseDamagedError, SchemaTooNewError, SchemaTooOldError
from storage.prepare import prepare
from storage.schema import METADATA
from storage.writer import Writer
from tests.storage.retained import MINUTE, Step, Told, run_row, write

REVISIONS = Path(migrations.__file__).parent

ADD_AND_REPLACE = '''"""Add a column, and replace a table that others refer to."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "%s"


def upgrade() -> None:
    op.execute("DROP VIEW latest")
    with op.batch_alter_table("run", recreate="always") as batch:
        batch.add_column(sa.Column("note", sa.Text))
    with op.batch_alter_table("connection", recreate="always") as batch:
        batch.alter_column("comm", type_=sa.String(64))
'''

FAIL_HALFWAY = '''"""Make a table, then fail."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "%s"


def upgrade() -> None:
    op.create_table("half", sa.Column("x", sa.Integer))
    op.execute("DELETE FROM connection")
    op.execute("INSERT INTO nowhere VALUES (1)")
'''

ORPHAN = '''"""Lose the rows that others refer to."""

from alembic import op

revision = "next"
down_revision = "%s"


def upgrade() -> None:
    op.execute("DELETE FROM run")
'''

ROWS_OF_0001 = """
    INSERT INTO run VALUES (1, 1, 2, 'end', 'h', '6', 'b', 'v', 's', 1, 1, 1, '', '{}', '{}');
    INSERT INTO snapshot VALUES (1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    INSERT INTO snapshot VALUES (2, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    INSERT INTO snapshot VALUES (3, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    INSERT INTO connection (ConnectIndex, run_id, AddressType, LocalAddress, LocalPort, RemAddress,
        RemPort, opened_us, origin, cookie, lost)
        VALUES (7, 1, 1, '192.0.2.1', 1, '192.0.2.2', 2, 3, 'active', 4, 0),
               (8, 1, 1, '192.0.2.1', 3, '192.0.2.2', 2, 3, 'active', 5, 0);
    INSERT INTO perf (snapshot_id, ConnectIndex, SegsOut, CurCwndSegs, CurMSS, SegsRetrans)
        VALUES (1, 7, 23, 10, 1448, 0), (1, 8, 1, NULL, NULL, NULL), (3, 7, 25, 4, 1448, 2);
    INSERT INTO stack (snapshot_id, ConnectIndex, State) VALUES (2, 7, 5), (3, 7, 5);
    INSERT INTO path (snapshot_id, ConnectIndex, HCSumRTTUs) VALUES (2, 8, -1);
"""

#: What those rows say of each moment at which anything changed.
HISTORY_OF_0001 = [
    (7, 1, 23, 14480, 0, None, None),
    (7, 2, 23, 14480, 0, 5, None),
    (7, 3, 25, 5792, 2, 5, None),
    (8, 1, 1, None, None, None, None),
    (8, 2, 1, None, None, None, -1),
]

AddRevision = Callable[[str], None]


@pytest.fixture
def add_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AddRevision:
    """Give the program one more revision, "next"."""

    def add(source: str) -> None:
        newer = tmp_path / "newer 100%"  # a per cent sign means something to configparser
        shutil.copytree(REVISIONS, newer, ignore=shutil.ignore_patterns("__pycache__"))
        (newer / "versions" / "next.py").write_text(source % revision.head())
        for module in (migrate, revision):
            monkeypatch.setattr(module, "files", lambda package: newer)

    return add


@pytest.fixture
def engine(database: Path) -> Engine:
    """A database of this program's schema."""
    engine = open_writable(database)
    migrate.upgrade(engine)
    return engine


def definitions(engine: Engine) -> dict[str, str]:
    """The SQL of every table, index and view, without quotes and layout."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
        )
        return {name: " ".join(sql.replace('"', "").split()) for name, sql in found}


def dump(path: Path) -> list[str]:
    """All there is in a database, as SQL."""
    with closing(sqlite3.connect(path)) as plain:
        return list(plain.iterdump())


def test_the_revisions_lead_to_the_schema(engine: Engine, tmp_path: Path) -> None:
    """Migrating nothing gives, to the letter, what the catalogue gives directly."""
    direct = open_writable(tmp_path / "direct.db")
    prepare(direct)
    assert revision.current(direct) == revision.head()
    assert definitions(engine) == definitions(direct)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_files_are_named_for_their_revisions() -> None:
    """So that to know them takes no look into them, and their order is Alembic's."""
    config = Config()
    config.set_main_option("script_location", str(REVISIONS))
    steps = ScriptDirectory.from_config(config).walk_revisions()
    assert revision.known() == [step.revision for step in steps][::-1]


def test_a_blank_database_gets_all_revisions_once(database: Path) -> None:
    """They are named in their order; a second time there is nothing to do."""
    engine = open_writable(database)
    assert revision.current(engine) is None
    assert migrate.upgrade(engine)[-1] == revision.head() == revision.current(engine)
    assert migrate.upgrade(engine) == []
    revision.check(engine)


def test_up_and_down_and_up_again_is_the_same(database: Path) -> None:
    """Also through Alembic's own command, which developers use on a scratch database."""
    config = Config(cmd_opts=argparse.Namespace(x=[f"db={database}"]))
    config.set_main_option("script_location", str(REVISIONS))
    command.upgrade(config, "head")
    up = definitions(open_writable(database))
    command.downgrade(config, "base")
    assert set(definitions(open_writable(database))) == {"alembic_version"}
    command.upgrade(config, "head")
    assert definitions(open_writable(database)) == up


def test_the_first_release_s_database_is_upgraded(database: Path, run: Run) -> None:
    """Its history stays, each moment whole, and the next run writes listeners beside it."""
    config = Config(cmd_opts=argparse.Namespace(x=[f"db={database}"]))
    config.set_main_option("script_location", str(REVISIONS))
    command.upgrade(config, "0001")
    with closing(sqlite3.connect(database)) as plain, plain:
        plain.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        plain.executescript(ROWS_OF_0001)
    endpoints = np.zeros(1, ENDPOINT)
    endpoints["listener_index"] = 1
    rows = np.zeros(1, LISTENER_ROW)
    rows["listener_index"], rows["block"]["known"], rows["block"]["hc_syn_rcvd"] = 1, 2, 5 << 32 | 3
    writer = Writer(database, run)
    writer.write(
        Snapshot(
            cut_ns=1,
            taken_us=2,
            interval_us=1,
            meters=dict.fromkeys(METERS, 0),
            connections=np.zeros(0, CONNECTION),
            listeners=rows,
            endpoints=endpoints,
        )
    )
    writer.close("end")
    with open_readonly(database).connect() as connection:
        assert inventory.faults(connection) == []
        found = connection.exec_driver_sql(
            "SELECT ConnectIndex, snapshot_id, SegsOut, CurCwnd, SegsRetrans, State, HCSumRTTUs"
            " FROM history ORDER BY 1, 2"
        )
        assert [tuple(row) for row in found] == HISTORY_OF_0001
        assert inventory.row_counts(connection) | {"sample": 5, "event": 4, "setup": 2} == (
            inventory.row_counts(connection)
        )
        found = connection.exec_driver_sql(
            "SELECT SynRcvd, HCSynRcvd, CurConns FROM latest_listener"
        )
        assert found.all() == [(3, 5 << 32 | 3, None)]


def test_a_downgrade_keeps_the_history(
    database: Path, run: Run, make_snapshot: Callable[..., Snapshot]
) -> None:
    """In the tables of before, a row of each for each sample; and up again it is the same."""
    writer = Writer(database, run)
    writer.write(make_snapshot(3))
    writer.write(make_snapshot(3, first=1))
    writer.close("done")
    config = Config(cmd_opts=argparse.Namespace(x=[f"db={database}"]))
    config.set_main_option("script_location", str(REVISIONS))
    query = "SELECT * FROM {} ORDER BY ConnectIndex, snapshot_id"
    names = [table.value for table in SAMPLED]
    with closing(sqlite3.connect(database)) as plain:
        before = {name: plain.execute(query.format(name)).fetchall() for name in names}
        command.downgrade(config, "0003")
        assert {n: plain.execute(query.format(n)).fetchall() for n in names} == before
        command.upgrade(config, "head")
        assert {n: plain.execute(query.format(n)).fetchall() for n in names} == before


def test_an_older_database_is_upgraded_with_its_rows(
    database: Path, run: Run, make_snapshot: Callable[..., Snapshot], add_revision: AddRevision
) -> None:
    """Tables are replaced under the rows that refer to them."""
    writer = Writer(database, run)
    writer.write(make_snapshot(23))
    writer.close("done")
    add_revision(ADD_AND_REPLACE)
    with pytest.raises(SchemaTooOldError, match=r"has schema 0.*needs next"):
        revision.check(open_readonly(database))
    engine = open_writable(database)
    assert migrate.upgrade(engine) == ["next"]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM connection").scalar() == 23
        assert connection.exec_driver_sql("SELECT host, note FROM run").one() == (run.host, None)
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").first() is None
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize(
    ("source", "error"), [(FAIL_HALFWAY, StorageError), (ORPHAN, DatabaseDamagedError)]
)
def test_a_migration_that_fails_changes_nothing(
    database: Path,
    run: Run,
    make_snapshot: Callable[..., Snapshot],
    add_revision: AddRevision,
    source: str,
    error: type[Exception],
) -> None:
    """All of it is one transaction."""
    writer = Writer(database, run)
    writer.write(make_snapshot())
    writer.close("done")
    before = dump(database)
    add_revision(source)
    with pytest.raises(error):
        migrate.upgrade(open_writable(database))
    assert dump(database) == before


def test_a_newer_database_is_refused(engine: Engine, database: Path) -> None:
    """A revision that this program never heard of may mean anything."""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = dump(database)
    with pytest.raises(SchemaTooNewError, match="9999"):
        migrate.upgrade(engine)
    with pytest.raises(SchemaTooNewError, match="9999"):
        revision.check(open_readonly(database))
    assert dump(database) == before


def test_a_writer_refuses_a_newer_database(engine: Engine, database: Path, run: Run) -> None:
    """Before it adds its run."""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNewError):
        Writer(database, run)


def test_migrating_is_quiet(
    database: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Alembic tells nobody what it does, even if the root logger listens to everything."""
    caplog.set_level(logging.DEBUG)
    migrate.upgrade(open_writable(database))
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("alembic")]


def test_a_database_of_before_0006_forgets(database: Path) -> None:
    """Down and up again its rows are the same, but for what says how much was forgotten."""
    told, bounds = Told(), Bounds(keep_us=MINUTE)
    steps = [Step(1, {1: (1, 1, 0)}, frozenset(), {1: 1})] * 90
    write(database, steps, bounds)
    config = Config(cmd_opts=argparse.Namespace(x=[f"db={database}"]))
    config.set_main_option("script_location", str(REVISIONS))
    history = "SELECT * FROM history ORDER BY snapshot_id"
    with closing(sqlite3.connect(database)) as plain:
        before = plain.execute(history).fetchall()
        assert plain.execute("SELECT count(*) FROM thinned").fetchone() == (1,)
        command.downgrade(config, "0005")
        assert plain.execute(history).fetchall() == before
        command.upgrade(config, "head")
        assert plain.execute(history).fetchall() == before
        assert plain.execute("SELECT max(forgotten_samples) FROM snapshot").fetchone() == (None,)
    writer = Writer(database, run_row(), bounds)
    told.taken_us += 200 * MINUTE
    writer.write(told.snapshot(Step(1, {}, frozenset(), {})))
    while writer.forget():
        pass
    assert writer.forgotten()["forgotten_samples"] == len(before) - 1
    writer.close("done")


def test_a_new_database_needs_no_alembic(database: Path) -> None:
    """It takes half a second, and memory that a writer would keep."""
    script = (
        "import sys; from pathlib import Path; from storage.engine import open_writable;"
        f" from storage.prepare import prepare; prepare(open_writable(Path({str(database)!r})));"
        " assert 'alembic' not in sys.modules"
    )
    for _ in range(2):  # a second time there is nothing to do
        subprocess.run([sys.executable, "-c", script], check=True)
    assert revision.current(open_readonly(database)) == revision.head()


def test_preparing_brings_an_older_database_up(database: Path) -> None:
    """By its migrations; one that is too new is left alone."""
    engine = open_writable(database)
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
    prepare(engine)
    assert revision.current(engine) == revision.head()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNewError):
        prepare(engine)
