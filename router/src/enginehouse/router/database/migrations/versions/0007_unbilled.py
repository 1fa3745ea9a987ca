"""The part of a request's cost that is not billed, named after what it is."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename `usage.ours_nanos` to `unbilled_nanos`."""
    op.alter_column("usage", "ours_nanos", new_column_name="unbilled_nanos")
