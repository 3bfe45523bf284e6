"""The history of connections: one sample in place of a row in each of seven tables.

What moves with traffic is in ``sample``; what changes now and then in ``event``, what hardly ever
does in ``setup``, whose rows many samples refer to. The tables of before are views over the three.
The groups are those of the catalogue when this was written; the names are those of 0001.

A sample is made of the rows that stood at its snapshot. They are read and written by connection.
"""

import re
import sqlite3
from collections.abc import Generator, Iterable
from heapq import merge
from itertools import count, groupby
from operator import itemgetter

import sqlalchemy as sa
from alembic import op

from migrations.first_tables import CONNECTION, DERIVED, SAMPLED, VARIABLES, create_sampled
from migrations.first_tables import latest as latest_of_tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

GROUPS = {
    "sample": """
        LimState LimState_ts current_ts SegsOut DataSegsOut HCDataOctetsOut SegsIn DataSegsIn
        HCDataOctetsIn PipeSize CurRwinSent ZeroRwinSent CurRwinRcvd ZeroRwinRcvd
        SndLimTransRwin SndLimTransCwnd SndLimTransSnd SndLimTransTSODefer SndLimTransPace
        NormalRTTm HighRTTm ElapsedUs SmoothedRTTUs CurRTOUs CurCwndSegs SndLimTimeRwinUs
        SndLimTimeCwndUs SndLimTimeSndUs SndLimTimeTSODeferUs SndLimTimePaceUs CountRTT RcvRTT
        SampleRTTUs MdevUs HCSumRTTUs SlowStart CongAvoid OtherReductions CurRetxQueue SndUna
        SndNxt HCThruOctetsAcked RcvNxt HCThruOctetsReceived CurAppWQueue CurAppRQueue
    """,
    "event": """
        SegsRetrans MaxPipeSize CongSignals Timeouts MaxRwinSent MaxRwinRcvd SndLimTransStartup
        LostRetransmitSegs HCOctetsRetrans CurSsthreshSegs SndLimTimeStartupUs RetranThresh
        NonRecovDAEpisodes SumOctetsReordered NonRecovDA PreCongSumCwnd PostCongCountRTT
        ECNsignals DupAckEpisodes DupAcksOut CERcvd ECESent RTTVarUs MaxRTTUs MinRTTUs MaxRTOUs
        MinRTOUs PreCongSumRTTUs PostCongSumRTTUs State MaxSsCwnd MaxCaCwnd MaxSsthresh
        MinSsthresh InRecovery DupAcksIn SpuriousFrDetected SpuriousRtoDetected SoftErrors
        SoftErrorReason CongOverCount FastRetran SubsequentTimeouts CurTimeoutCount
        AbruptTimeouts SACKsRcvd SACKBlocksRcvd SendStall DSACKDups MaxRetxQueue CurReasmQueue
        MaxReasmQueue RackTimeout MaxAppWQueue MaxAppRQueue OtherReductionsCV
    """,
    "setup": """
        start_ts start_tv StartTimeStamp CurMSS IpTtl IpTosIn IpTosOut ActiveOpen MSSSent
        MSSRcvd WinScaleSent WinScaleRcvd TimeStamps ECN WillSendSACK WillUseSACK Nagle MaxMSS
        MinMSS SndInitial RecInitial LimCwnd LimRwin LimMSS Priority
    """,
}

GROUP_OF = {name: group for group, names in GROUPS.items() for name in names.split()}
REFERRED = ("event", "setup")
JOINS = [f"LEFT JOIN {g} ON {g}.{g}_id = sample.{g}_id" for g in REFERRED]
KEY = itemgetter(0, 1)  # ConnectIndex and snapshot_id, which every row here begins with

Row = tuple[int | None, ...]


def upgrade() -> None:
    """Make the three tables, fill them, and put views in place of the seven."""
    op.execute("DROP VIEW latest")
    create_groups()
    fill_groups(driver())
    for table in SAMPLED:
        op.drop_table(table)
        op.execute(view(table, VARIABLES[table].split()))
    op.execute(view("history", every()))
    op.execute(latest())


def downgrade() -> None:
    """A row in each table for each sample."""
    for name in ("latest", "history", *SAMPLED):
        op.execute(f"DROP VIEW {name}")
    for table in SAMPLED:
        create_sampled(table, "ConnectIndex")
        columns = ["snapshot_id", "ConnectIndex", *stored(table)]
        picked = ["sample.snapshot_id", "sample.ConnectIndex", *stored(table)]
        op.execute(
            f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608
            f" SELECT {', '.join(picked)} FROM sample {' '.join(JOINS)}"
        )
    for group in GROUPS:
        op.drop_table(group)
    op.execute(latest_of_tables())


def driver() -> sqlite3.Connection:
    """The connection below, in the transaction of this migration."""
    raw = op.get_bind().connection.driver_connection
    assert isinstance(raw, sqlite3.Connection), "migrations are SQLite's"
    return raw


