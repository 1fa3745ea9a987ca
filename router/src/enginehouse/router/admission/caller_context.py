"""The context of one caller, the same for all of its requests: who pays, what bounds it, what its grants hold."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.admission.cost_caps import lowest_cap, run_scopes
from enginehouse.router.identity import Caller, Key
from enginehouse.router.ledger import Payer, Scope
from enginehouse.router.limits import Allowance, Bounds, of_route, route_of
from enginehouse.router.policy import TierSettings
from enginehouse.router.prices import Offer

# Routes are as many as a caller likes to make up.
_MAX_ROUTES = 256


class CallerContext:
    """The context of one caller.

    Args:
        caller: the key, or the user that a token speaks for.
        ancestors: the keys that it was made with, nearest first; what bounds and pays for them does so for it.
        tier: its tenant's.
    """

    __slots__ = (
        "_ancestors",
        "_routes",
        "_tier",
        "caller",
        "key_ids",
        "keys",
        "lowest_cap",
        "may_infer",
        "payer",
        "prices_version",
        "principal",
        "templates",
    )

    def __init__(self, caller: Caller, *, ancestors: Sequence[Key], tier: TierSettings) -> None:
        key, tenant = caller.key, caller.tenant
        self.caller = caller
        self.may_infer = "inference" in key.scopes
        self.principal = grant_pb2.Principal(
            tenant_id=tenant.tenant_id,
            key_id=key.key_id,
            scopes=key.scopes,
            tier=tenant.tier,
            user_id=key.user_id,
            run_id=key.run_id,
        )
        self._ancestors = tuple(ancestors)
        # Whose caps hold: the key's and those of the keys that it was made with.
        self.keys = (key, *self._ancestors)
        self.key_ids = tuple(key.key_id for key in self.keys)
        self.lowest_cap = lowest_cap(self.keys)
        self._tier = tier
        self._routes: dict[str, tuple[Bounds, ...]] = {}
        self.payer = self.payer_of(self.principal)
        # Grants to spend nothing on, by method and offers; good for one version of the prices.
        self.templates: dict[tuple[str | Offer, ...], bytes] = {}
        self.prices_version = -1

    def payer_of(self, principal: grant_pb2.Principal) -> Payer:
        """Return the payer of a request: tenant, key with ancestors, and the user and run, which are the tenant's."""
        tenant_id = principal.tenant_id
        scopes: list[tuple[str, str]] = [(Scope.TENANT, tenant_id), (Scope.KEY, principal.key_id)]
        scopes += [(Scope.KEY, ancestor.key_id) for ancestor in self._ancestors]
        if principal.user_id:
            scopes.append((Scope.USER, f"{tenant_id}/{principal.user_id}"))
        if principal.run_id:
            scopes.append((Scope.RUN, f"{tenant_id}/{principal.run_id}"))
            scopes += run_scopes(self.keys, principal.run_id)
        return Payer(scopes)

    def bounds(self, method: str, user_id: str) -> Sequence[Bounds]:
        """Return every bound on a request: of key and ancestors, of the user, of the route, of the tenant."""
        found = self._routes.get(method)
        if found is None:
            if len(self._routes) >= _MAX_ROUTES:
                del self._routes[next(iter(self._routes))]
            found = self._routes[method] = self._of_method(method)
        if not user_id:
            return found
        of_user = self._of_user(user_id)
        return (*found, *of_user) if of_user else found

    def name(self, principal: grant_pb2.Principal, *, user_id: str, run_id: str) -> None:
        """Take the user and the run that the request names.

        Raises:
            ServiceError: SCOPE_DENIED when the key is bound to another.
        """
        key = self.caller.key
        if user_id and user_id != principal.user_id:
            if key.user_id:
                raise _bound(key, "user", key.user_id)
            principal.user_id = user_id
        if run_id and run_id != principal.run_id:
            if key.run_id:
                raise _bound(key, "run", key.run_id)
            principal.run_id = run_id

    def _of_method(self, method: str) -> tuple[Bounds, ...]:
        tenant, tier, route = self.caller.tenant, self._tier, route_of(method)
        found = []
        for key in (self.caller.key, *self._ancestors):
            found.append(Bounds(key.key_id, "key", key.requests_per_minute, key.tokens_per_minute, key.concurrency))
            found += [
                Bounds.of(f"{key.key_id} {name}", f"route {name} of key", allowance)
                for name, allowance in of_route(key.route_limits, route)
            ]
        found.append(
            Bounds(tenant.tenant_id, "tenant", tier.requests_per_minute, tier.tokens_per_minute, tier.concurrency)
        )
        found += [
            Bounds.of(f"{tenant.tenant_id} {name}", f"route {name} of tenant", allowance)
            for name, allowance in of_route(tier.route_allowances, route)
        ]
        return tuple(bounds for bounds in found if bounds.bounds_anything)

    def _of_user(self, user_id: str) -> list[Bounds]:
        found: list[tuple[str, Allowance]] = [
            (f"{key.key_id}/{user_id}", key.user_limits)
            for key in (self.caller.key, *self._ancestors)
            if key.user_limits
        ]
        if self._tier.user_allowance:
            found.append((f"{self.caller.tenant.tenant_id}/{user_id}", self._tier.user_allowance))
        return [Bounds.of(subject, "user", allowance) for subject, allowance in found]


def _bound(key: Key, what: str, name: str) -> ServiceError:
    return ServiceError(
        Reason.SCOPE_DENIED, f"the key {key.key_id} is bound to the {what} {name!r}; name no other, or leave it out"
    )
