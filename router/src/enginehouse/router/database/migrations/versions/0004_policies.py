"""Policies and feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "policies",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_table(
        "feedback",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("score_millionths", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_class", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("recorded_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("score_millionths BETWEEN 0 AND 1000000", name="feedback_score"),
        sa.PrimaryKeyConstraint("tenant_id", "request_id", "source"),
    )
    op.create_table(
        "feedback_days",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_class", sa.Text(), nullable=False),
        sa.Column("ratings", sa.BigInteger(), nullable=False),
        sa.Column("score_millionths", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "model", "prompt_class"),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("feedback_days")
    op.drop_table("feedback")
    op.drop_table("policies")
