"""The policy documents in force, over the configuration's tiers, and the rules that they give a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.router.identity import Caller
from enginehouse.router.policy._document import PolicyDocument
from enginehouse.router.policy._rules import BanditSettings, PolicyRules
from enginehouse.router.policy._tiers import TierSettings

DEFAULT = "default"
"""The name of the document for tenants without one of their own."""


class Policy:
    """The policy documents in force. Without any, the configuration's tiers apply alone.

    Args:
        tiers: the configuration's tiers.
        ancestors: returns the ids of the keys that a caller's key was made with, nearest first. Their rules apply to
            it too.
    """

    def __init__(
        self, *, tiers: Mapping[str, TierSettings], ancestors: Callable[[Caller], Sequence[str]] = lambda _: ()
    ) -> None:
        self._tiers = dict(tiers)
        self._ancestors = ancestors
        self._base = {
            name: PolicyRules(
                policy=DEFAULT,
                version=0,
                layers=(f"configuration.tiers.{name}",),
                quality_floor=tier.quality_floor,
                quality_ceiling=tier.quality_ceiling,
                models=frozenset(tier.models),
                models_by=f"configuration.tiers.{name}.models",
            )
            for name, tier in tiers.items()
        }
        self._default = PolicyDocument(policy_pb2.Policy(name=DEFAULT), tiers=self._base)
        self._by_tenant: dict[str, PolicyDocument] = {}
        self._messages: list[policy_pb2.Policy] = []
        self.half_lives: frozenset[float] = frozenset()
        """The half-lives, in days, of the feedback that documents in force learn from."""

    @property
    def tiers(self) -> tuple[str, ...]:
        """The names of the tiers."""
        return tuple(self._tiers)

    def base(self) -> Mapping[str, PolicyRules]:
        """Return the configuration's rules, by tier."""
        return self._base

    def configured(self) -> policy_pb2.Policy:
        """Return the configuration's rules as a document of version 0."""
        document = policy_pb2.Policy(name=DEFAULT, description="the configuration's tiers")
        for name, tier in self._tiers.items():
            rules = policy_pb2.Rules(
                quality_floor=tier.quality_floor, quality_ceiling=tier.quality_ceiling, models=tier.models
            )
            document.tiers.add(tier=name, rules=rules)
        return document

    def replace(self, documents: Iterable[policy_pb2.Policy]) -> None:
        """Take the documents in force, all at once."""
        messages = list(documents)
        if messages == self._messages:
            # Keep the rules that were computed from them.
            return
        default = policy_pb2.Policy(name=DEFAULT)
        by_tenant = {}
        for message in messages:
            if message.name == DEFAULT:
                default = message
            else:
                by_tenant.update(dict.fromkeys(message.tenants, PolicyDocument(message, tiers=self._base)))
        self._default, self._by_tenant = PolicyDocument(default, tiers=self._base), by_tenant
        self._messages = messages
        self.half_lives = frozenset(
            BanditSettings.of(message.bandit).half_life_days for message in messages if message.bandit.enabled
        )

    def tier(self, caller: Caller) -> TierSettings:
        """Return the tier of the caller's tenant; `free` if the configuration no longer has that tier."""
        return self._tiers.get(caller.tenant.tier) or self._tiers["free"]

    def rules(self, caller: Caller, *, task: str = "", subject: str = "") -> PolicyRules:
        """Return the rules of a caller's request for a task and a subject, either of which may be empty."""
        tier = caller.tenant.tier
        return self._document(caller).rules(
            tier=tier if tier in self._base else "free",
            key_ids=(caller.key.key_id, *self._ancestors(caller)) if caller.key.parent_id else (caller.key.key_id,),
            task=task,
            subject=subject,
        )

    def subject_of(self, caller: Caller, texts: Sequence[str]) -> str:
        """Return the subject whose keywords a prompt has; empty if there is none."""
        return self._document(caller).subject_of(texts)

    def allows(self, caller: Caller, model: CatalogModel) -> bool:
        """Return whether the caller's key, tier and policy allow the model for some task."""
        key_models = caller.key.allowed_models
        return not (key_models and model.name not in key_models) and not self.rules(caller).rejection_reason(model)

    def _document(self, caller: Caller) -> PolicyDocument:
        return self._by_tenant.get(caller.tenant.tenant_id) or self._default
