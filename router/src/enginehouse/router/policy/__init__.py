"""Policies as data: which models a request may go to, how good the answer must be, and what to fall back to.

Knows documents and rules; nothing of engines, prices or money, which `decide` brings together with them.
"""

from enginehouse.router.policy._check import problems
from enginehouse.router.policy._policy import DEFAULT, Policy
from enginehouse.router.policy._route import checked_route, policy_tasks, read_route, tasks_of
from enginehouse.router.policy._rules import BanditTerms, Chain, PolicyRules
from enginehouse.router.policy._store import POLICIES_CHANNEL, PolicyStore
from enginehouse.router.policy._tiers import TierSettings

__all__ = [
    "DEFAULT",
    "POLICIES_CHANNEL",
    "BanditTerms",
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
