"""Amounts of units that have no column of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `usage.other_units`. A constant default rewrites no rows."""
    op.add_column("usage", sa.Column("other_units", pg.JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")))
