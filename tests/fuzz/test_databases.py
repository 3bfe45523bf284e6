"""A database of any octets is answered, or refused in a sentence with exit code 4."""

import gzip
import io
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import event, example, given
from hypothesis import strategies as st

from cli.app import run as run_estats
from storage import revision
from storage.schema import METADATA
from tests.cli.story import at
from tests.fuzz.examples import fuzzed_slowly

DATABASES = Path(__file__).parent.parent / "storage" / "databases"
FORMS = ("table", "json", "ndjson", "csv")
COLUMNS = [
    (table.name, column.name)
    for table in METADATA.sorted_tables
    for column in table.columns
    if not column.primary_key and column.computed is None
]


@cache
def valid() -> bytes:
    """A database with connections, listeners and every variable."""
    return gzip.decompress((DATABASES / f"{revision.head()}.db.gz").read_bytes())


def commands(form: str) -> list[list[str]]:
    """Everything that reads."""
    return [
        ["query", "--history", "--var", "*", "--format", form],
        ["query", "--rate", "--since", str(at(-1) / 1e6), "--net", "10.0.0.0/8", "--format", form],
        ["connections", "--sort", "-SegsRetrans", "--format", form],
        ["why", "--since", str(at(-1) / 1e6), "--format", form],
        ["listeners", "--format", form],
        ["sql", "--format", form, "SELECT * FROM latest JOIN run USING (run_id)"],
        ["sql", "--format", form, "SELECT * FROM sqlite_schema"],
        ["db", "info"],
        ["db", "check"],
    ]


def judged(path: Path, form: str) -> None:
    """Each command ends with an answer or a sentence, and nothing that steers a terminal."""
    for command in commands(form):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run_estats([*command, "--db", str(path)])
        event(f"{command[0]} {code}")
        # A view that cannot be is the schema's fault, and the statement's that asks for it.
        assert code in ({0, 2, 4} if command[0] == "sql" else {0, 4}), err.getvalue()
        text = out.getvalue() + err.getvalue()
        assert "Traceback" not in text
        assert text.replace("\n", "").isprintable(), (command, text)
        assert code == 0 or err.getvalue().splitlines()[-2].startswith("estats: ")


@fuzzed_slowly
@given(
    st.lists(st.tuples(st.integers(0, len(valid()) - 1), st.integers(1, 255)), max_size=12),
    st.none() | st.integers(0, len(valid())),
    st.sampled_from(FORMS),
)
def test_a_database_with_any_bits_flipped(
    flips: list[tuple[int, int]], end: int | None, form: str
) -> None:
    """And with any end cut off."""
    content = bytearray(valid())
    for place, bits in flips:
        content[place] ^= bits
    with TemporaryDirectory() as folder:
        path = Path(folder) / "flows.db"
        path.write_bytes(content[:end])
        judged(path, form)


values = (
    st.none()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.binary(max_size=20)
    | st.sampled_from(
        ["\x1b]0;x\x07", "\x9b2J", "\u202e", "{}", "[1]", '{"IpTtl": "\\u001b[2J"}', "a" * 500]
    )
)


@fuzzed_slowly
@example([(("connection", "opened_us"), (1 << 63) - 1)], "csv")
@example([(("connection", "opened_us"), "\x1b[2J")], "table")
@example([(("snapshot", "taken_us"), -(1 << 63))], "json")
@example([(("run", "unavailable"), '{"IpTtl": "\x1b[2J"}')], "table")
@example([(("run", "unavailable"), "[1]")], "table")
@example([(("connection", "LocalAddress"), "\x1b[2J")], "ndjson")
@example([(("endpoint", "comm"), "\x1b[2J")], "csv")
@example([(("endpoint", "LocalAddress"), "\x1b[2J")], "table")
@example([(("run", "tables"), None), (("connection", "run_id"), 7)], "csv")
@given(st.lists(st.tuples(st.sampled_from(COLUMNS), values), max_size=4), st.sampled_from(FORMS))
def test_a_database_with_any_values(
    changes: list[tuple[tuple[str, str], int | float | str | bytes | None]], form: str
) -> None:
    """Of any type in any column, for SQLite takes them all."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "flows.db"
        path.write_bytes(valid())
        with closing(sqlite3.connect(path)) as database, database:
            for (table, column), value in changes:
                statement = f"UPDATE OR IGNORE {table} SET {column} = ?"  # noqa: S608  (ours)
                try:
                    database.execute(statement, [value])
                except sqlite3.IntegrityError:
                    event("not taken")
        judged(path, form)


tokens = st.lists(
    st.sampled_from(
        [
            *("CREATE", "VIEW", "TABLE", "AS", "SELECT", "FROM", "WITH", "UNION", "latest", "run"),
            *("*", "(", ")", ",", "1", "'", '"x\x1b"', "\x1b[2J"),
            *("load_extension('x')", "zeroblob(1 << 40)"),
        ]
    ),
    max_size=10,
).map(" ".join)


@fuzzed_slowly
@example("latest", "CREATE VIEW latest AS SELECT * FROM latest", "table")
@example("run", "CREATE TABLE run (\x1b[2J)", "table")
@example("sample", "CREATE VIEW sample AS SELECT load_extension('x')", "csv")
@given(st.sampled_from(["latest", "history", "run", "sample", "connection", "ux_sample"]), tokens,
       st.sampled_from(FORMS))  # fmt: skip
def test_a_database_with_any_schema(name: str, sql: str, form: str) -> None:
    """Whatever is written where SQLite keeps it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "flows.db"
        path.write_bytes(valid())
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("PRAGMA writable_schema = 1")
            database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", [sql, name])
        judged(path, form)
