"""estats sql: it answers what can be read, and does nothing else whatever it is told."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from cli.sql import EXAMPLES
from storage import revision
from storage.writer import Writer
from tests.cli.conftest import Estats
from tests.cli.story import ACTIVE, HUGE, connection, one_run, snapshot
from tests.samples import Samples

ROOT = Path(__file__).resolve().parent.parent.parent
FORMS = ("table", "json", "ndjson", "csv")
FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

#: A shell that runs the tests in the background has SIGINT ignored, and Python leaves it so.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import estats
sys.exit(estats.main())
"""

FORBIDDEN = [
    "INSERT INTO run SELECT * FROM run",
    "REPLACE INTO alembic_version VALUES ('9')",
    "UPDATE connection SET lost = 7",
    "DELETE FROM run",
    "WITH gone AS (SELECT 1) DELETE FROM run",
    "INSERT INTO alembic_version VALUES ('9') RETURNING *",
    "EXPLAIN DELETE FROM run",
    "CREATE TABLE made (x)",
    "CREATE TABLE made AS SELECT 1",
    "CREATE INDEX made ON run (host)",
    "CREATE VIEW made AS SELECT 1",
    "CREATE TRIGGER made AFTER INSERT ON run BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE made USING fts5(x)",
    "CREATE TEMP TABLE made (x)",
    "CREATE TEMP VIEW made AS SELECT 1",
    "CREATE TEMP TRIGGER made AFTER INSERT ON run BEGIN SELECT 1; END",
    "DROP TABLE run",
    "DROP INDEX ux_sample",
    "DROP VIEW latest",
    "ALTER TABLE run RENAME TO walk",
    "ALTER TABLE run ADD COLUMN made",
    "ALTER TABLE run DROP COLUMN host",
    "UPDATE sqlite_schema SET sql = ''",
    "UPDATE sqlite_dbpage SET data = zeroblob(4096)",
    "ATTACH '{folder}/made.db' AS made",
    "ATTACH ':memory:' AS made",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '{folder}/made.db'",
    "REINDEX",
    "ANALYZE",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT made",
    "PRAGMA query_only = 0",
    "PRAGMA query_only",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA journal_mode",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA writable_schema = 1",
    "PRAGMA trusted_schema = 1",
    "PRAGMA user_version = 7",
    "PRAGMA main.application_id = 7",
    "PRAGMA page_size = 512",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA temp_store_directory = '{folder}'",
    "PRAGMA incremental_vacuum",
    "PRAGMA optimize",
    "PRAGMA locking_mode = EXCLUSIVE",
    "SELECT load_extension('{folder}/made.so')",
    "SELECT count(*) FROM run WHERE load_extension('made') IS NULL",
    "SELECT fts3_tokenizer('simple')",
    "SELECT writefile('{folder}/made.txt', 'x')",
    "SELECT readfile('/etc/hostname')",
    "SELECT edit('x')",
]


@pytest.fixture
def copy(story: Path, tmp_path: Path) -> Path:
    """The story, in a folder of its own."""
    (tmp_path / "its folder").mkdir()
    return Path(shutil.copy(story, tmp_path / "its folder" / "flows.db"))


def octets(path: Path) -> dict[str, bytes]:
    """What lies beside a database and in it.

    Without shared memory (-shm), and without the empty -wal that any reader leaves.
    """
    found = {f.name: f.read_bytes() for f in path.parent.iterdir() if not f.name.endswith("-shm")}
    return {name: content for name, content in found.items() if content}


def hostile(path: Path, script: str) -> None:
    """Do to a database what estats never would."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(script)


def files_of(pid: int) -> set[Path]:
    """The files that a process has open."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(descriptor.readlink())
    return found


