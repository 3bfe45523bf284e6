"""Snapshots say what the kernel programs cost and what was done about it; NULL in those of before.

NULL, too, in the snapshots of a run without a budget.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

METERS = ("bpf_ns", "flush_interval_us", "sampled", "sampled_out")


def upgrade() -> None:
    """Add the meters."""
    for name in METERS:
        op.add_column("snapshot", sa.Column(name, sa.Integer()))


def downgrade() -> None:
    """Take them away again."""
    for name in reversed(METERS):
        op.drop_column("snapshot", name)
