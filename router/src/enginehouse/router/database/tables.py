"""The tables. Money is BIGINT nano-dollars, time is BIGINT milliseconds since 1970 UTC, ids are text.

The CHECK constraints are the last line of the ledger's promise: whatever the code above them does, PostgreSQL
refuses a transaction that would overspend a budget.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from enginehouse.kit.pricing import UNIT_NAMES, Unit

metadata = sa.MetaData()

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("tenant_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.tenant_id"), nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("scopes", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("allowed_models", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("requests_per_minute", sa.Integer, nullable=False),
    sa.Column("tokens_per_minute", sa.Integer, nullable=False),
    sa.Column("concurrency", sa.Integer, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_at_ms", sa.BigInteger, nullable=False),
    sa.Column("max_request_nanos", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("run_cap_nanos", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("user_id", sa.Text, nullable=False, server_default=""),
    sa.Column("run_id", sa.Text, nullable=False, server_default=""),
    # The key or user that made it and with which it is revoked.
    sa.Column("parent_id", sa.Text, nullable=False, server_default=""),
    sa.Column("rotated_at_ms", sa.BigInteger, nullable=False, server_default="0"),
    # What the secret before hashes to; it works until `previous_until_ms`.
    sa.Column("previous_digest", sa.LargeBinary),
    sa.Column("previous_until_ms", sa.BigInteger, nullable=False, server_default="0"),
    # {"user": {...}, "routes": {"Service/Method": {...}}}, as `KeyLimits` reads it.
    sa.Column("more_limits", pg.JSONB, nullable=False, server_default="{}"),
    sa.UniqueConstraint("previous_digest", name="api_keys_previous_digest"),
    sa.Index("api_keys_children", "parent_id", postgresql_where=sa.text("parent_id <> ''")),
)

budgets = sa.Table(
    "budgets",
    metadata,
    sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("budget_id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.tenant_id"), nullable=False, index=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("scope_id", sa.Text, nullable=False),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("limit_nanos", sa.BigInteger, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("deleted_at_ms", sa.BigInteger, nullable=False),
    sa.Column("alert_percents", pg.ARRAY(sa.Integer), nullable=False, server_default="{50,80,100}"),
    # Made for a run by its key's cap. There is one for each run, so replicas hold them only while they are used.
    sa.Column("automatic", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("limit_nanos >= 0", name="budgets_limit"),
    sa.CheckConstraint("scope IN ('tenant', 'key', 'user', 'run')", name="budgets_scope"),
    sa.CheckConstraint("period IN ('lifetime', 'day', 'month')", name="budgets_period"),
    sa.Index(
        "budgets_one_live",
        "scope",
        "scope_id",
        "period",
        unique=True,
        postgresql_where=sa.text("deleted_at_ms = 0"),
    ),
)

# A budget in one window. The lifetime window starts at 0.
budget_windows = sa.Table(
    "budget_windows",
    metadata,
    sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), primary_key=True),
    sa.Column("window_start_ms", sa.BigInteger, primary_key=True),
    sa.Column("limit_nanos", sa.BigInteger, nullable=False),
    sa.Column("settled_nanos", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("leased_nanos", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("settled_nanos >= 0 AND leased_nanos >= 0", name="budget_windows_signs"),
    # A difference, since a sum of two large amounts could overflow before it is compared.
    sa.CheckConstraint("settled_nanos <= limit_nanos - leased_nanos", name="budget_windows_never_over"),
)

# A router process, from its start to its death. Its leases live as long as its registration is renewed.
replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("replica_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("started_at_ms", sa.BigInteger, nullable=False),
    sa.Column("renewed_until", sa.DateTime(timezone=True), nullable=False),
    sa.Column("dead_at_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("state IN ('live', 'dead', 'released')", name="replicas_state"),
)

# What a replica holds of one budget in one window. `remaining_nanos` is what the window counts as leased for it:
# free money and the caps of open reservations together. `version` rises with every change, so that the holder can
# apply what it learns in any order.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("lease_id", sa.Text, primary_key=True),
    sa.Column("budget_id", sa.Text, nullable=False),
    sa.Column("window_start_ms", sa.BigInteger, nullable=False),
    sa.Column("replica_id", sa.Text, sa.ForeignKey("replicas.replica_id"), nullable=False, index=True),
    sa.Column("remaining_nanos", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.ForeignKeyConstraint(
        ["budget_id", "window_start_ms"], ["budget_windows.budget_id", "budget_windows.window_start_ms"]
    ),
    sa.CheckConstraint("remaining_nanos >= 0", name="leases_never_over"),
)

# The journal of reservations, one row a grant. `grant_bytes` is the Grant message: whatever is needed to settle it.
reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("grant_id", sa.Text, primary_key=True),
    sa.Column("replica_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("grant_bytes", sa.LargeBinary, nullable=False),
    sa.Column("cap_nanos", sa.BigInteger, nullable=False),
    sa.Column("billed_nanos", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("issued_at_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("state IN ('open', 'settled', 'lapsed', 'assumed')", name="reservations_state"),
    sa.CheckConstraint("billed_nanos BETWEEN 0 AND cap_nanos", name="reservations_within_cap"),
    # The sweep for lapses reads these alone, and the journal keeps many times as many that are done with.
    sa.Index("reservations_unsettled", "issued_at_ms", postgresql_where=sa.text("state IN ('open', 'assumed')")),
)

# What each engine reported for each grant, and what was billed for it. A lapse that assumes the cap is a row with an
# empty engine; its correction is another with the opposite sign. Billed spend is the sum of all rows.
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("grant_id", sa.Text, nullable=False),
    sa.Column("engine_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False, index=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_input_tokens", sa.BigInteger, nullable=False),
    sa.Column("characters", sa.BigInteger, nullable=False),
    sa.Column("audio_milliseconds", sa.BigInteger, nullable=False),
    sa.Column("images", sa.BigInteger, nullable=False),
    sa.Column("video_milliseconds", sa.BigInteger, nullable=False),
    sa.Column("gpu_milliseconds", sa.BigInteger, nullable=False),
    # Amounts of every other unit, by name. A new unit needs no column.
    sa.Column("other_units", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("cost_nanos", sa.BigInteger, nullable=False),
    sa.Column("unbilled_nanos", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("started_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger, nullable=False),
    sa.Column("time_to_first_token_ms", sa.Integer, nullable=False),
    sa.Column("settled_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("kind IN ('report', 'assumed', 'correction')", name="usage_kind"),
    sa.UniqueConstraint("grant_id", "engine_id", "kind", name="usage_once"),
    sa.Index("usage_by_time", "settled_at_ms"),
    sa.Index("usage_by_tenant", "tenant_id", "settled_at_ms"),
    sa.Index("usage_by_key", "key_id", "settled_at_ms"),
)

UNIT_COLUMNS: Mapping[Unit, str] = {unit: name for unit, name in UNIT_NAMES.items() if name in usage.c}
"""The column of `usage` for each unit that has one."""

# Every engine that may hold a grant, how far it has reported, and when a router last saw it in the registry.
engines = sa.Table(
    "engines",
    metadata,
    sa.Column("engine_id", sa.Text, primary_key=True),
    sa.Column("watermark_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("engine_time_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("live_at_ms", sa.BigInteger, nullable=False, server_default="0"),
)

experiments = sa.Table(
    "experiments",
    metadata,
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
    sa.Index("experiments_one_name", "name", unique=True, postgresql_where=sa.text("state = 'running'")),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
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
    sa.Index(
        "rollouts_one_under_way",
        "asked_model",
        unique=True,
        postgresql_where=sa.text("state IN ('rolling', 'paused')"),
    ),
)

flags = sa.Table(
    "flags",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("share_bp", sa.Integer, nullable=False),
    sa.Column("tenant_ids", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("user_ids", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("share_bp BETWEEN 0 AND 10000", name="flags_share"),
)

# A request that fell into an arm of an experiment or to a model of a rollout. A refused one has a grant id that no
# engine ever saw.
exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("subject_id", sa.Text, primary_key=True),
    sa.Column("grant_id", sa.Text, primary_key=True),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("refusal", sa.Text, nullable=False),
    sa.Column("exposed_at_ms", sa.BigInteger, nullable=False),
    sa.Index("exposures_by_time", "subject_id", "exposed_at_ms"),
)

# What a unit of a model costs from a time on, over the catalog's price; without an amount the catalog's holds again.
# Rows are never changed, and taken back only before they begin.
prices = sa.Table(
    "prices",
    metadata,
    sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("price_id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("nanos_per_million", sa.BigInteger),
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.CheckConstraint("nanos_per_million BETWEEN 0 AND 9223372036854", name="prices_in_range"),
    sa.UniqueConstraint("model", "unit", "from_ms", name="prices_one_start"),
)

# What is taken off list prices from a time on; without basis points, nothing any more.
discounts = sa.Table(
    "discounts",
    metadata,
    sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("discount_id", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("subject_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("basis_points", sa.Integer),
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.CheckConstraint("basis_points BETWEEN 0 AND 10000", name="discounts_in_range"),
    sa.CheckConstraint("subject IN ('key', 'tenant', 'tier')", name="discounts_subject"),
    sa.UniqueConstraint("subject", "subject_id", "model", "from_ms", name="discounts_one_start"),
)

# A budget reached a percentage of its limit, once for each window; and how far the news has come. `due_at` is by
# PostgreSQL's clock, so that replicas agree on whose turn it is.
budget_alerts = sa.Table(
    "budget_alerts",
    metadata,
    sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("alert_id", sa.Text, primary_key=True),
    sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), nullable=False),
    sa.Column("window_start_ms", sa.BigInteger, nullable=False),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("limit_nanos", sa.BigInteger, nullable=False),
    sa.Column("settled_nanos", sa.BigInteger, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("raised_at_ms", sa.BigInteger, nullable=False),
    sa.Column("delivery", sa.Text, nullable=False, server_default="pending"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    sa.Column("delivered_at_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("cause IN ('spend', 'refusal')", name="budget_alerts_cause"),
    sa.CheckConstraint("delivery IN ('pending', 'delivered', 'failed', 'kept')", name="budget_alerts_delivery"),
    sa.UniqueConstraint("budget_id", "window_start_ms", "percent", name="budget_alerts_once"),
    sa.Index("budget_alerts_due", "due_at", postgresql_where=sa.text("delivery = 'pending'")),
)

# How often the answers under a tag were invalidated; an empty tenant stands for all, an empty tag for every answer.
cache_tags = sa.Table(
    "cache_tags",
    metadata,
    sa.Column("tenant_id", sa.Text, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("generation > 0", name="cache_tags_generation"),
)

# How a key's requests use the cache; numbers of `CacheMode` and `CacheClass`.
cache_policies = sa.Table(
    "cache_policies",
    metadata,
    sa.Column("key_id", sa.Text, sa.ForeignKey("api_keys.key_id"), primary_key=True),
    sa.Column("mode", sa.Integer, nullable=False),
    sa.Column("default_class", sa.Integer, nullable=False),
    sa.Column("semantic", sa.Boolean, nullable=False),
    sa.Column("semantic_threshold", sa.Float, nullable=False),
    sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("semantic_threshold BETWEEN 0 AND 1", name="cache_policies_threshold"),
)

# People, and programs that an identity provider vouches for. `name` is what the provider's user claim holds.
users = sa.Table(
    "users",
    metadata,
    sa.Column("ordinal", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.tenant_id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("disabled_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("role IN ('viewer', 'developer', 'admin', 'owner')", name="users_role"),
    sa.UniqueConstraint("tenant_id", "name", name="users_one_name"),
)

# Who changed what. A trigger refuses changes of entries, and each entry's seal covers the one before it, so that what
# a trigger cannot refuse can be seen.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("actor_tenant_id", sa.Text, nullable=False),
    sa.Column("actor_id", sa.Text, nullable=False),
    sa.Column("actor_user", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target_id", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("before_json", sa.Text, nullable=False),
    sa.Column("after_json", sa.Text, nullable=False),
    sa.Column("seal", sa.LargeBinary, nullable=False),
    sa.CheckConstraint("outcome IN ('done', 'denied', 'failed')", name="audit_log_outcome"),
    sa.Index("audit_log_by_tenant", "tenant_id", "sequence"),
)

# Every version of every policy document. The one with the greatest version is in force, unless it is a deletion.
policies = sa.Table(
    "policies",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("document", pg.JSONB, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
)

# Ratings of answers: one of each source for a request. Scores are whole millionths.
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("tenant_id", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("score_millionths", sa.Integer, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("prompt_class", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("recorded_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("score_millionths BETWEEN 0 AND 1000000", name="feedback_score"),
)

# Their sums a day, which is all that choosing a model reads.
feedback_days = sa.Table(
    "feedback_days",
    metadata,
    sa.Column("day", sa.Integer, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("prompt_class", sa.Text, primary_key=True),
    sa.Column("ratings", sa.BigInteger, nullable=False),
    sa.Column("score_millionths", sa.BigInteger, nullable=False),
)
