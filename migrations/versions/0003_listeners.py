"""Listeners: who they are, and the columns of their table as it is filled.

No program filled ``listener`` before, so it is made anew: the RFC's 32-bit counters follow from
the 64-bit ones of the same row. As in 0001, the names are what the catalogue held when this was
written.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COUNTERS = ("SynRcvd", "Initial", "Established", "Accepted", "ExceedBacklog")
STORED = """
    StartTime HCSynRcvd HCInitial HCEstablished HCAccepted HCExceedBacklog CurConns MaxBacklog
    CurBacklog CurEstabBacklog
"""
BEFORE = """
    StartTime SynRcvd Initial Established Accepted ExceedBacklog HCSynRcvd HCInitial
    HCEstablished HCAccepted HCExceedBacklog CurConns MaxBacklog CurBacklog CurEstabBacklog
"""
ENDPOINT = """
    ListenerIndex run_id LocalAddressType LocalAddress LocalPort opened_us closed_us origin pid
    pid_start_ns comm uid cgroup_id netns cookie
"""


def upgrade() -> None:
    op.drop_table("listener")
    create_listener(STORED.split()[:1], COUNTERS, STORED.split()[1:], ["SocketDrops"])
    op.create_table(
        "endpoint",
        sa.Column("ListenerIndex", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("LocalAddressType", sa.Integer, nullable=False),
        sa.Column("LocalAddress", sa.Text, nullable=False),
        sa.Column("LocalPort", sa.Integer, nullable=False),
        sa.Column("opened_us", sa.Integer, nullable=False),
        sa.Column("closed_us", sa.Integer),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer),
        sa.Column("pid_start_ns", sa.Integer),
        sa.Column("comm", sa.Text),
        sa.Column("uid", sa.Integer),
        sa.Column("cgroup_id", sa.Integer),
        sa.Column("netns", sa.Integer),
        sa.Column("cookie", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"]),
    )
    op.create_index("ix_endpoint_local_port", "endpoint", ["LocalPort"])
    op.execute(latest_listener())


def downgrade() -> None:
    op.execute("DROP VIEW latest_listener")
    op.drop_table("endpoint")
    op.drop_table("listener")
    create_listener(BEFORE.split())


def create_listener(*columns: Sequence[str]) -> None:
    """The history of listeners; the second group of columns is computed."""
    made = [
        sa.Column(name, sa.Integer, sa.Computed(f"HC{name} & 4294967295", persisted=False))
        if place == 1
        else sa.Column(name, sa.Integer)
        for place, names in enumerate(columns)
        for name in names
    ]
    op.create_table(
        "listener",
        sa.Column("snapshot_id", sa.Integer, nullable=False),
        sa.Column("ListenerIndex", sa.Integer, nullable=False),
        *made,
    )
    op.create_index("ux_listener", "listener", ["ListenerIndex", "snapshot_id"], unique=True)
    op.create_index("ix_listener_snapshot_id", "listener", ["snapshot_id"])


def latest_listener() -> str:
    """Every listening endpoint with its newest row, joined by rowid."""
    names = [*STORED.split()[:1], *COUNTERS, *STORED.split()[1:], "SocketDrops"]
    columns = [f"e.{name}" for name in ENDPOINT.split()]
    columns += [f"listener.{name}" for name in names]
    return "\n".join(
        [
            "CREATE VIEW latest_listener AS SELECT",
            ",\n".join(columns),
            "FROM endpoint AS e",
            "LEFT JOIN listener ON listener.rowid = (SELECT rowid FROM listener AS n"
            " WHERE n.ListenerIndex = e.ListenerIndex ORDER BY n.snapshot_id DESC LIMIT 1)",
        ]
    )