def test_rows_come_in_every_form(estats: Estats, story: Path) -> None:
    """As those of ``estats query``: by the names of the columns."""
    statement = "SELECT ConnectIndex, comm, pid FROM connection WHERE ConnectIndex < 3 ORDER BY 1"
    found = [
        {"ConnectIndex": 1, "comm": "iperf", "pid": 42},
        {"ConnectIndex": 2, "comm": None, "pid": None},
    ]
    table, as_list, lines, table_of_text = (
        estats("sql", "--db", story, "--format", form, statement) for form in FORMS
    )
    assert table.out.splitlines() == [
        "ConnectIndex  comm   pid",
        "           1  iperf   42",
        "           2  -        -",
    ]
    assert json.loads(as_list.out) == found
    assert [json.loads(line) for line in lines.out.splitlines()] == found
    assert [*csv.reader(io.StringIO(table_of_text.out))][1:] == [
        ["1", "iperf", "42"],
        ["2", "", ""],
    ]
    assert table.err == f"estats: {story}: 2 rows\n"


def test_what_no_form_can_hold_is_written_as_text(estats: Estats, story: Path) -> None:
    """Octets in hexadecimal, infinity as a word, and each key once."""
    statement = "SELECT x'6869' AS b, 9e999 AS f, -9e999 AS g, 1 AS a, 2 AS a, 3 AS \"a:2\""
    answer = estats("sql", "--db", story, "--format", "ndjson", statement)
    assert json.loads(answer.out) == (
        {"b": "6869", "f": "inf", "g": "-inf", "a": 1, "a:2": 2, "a:2:2": 3}
    )


def test_the_help_tells_what_became_of_unsigned_values(estats: Estats, story: Path) -> None:
    """They are as stored, and what the help says undoes it."""
    (undone,) = re.findall(r"printf\([^)]+\)", estats("sql", "--help").out)
    columns = f"HCDataOctetsOut AS stored, {undone} AS meant"
    asked = ("SELECT", columns, "FROM perf WHERE stored < 0")
    answer = estats("sql", "--db", story, "--format", "json", " ".join(asked))
    assert json.loads(answer.out) == [{"stored": HUGE - 2**64, "meant": str(HUGE)}]


@pytest.mark.parametrize("form", FORMS)
def test_nothing_of_a_database_reaches_the_terminal_raw(
    estats: Estats, copy: Path, form: str
) -> None:
    """Neither a text, whether UTF-8 or not, nor the name of a column."""
    hostile(copy, "CREATE VIEW evil AS SELECT comm AS '\x1b[2J\x9b\u202e', x'' FROM connection")
    for statement in (
        "SELECT * FROM evil",
        "SELECT comm FROM connection",
        "SELECT CAST(x'1b5d300a07ff9b' AS TEXT) AS '\x1b]0;x\x07'",
        "SELECT char(27, 91, 50, 74), char(13), char(127), char(155), char(8238)",
    ):
        answer = estats("sql", "--db", copy, "--format", form, statement)
        assert answer.code == 0, answer.err
        assert answer.out.replace("\n", "").isprintable()


