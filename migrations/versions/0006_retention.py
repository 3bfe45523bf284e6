"""A database forgets: how far its history was thinned, and how much of it went at each snapshot.

Meters of databases and runs without such a bound are NULL. Going down loses the first, not what is
still there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

METERS = ("forgotten_samples", "forgotten_connections", "oversize")


def upgrade() -> None:
    """Add the table and the meters."""
    op.create_table(
        "thinned",
        sa.Column("step_us", sa.Integer, primary_key=True),
        sa.Column("snapshot_id", sa.Integer, nullable=False),
        sa.Column("taken_us", sa.Integer, nullable=False),
    )
    for name in METERS:
        op.add_column("snapshot", sa.Column(name, sa.Integer()))


def downgrade() -> None:
    """Take them away again."""
    for name in reversed(METERS):
        op.drop_column("snapshot", name)
    op.drop_table("thinned")
