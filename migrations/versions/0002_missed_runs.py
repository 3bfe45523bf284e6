"""Snapshots count the runs of kernel programs that were skipped; NULL in those of before."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the meter."""
    op.add_column("snapshot", sa.Column("missed", sa.Integer()))


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("snapshot", "missed")