def test_every_example_of_the_help_answers(
    estats: Estats, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As written, in a folder that has a flows.db and a question."""
    (tmp_path / "flows.db").symlink_to(story)
    (tmp_path / "question.sql").write_text("-- who\nSELECT comm, 'é'\nFROM latest;\n")
    examples = [line.strip() for line in EXAMPLES.splitlines() if "estats " in line]
    assert len(examples) >= 3
    for example in examples:
        command, _, source = example.partition(" < ")
        with (tmp_path / (source or "question.sql")).open(encoding="utf-8") as question:
            monkeypatch.setattr("sys.stdin", question)
            answer = estats(*shlex.split(command)[1:])
        assert answer.code == 0 and answer.out.count("\n") > 1, (example, answer.err)


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_what_does_more_than_read_is_refused(estats: Estats, copy: Path, statement: str) -> None:
    """With a sentence and a cure, and every octet is as it was."""
    before = octets(copy)
    answer = estats("sql", "--db", copy, statement.format(folder=copy.parent))
    sentence, advice = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert sentence.startswith("estats: ") and advice.startswith("  ")
    assert octets(copy) == before


def test_a_writer_is_not_disturbed(estats: Estats, tmp_path: Path) -> None:
    """Neither by what is read beside it nor by what is refused; its last snapshot is seen."""
    (tmp_path / "live").mkdir()
    live = tmp_path / "live" / "flows.db"
    writer = Writer(live, one_run(200, ["perf"], {}))
    told = Samples()
    try:
        row = connection(9, ("10.0.0.1", 1), ("10.0.0.2", 2), ACTIVE, opened=200)
        writer.write(snapshot(201, told.of({9: {"SegsOut": 1}}), [row]))
        before = octets(live)
        assert before["flows.db-wal"]
        for statement in FORBIDDEN:
            assert estats("sql", "--db", live, statement.format(folder=live.parent)).code == 2
        counted = estats("sql", "--db", live, "--format", "csv", "SELECT count(*) FROM connection")
        assert counted.out.splitlines()[1] == "1"
        assert octets(live) == before
        writer.write(snapshot(202, told.of({9: {"SegsOut": 2}})))
    finally:
        writer.close("end of test")


@pytest.mark.parametrize(
    "statement",
    [
        "VALUES (1)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT * FROM n",
        "EXPLAIN QUERY PLAN SELECT * FROM latest",
        "EXPLAIN SELECT 1",
        "PRAGMA table_info(history)",
        "PRAGMA user_version",
        "SELECT name FROM pragma_table_info('run')",
        "SELECT key FROM run, json_each('{\"a\": 1}')",
        "SELECT lag(taken_us) OVER (ORDER BY taken_us) FROM snapshot",
        "/* nothing */ ; SELECT 1; -- more",
    ],
)
def test_what_only_reads_is_answered(estats: Estats, story: Path, statement: str) -> None:
    """All that SQLite has for it."""
    answer = estats("sql", "--db", story, statement)
    assert answer.code == 0 and answer.out, answer.err


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("SELECT nowhere FROM run", "no such column: nowhere"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT 1; DELETE FROM run", "more than one statement"),
        ("", "gives no rows"),
        ("-- nothing", "gives no rows"),
        ("SELECT ?", "bindings"),
        ("SELECT '\udcff'", "not text"),
        ("SELECT 1\n\x1b FROM", "unrecognized token"),
        ("SELECT " + "(" * 2000, "parser stack overflow"),
        ("SELECT zeroblob(1000000000)", "too big"),
        ("SELECT abs(-9223372036854775807 - 1)", "integer overflow"),
    ],
)
def test_bad_sql_is_said_as_sqlite_says_it(
    estats: Estats, story: Path, statement: str, sentence: str
) -> None:
    """On one line, with another one on what to do, and nothing on standard output."""
    answer = estats("sql", "--db", story, "--", statement)
    message, advice = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert sentence in message and "\x1b" not in answer.err and advice.startswith("  ")


@pytest.mark.parametrize("octets_in", [b"SELECT '\xff'", b"SELECT 1 -- " + b"x" * 1_000_001])
def test_a_statement_that_cannot_be_one_is_refused(
    estats: Estats, story: Path, tmp_path: Path, octets_in: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard input may be anything, and endless."""
    (tmp_path / "in").write_bytes(octets_in)
    with (tmp_path / "in").open(encoding="utf-8") as question:
        monkeypatch.setattr("sys.stdin", question)
        answer = estats("sql", "--db", story, "-")
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (2, "", 2)


def test_a_database_of_another_schema_is_read_too(estats: Estats, copy: Path) -> None:
    """Who asks for what it has not is told which schema it has."""
    hostile(copy, "UPDATE alembic_version SET version_num = '9999'")
    assert estats("sql", "--db", copy, "SELECT * FROM latest").code == 0
    answer = estats("sql", "--db", copy, "SELECT nowhere FROM latest")
    assert f"has schema 9999, docs/schema.md is about {revision.head()}" in answer.err


@pytest.mark.parametrize(
    ("script", "statement", "code"),
    [
        ("CREATE VIEW evil AS SELECT load_extension('x')", "SELECT * FROM evil", 2),
        ("CREATE VIEW evil AS SELECT fts3_tokenizer('x')", "SELECT * FROM evil", 2),
        ("CREATE VIEW evil AS SELECT * FROM pragma_table_list", "SELECT 1 FROM evil", 2),
        ("CREATE VIEW evil AS SELECT * FROM evil", "SELECT * FROM evil", 2),
        ("CREATE VIEW evil AS SELECT zeroblob(1 << 30)", "SELECT * FROM evil", 2),
        ("CREATE TRIGGER evil AFTER INSERT ON run BEGIN DELETE FROM run; END", "SELECT 1", 0),
        ("CREATE TRIGGER evil INSTEAD OF UPDATE ON latest BEGIN DELETE FROM run; END",
         "UPDATE latest SET comm = ''", 2),
        ("CREATE VIEW json_each AS SELECT 1 AS key", "SELECT * FROM json_each", 0),
        ("CREATE TABLE evil (x, y AS (zeroblob(1 << 30)))", "SELECT * FROM evil", 0),
    ],
)  # fmt: skip
def test_a_hostile_schema_does_no_more(
    estats: Estats, copy: Path, script: str, statement: str, code: int
) -> None:
    """What its author put there is run with no more rights than what is asked."""
    hostile(copy, script)
    before = octets(copy)
    answer = estats("sql", "--db", copy, statement)
    assert answer.code == code, answer.err
    assert octets(copy) == before


def test_a_schema_that_is_not_sql_is_damage(estats: Estats, copy: Path) -> None:
    """As is one whose names are not UTF-8; exit code 4."""
    hostile(copy, "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = 'CREATE TABLE ('")
    assert estats("sql", "--db", copy, "SELECT 1").code == 4


def test_a_name_that_is_not_text_is_damage(estats: Estats, copy: Path) -> None:
    """SQLite does not look whether what it stores is UTF-8."""
    hostile(copy, "CREATE VIEW evil AS SELECT 1 AS nameabc")
    copy.write_bytes(copy.read_bytes().replace(b"nameabc", b"name\xff\x1bc"))
    answer = estats("sql", "--db", copy, "SELECT * FROM evil")
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (4, "", 2)


def test_damage_within_the_rows_is_told(estats: Estats, copy: Path) -> None:
    """Exit code 4, after what could be read."""
    with copy.open("r+b") as file:
        file.seek(2048)
        file.write(b"\xff" * (copy.stat().st_size - 2048))
    answer = estats("sql", "--db", copy, "--format", "ndjson", "SELECT * FROM connection")
    assert (answer.code, len(answer.err.splitlines())) == (4, 2)


@pytest.fixture(params=["text", "missing", "folder", "fifo", "empty", "another's", "cut", "device"])
def not_a_database(request: pytest.FixtureRequest, copy: Path) -> Path:
    """Something else by the name of a database."""
    path = copy.with_name("it")
    match request.param:
        case "text":
            path.write_text("no database, but long enough to be looked at" * 100)
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "empty":
            path.touch()
        case "another's":
            hostile(path, "CREATE TABLE theirs (x)")
        case "cut":
            path.write_bytes(copy.read_bytes()[:5000])
        case "device":
            path = Path("/dev/zero")
    return path


def test_what_is_no_database_of_ours_is_refused(estats: Estats, not_a_database: Path) -> None:
    """With a sentence and exit code 4, without waiting for a pipe's writer."""
    answer = estats("sql", "--db", not_a_database, "SELECT * FROM latest")
    assert (answer.code, answer.out) == (4, "")
    assert len(answer.err.splitlines()) == 2


def test_a_link_to_a_database_is_followed(estats: Estats, copy: Path, tmp_path: Path) -> None:
    """Reading does no harm; a link to nothing is a missing database."""
    (tmp_path / "link.db").symlink_to(copy)
    (tmp_path / "dangling.db").symlink_to(tmp_path / "nowhere")
    assert estats("sql", "--db", tmp_path / "link.db", "SELECT 1").code == 0
    assert estats("sql", "--db", tmp_path / "dangling.db", "SELECT 1").code == 4
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("statement", [FOREVER, "SELECT 1 FROM run AS a, evil"])
def test_a_runaway_statement_is_interrupted(copy: Path, statement: str) -> None:
    """Quietly and soon, also where the database made it run away."""
    hostile(copy, f"CREATE VIEW evil AS {FOREVER}")
    command = [sys.executable, "-c", INTERRUPTIBLE, "sql", "--db", str(copy), statement]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        until = time.monotonic() + 30
        while copy not in files_of(running.pid):
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
