"""Tables of what invalidates cached answers, and of keys' cache policies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tags with their generations, and policies by key."""
    op.create_table(
        "cache_tags",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("generation > 0", name="cache_tags_generation"),
    )
    op.create_table(
        "cache_policies",
        sa.Column("key_id", sa.Text, sa.ForeignKey("api_keys.key_id"), primary_key=True),
        sa.Column("mode", sa.Integer, nullable=False),
        sa.Column("default_class", sa.Integer, nullable=False),
        sa.Column("semantic", sa.Boolean, nullable=False),
        sa.Column("semantic_threshold", sa.Float, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("semantic_threshold BETWEEN 0 AND 1", name="cache_policies_threshold"),
    )


def downgrade() -> None:
    """Forget both."""
    op.drop_table("cache_policies")
    op.drop_table("cache_tags")
