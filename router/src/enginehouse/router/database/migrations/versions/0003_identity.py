"""Users, rotated keys, keys of users and runs, and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEY_COLUMNS = ("user_id", "run_id", "parent_id")


def upgrade() -> None:
    """Add the tables, the columns of keys, and the rule that entries of the log stay."""
    op.create_table(
        "users",
        sa.Column("ordinal", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'developer', 'admin', 'owner')", name="users_role"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("user_id"),
        sa.UniqueConstraint("ordinal"),
        sa.UniqueConstraint("tenant_id", "name", name="users_one_name"),
    )
    for column in _KEY_COLUMNS:
        op.add_column("api_keys", sa.Column(column, sa.Text(), server_default="", nullable=False))
    op.add_column("api_keys", sa.Column("rotated_at_ms", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("api_keys", sa.Column("previous_digest", sa.LargeBinary(), nullable=True))
    op.add_column("api_keys", sa.Column("previous_until_ms", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("api_keys", sa.Column("more_limits", postgresql.JSONB(), server_default="{}", nullable=False))
    op.create_unique_constraint("api_keys_previous_digest", "api_keys", ["previous_digest"])
    op.create_index(
        "api_keys_children", "api_keys", ["parent_id"], unique=False, postgresql_where=sa.text("parent_id <> ''")
    )
    op.create_table(
        "audit_log",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("actor_tenant_id", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("actor_user", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("before_json", sa.Text(), nullable=False),
        sa.Column("after_json", sa.Text(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("outcome IN ('done', 'denied', 'failed')", name="audit_log_outcome"),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("audit_log_by_tenant", "audit_log", ["tenant_id", "sequence"], unique=False)
    op.execute(
        """
        CREATE FUNCTION audit_log_stays() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'entries of the audit log are neither changed nor removed' USING ERRCODE = '23001';
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER audit_log_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_log_stays()"
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("audit_log")
    op.execute("DROP FUNCTION audit_log_stays()")
    op.drop_index("api_keys_children", table_name="api_keys")
    op.drop_constraint("api_keys_previous_digest", "api_keys")
    for column in ("more_limits", "previous_until_ms", "previous_digest", "rotated_at_ms", *_KEY_COLUMNS):
        op.drop_column("api_keys", column)
    op.drop_table("users")
