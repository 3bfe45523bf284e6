"""The first tables: run, snapshot, connection, one for each table of RFC 4898, and a view.

The lists of names are those of that day: see ``migrations.first_tables``.
"""

import sqlalchemy as sa
from alembic import op

from migrations.first_tables import CONNECTION, SAMPLED, create_sampled, latest, variables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RUN = """
    started_us ended_us end_reason host kernel boot_id version source interval_us flush_us shards
    tables filters unavailable
"""
SNAPSHOT = """
    run_id taken_us interval_us connections batches ops lost lost_finals untracked late merged
    lag_us
"""
TEXT = """
    end_reason host kernel boot_id version source tables filters unavailable LocalAddress
    RemAddress close_reason origin comm
"""
# It still runs or is open, or the kernel did not say.
NULLABLE = """
    ended_us end_reason closed_us close_reason pid pid_start_ns comm uid cgroup_id netns
"""


def upgrade() -> None:
    create("run", "run_id", RUN)
    create("snapshot", "snapshot_id", SNAPSHOT, of_run())
    op.create_index("ix_snapshot_taken_us", "snapshot", ["taken_us"])
    create("connection", "ConnectIndex", CONNECTION, of_run())
    op.create_index("ix_connection_local_port", "connection", ["LocalPort"])
    op.create_index("ix_connection_rem_port", "connection", ["RemPort"])
    op.create_index("ix_connection_closed_us", "connection", ["closed_us"])
    for table in SAMPLED:
        create_sampled(table, "ConnectIndex")
    create_sampled("listener", "ListenerIndex")
    for table in ("scalar", "control"):
        op.create_table(
            table, sa.Column("snapshot_id", sa.Integer, primary_key=True), *variables(table)
        )
    op.execute(latest())


def downgrade() -> None:
    op.execute("DROP VIEW latest")
    for table in ("control", "scalar", "listener", *reversed(SAMPLED)):
        op.drop_table(table)
    for table in ("connection", "snapshot", "run"):
        op.drop_table(table)


def create(table: str, key: str, names: str, *constraints: sa.Constraint) -> None:
    """A table of ours: an integer key, and columns that are NOT NULL unless listed above."""
    texts, nullables = TEXT.split(), NULLABLE.split()
    columns = [
        sa.Column(name, sa.Text if name in texts else sa.Integer, nullable=name in nullables)
        for name in names.split()
    ]
    op.create_table(table, sa.Column(key, sa.Integer, primary_key=True), *columns, *constraints)


def of_run() -> sa.ForeignKeyConstraint:
    """Each row belongs to one run."""
    return sa.ForeignKeyConstraint(["run_id"], ["run.run_id"])
