"""A bound on the connections that are tracked: how many made room for others.

It is NULL in the snapshots of before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the meter."""
    op.add_column("snapshot", sa.Column("evicted", sa.Integer()))


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("snapshot", "evicted")
