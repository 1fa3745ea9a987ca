"""Prices in time, discounts, caps and alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and the caps of keys and the percentages of budgets."""
    op.create_table(
        "prices",
        sa.Column("ordinal", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("nanos_per_million", sa.BigInteger(), nullable=True),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.CheckConstraint("nanos_per_million BETWEEN 0 AND 9223372036854", name="prices_in_range"),
        sa.PrimaryKeyConstraint("price_id"),
        sa.UniqueConstraint("ordinal"),
        sa.UniqueConstraint("model", "unit", "from_ms", name="prices_one_start"),
    )
    op.create_table(
        "discounts",
        sa.Column("ordinal", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("discount_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("basis_points", sa.Integer(), nullable=True),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.CheckConstraint("basis_points BETWEEN 0 AND 10000", name="discounts_in_range"),
        sa.CheckConstraint("subject IN ('key', 'tenant', 'tier')", name="discounts_subject"),
        sa.PrimaryKeyConstraint("discount_id"),
        sa.UniqueConstraint("ordinal"),
        sa.UniqueConstraint("subject", "subject_id", "model", "from_ms", name="discounts_one_start"),
    )
    op.create_table(
        "budget_alerts",
        sa.Column("ordinal", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("budget_id", sa.Text(), nullable=False),
        sa.Column("window_start_ms", sa.BigInteger(), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=False),
        sa.Column("settled_nanos", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("raised_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("delivery", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("cause IN ('spend', 'refusal')", name="budget_alerts_cause"),
        sa.CheckConstraint("delivery IN ('pending', 'delivered', 'failed', 'kept')", name="budget_alerts_delivery"),
        sa.ForeignKeyConstraint(["budget_id"], ["budgets.budget_id"]),
        sa.PrimaryKeyConstraint("alert_id"),
        sa.UniqueConstraint("ordinal"),
        sa.UniqueConstraint("budget_id", "window_start_ms", "percent", name="budget_alerts_once"),
    )
    op.create_index(
        "budget_alerts_due",
        "budget_alerts",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("delivery = 'pending'"),
    )
    op.add_column(
        "budgets",
        sa.Column(
            "alert_percents",
            postgresql.ARRAY(sa.Integer()),
            server_default=sa.text("'{50,80,100}'"),
            nullable=False,
        ),
    )
    op.add_column("budgets", sa.Column("automatic", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("usage_by_time", "usage", ["settled_at_ms"], unique=False)
    op.add_column("api_keys", sa.Column("max_request_nanos", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("api_keys", sa.Column("run_cap_nanos", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("api_keys", "run_cap_nanos")
    op.drop_column("api_keys", "max_request_nanos")
    op.drop_index("usage_by_time", table_name="usage")
    op.drop_column("budgets", "automatic")
    op.drop_column("budgets", "alert_percents")
    op.drop_index("budget_alerts_due", table_name="budget_alerts")
    op.drop_table("budget_alerts")
    op.drop_table("discounts")
    op.drop_table("prices")
