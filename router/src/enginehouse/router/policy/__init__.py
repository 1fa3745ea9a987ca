"""Policies as data: the models that a request may use, the quality that it needs, and its fallbacks.

This package knows documents and rules. It knows nothing of engines, prices or money: `decide` combines them.
"""

from enginehouse.router.policy._check import problems
from enginehouse.router.policy._policy import DEFAULT, Policy
from enginehouse.router.policy._route import checked_route, policy_tasks, read_route, tasks_of
from enginehouse.router.policy._rules import BanditSettings, Chain, PolicyRules
from enginehouse.router.policy._store import POLICIES_CHANNEL, PolicyStore
from enginehouse.router.policy._tiers import TierSettings

__all__ = [
    "DEFAULT",
    "POLICIES_CHANNEL",
    "BanditSettings",
    "Chain",
    "Policy",
    "PolicyRules",
    "PolicyStore",
    "TierSettings",
    "checked_route",
    "policy_tasks",
    "problems",
    "read_route",
    "tasks_of",
]
