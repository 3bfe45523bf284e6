"""Each snapshot counts the processes of the collector that died and were replaced.

NULL before: then the death of one ended the run.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the meter."""
    op.add_column("snapshot", sa.Column("replaced", sa.Integer()))


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("snapshot", "replaced")
