"""What `estats tune` set of live sockets, and what was there before."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "tuning",
        sa.Column("tuning_id", sa.Integer(), primary_key=True),
        sa.Column("ConnectIndex", sa.Integer(), nullable=False),
        sa.Column("tuned_us", sa.Integer(), nullable=False),
        sa.Column("uid", sa.Integer(), nullable=False),
        sa.Column("variable", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("wanted", sa.Text()),
        sa.Column("accepted", sa.Text()),
        sa.Column("refused", sa.Text()),
        sa.Column("reverted_us", sa.Integer()),
        sa.Column("reverted", sa.Text()),
    )
    op.create_index("ix_tuning_connectindex", "tuning", ["ConnectIndex"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("tuning")