def create_groups() -> None:
    """The tables that are filled from now on."""
    op.create_table(
        "sample",
        *(
            sa.Column(name, sa.Integer, nullable=False)
            for name in ("snapshot_id", "ConnectIndex", "event_id", "setup_id")
        ),
        *(sa.Column(name, sa.Integer) for name in GROUPS["sample"].split()),
    )
    op.create_index("ux_sample", "sample", ["ConnectIndex", "snapshot_id"], unique=True)
    op.create_index("ix_sample_snapshot_id", "sample", ["snapshot_id"])
    for group in REFERRED:
        op.create_table(
            group,
            sa.Column(f"{group}_id", sa.Integer, primary_key=True),
            sa.Column("ConnectIndex", sa.Integer, nullable=False),
            *(sa.Column(name, sa.Integer) for name in GROUPS[group].split()),
        )


def fill_groups(base: sqlite3.Connection) -> None:
    """A sample for each snapshot at which one of the connection's tables has a row."""
    names = [name for table in SAMPLED for name in stored(table)]
    places = {g: [names.index(n) for n in GROUPS[g].split()] for g in GROUPS}
    numbers = {group: count(1) for group in REFERRED}
    for connection, samples in groupby(standing(base), itemgetter(0)):
        newest: dict[str, Row] = {}
        refers: dict[str, int] = {}
        for _, snapshot, values in samples:
            for group in REFERRED:
                picked = tuple(values[place] for place in places[group])
                if newest.get(group) != picked:
                    newest[group], refers[group] = picked, next(numbers[group])
                    insert(base, group, (refers[group], connection, *picked))
            moving = (values[place] for place in places["sample"])
            insert(base, "sample", (snapshot, connection, *map(refers.get, REFERRED), *moving))


def standing(base: sqlite3.Connection) -> Generator[tuple[int, int, Row]]:
    """ConnectIndex, snapshot_id, and what the columns of all tables stood at then."""
    firsts, width = {}, 0
    for table in SAMPLED:
        firsts[table] = width
        width += len(stored(table))
    rows = merge(*(history(base, table) for table in SAMPLED), key=KEY)
    for connection, of_connection in groupby(rows, itemgetter(0)):
        values: list[int | None] = [None] * width
        for snapshot, changed in groupby(of_connection, itemgetter(1)):
            for _, _, table, row in changed:
                values[firsts[table] : firsts[table] + len(row)] = row
            yield connection, snapshot, tuple(values)


def history(
    base: sqlite3.Connection, table: str
) -> Iterable[tuple[int, int, str, list[int | None]]]:
    """One table's rows, by connection and then by time."""
    columns = ", ".join(["ConnectIndex", "snapshot_id", *stored(table)])
    rows = base.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2")  # noqa: S608
    return ((connection, snapshot, table, values) for connection, snapshot, *values in rows)


def insert(base: sqlite3.Connection, group: str, row: Row) -> None:
    """One row, all columns in their order."""
    base.execute(f"INSERT INTO {group} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608


def stored(table: str) -> list[str]:
    """The columns of a table that had values of their own."""
    return [name for name in VARIABLES[table].split() if name in GROUP_OF]


def every() -> list[str]:
    """The columns of all tables."""
    return [name for table in SAMPLED for name in VARIABLES[table].split()]


def expression(name: str) -> str:
    """A column of a view; NULL if no kernel has it."""
    if name in GROUP_OF:
        return f"{GROUP_OF[name]}.{name}"
    return re.sub(
        r"\w+",
        lambda word: f"{GROUP_OF[word[0]]}.{word[0]}" if word[0] in GROUP_OF else word[0],
        DERIVED.get(name, "NULL"),
    )


def view(name: str, columns: Iterable[str]) -> str:
    """Some of the columns in each sample."""
    picked = ["sample.snapshot_id", "sample.ConnectIndex", *map(named, columns)]
    return select(name, picked, "FROM sample")


def latest() -> str:
    """Every connection with its newest sample."""
    picked = [f"c.{name}" for name in ("ConnectIndex", *CONNECTION.split())]
    picked += [named(name) for name in every()]
    newest = (
        "FROM connection AS c\nLEFT JOIN sample ON sample.rowid = (SELECT rowid FROM sample AS n"
        " WHERE n.ConnectIndex = c.ConnectIndex ORDER BY n.snapshot_id DESC LIMIT 1)"
    )
    return select("latest", picked, newest)


def named(name: str) -> str:
    """A column of a view under its name."""
    return f"{expression(name)} AS {name}"


def select(name: str, columns: Iterable[str], source: str) -> str:
    """A view over samples and what they refer to."""
    return "\n".join([f"CREATE VIEW {name} AS SELECT", ",\n".join(columns), source, *JOINS])
