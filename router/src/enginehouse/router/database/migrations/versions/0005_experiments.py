"""Experiments, rollouts and flags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "experiments",
        sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
        sa.Column("experiment_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("asked_model", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("arms", pg.JSONB, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("automatic", sa.Boolean, nullable=False),
        sa.Column("min_units", sa.Integer, nullable=False),
        sa.Column("alpha_bp", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("winner", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('running', 'concluded', 'stopped')", name="experiments_state"),
    )
    op.create_index(
        "experiments_one_name", "experiments", ["name"], unique=True, postgresql_where=sa.text("state = 'running'")
    )
    op.create_table(
        "rollouts",
        sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
        sa.Column("rollout_id", sa.Text, primary_key=True),
        sa.Column("asked_model", sa.Text, nullable=False),
        sa.Column("from_model", sa.Text, nullable=False),
        sa.Column("to_model", sa.Text, nullable=False),
        sa.Column("steps", pg.ARRAY(sa.Integer), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("step_seconds", sa.Integer, nullable=False),
        sa.Column("step_requests", sa.Integer, nullable=False),
        sa.Column("guards", pg.JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("step_started_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('rolling', 'paused', 'done', 'rolled_back')", name="rollouts_state"),
    )
    op.create_index(
        "rollouts_one_under_way",
        "rollouts",
        ["asked_model"],
        unique=True,
        postgresql_where=sa.text("state IN ('rolling', 'paused')"),
    )
    op.create_table(
        "flags",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("share_bp", sa.Integer, nullable=False),
        sa.Column("tenant_ids", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("user_ids", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("share_bp BETWEEN 0 AND 10000", name="flags_share"),
    )
    op.create_table(
        "exposures",
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("grant_id", sa.Text, nullable=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("refusal", sa.Text, nullable=False),
        sa.Column("exposed_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "grant_id"),
    )
    op.create_index("exposures_by_time", "exposures", ["subject_id", "exposed_at_ms"])


def downgrade() -> None:
    """Drop them."""
    for table in ("exposures", "flags", "rollouts", "experiments"):
        op.drop_table(table)
