"""The first tables: tenants, keys, budgets, leases, the journal, usage."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "engines",
        sa.Column("engine_id", sa.Text(), nullable=False),
        sa.Column("watermark_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("engine_time_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("live_at_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("engine_id"),
    )
    op.create_table(
        "replicas",
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("renewed_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dead_at_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("state IN ('live', 'dead', 'released')", name="replicas_state"),
        sa.PrimaryKeyConstraint("replica_id"),
    )
    op.create_table(
        "reservations",
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("grant_bytes", sa.LargeBinary(), nullable=False),
        sa.Column("cap_nanos", sa.BigInteger(), nullable=False),
        sa.Column("billed_nanos", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("issued_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'settled', 'lapsed', 'assumed')", name="reservations_state"),
        sa.CheckConstraint("billed_nanos BETWEEN 0 AND cap_nanos", name="reservations_within_cap"),
        sa.PrimaryKeyConstraint("grant_id"),
    )
    op.create_index(
        "reservations_unsettled",
        "reservations",
        ["issued_at_ms"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'assumed')"),
    )
    op.create_table(
        "tenants",
        sa.Column("ordinal", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("ordinal"),
    )
    op.create_table(
        "usage",
        sa.Column("ordinal", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("engine_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("characters", sa.BigInteger(), nullable=False),
        sa.Column("audio_milliseconds", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("video_milliseconds", sa.BigInteger(), nullable=False),
        sa.Column("gpu_milliseconds", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.Column("ours_nanos", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("time_to_first_token_ms", sa.Integer(), nullable=False),
        sa.Column("settled_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('report', 'assumed', 'correction')", name="usage_kind"),
        sa.PrimaryKeyConstraint("ordinal"),
        sa.UniqueConstraint("grant_id", "engine_id", "kind", name="usage_once"),
    )
    op.create_index(op.f("ix_usage_request_id"), "usage", ["request_id"], unique=False)
    op.create_index("usage_by_key", "usage", ["key_id", "settled_at_ms"], unique=False)
    op.create_index("usage_by_tenant", "usage", ["tenant_id", "settled_at_ms"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("ordinal", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("allowed_models", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=False),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("ordinal"),
    )
    op.create_index(op.f("ix_api_keys_tenant_id"), "api_keys", ["tenant_id"], unique=False)
    op.create_table(
        "budgets",
        sa.Column("ordinal", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("budget_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("period IN ('lifetime', 'day', 'month')", name="budgets_period"),
        sa.CheckConstraint("scope IN ('tenant', 'key', 'user', 'run')", name="budgets_scope"),
        sa.CheckConstraint("limit_nanos >= 0", name="budgets_limit"),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("budget_id"),
        sa.UniqueConstraint("ordinal"),
    )
    op.create_index(
        "budgets_one_live",
        "budgets",
        ["scope", "scope_id", "period"],
        unique=True,
        postgresql_where=sa.text("deleted_at_ms = 0"),
    )
    op.create_index(op.f("ix_budgets_tenant_id"), "budgets", ["tenant_id"], unique=False)
    op.create_table(
        "budget_windows",
        sa.Column("budget_id", sa.Text(), nullable=False),
        sa.Column("window_start_ms", sa.BigInteger(), nullable=False),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=False),
        sa.Column("settled_nanos", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("leased_nanos", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("settled_nanos <= limit_nanos - leased_nanos", name="budget_windows_never_over"),
        sa.CheckConstraint("settled_nanos >= 0 AND leased_nanos >= 0", name="budget_windows_signs"),
        sa.ForeignKeyConstraint(
            ["budget_id"],
            ["budgets.budget_id"],
        ),
        sa.PrimaryKeyConstraint("budget_id", "window_start_ms"),
    )
    op.create_table(
        "leases",
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("budget_id", sa.Text(), nullable=False),
        sa.Column("window_start_ms", sa.BigInteger(), nullable=False),
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("remaining_nanos", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("remaining_nanos >= 0", name="leases_never_over"),
        sa.ForeignKeyConstraint(
            ["budget_id", "window_start_ms"],
            ["budget_windows.budget_id", "budget_windows.window_start_ms"],
        ),
        sa.ForeignKeyConstraint(
            ["replica_id"],
            ["replicas.replica_id"],
        ),
        sa.PrimaryKeyConstraint("lease_id"),
    )
    op.create_index(op.f("ix_leases_replica_id"), "leases", ["replica_id"], unique=False)


def downgrade() -> None:
    """Drop every table."""
    op.drop_index(op.f("ix_leases_replica_id"), table_name="leases")
    op.drop_table("leases")
    op.drop_table("budget_windows")
    op.drop_index(op.f("ix_budgets_tenant_id"), table_name="budgets")
    op.drop_index("budgets_one_live", table_name="budgets", postgresql_where=sa.text("deleted_at_ms = 0"))
    op.drop_table("budgets")
    op.drop_index(op.f("ix_api_keys_tenant_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index("usage_by_tenant", table_name="usage")
    op.drop_index("usage_by_key", table_name="usage")
    op.drop_index(op.f("ix_usage_request_id"), table_name="usage")
    op.drop_table("usage")
    op.drop_table("tenants")
    op.drop_index(
        "reservations_unsettled", table_name="reservations", postgresql_where=sa.text("state IN ('open', 'assumed')")
    )
    op.drop_table("reservations")
    op.drop_table("replicas")
    op.drop_table("engines")
