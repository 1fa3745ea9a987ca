"""Names for ids: keys, users, tenants, budgets and whatever else has an id can be given by name or by its beginning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import grpc

from enginehouse.cli.values import shorten
from enginehouse.client import Enginehouse
from enginehouse.client.errors import NotFound, PermissionDenied
from enginehouse.kit.nearest import did_you_mean

R = TypeVar("R")

# Fewer letters are a slip, not an abbreviation.
_MIN_PREFIX = 3
_MAX_LISTED = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """A thing that has an id.

    Attributes:
        id: the id that services know it by.
        name: its name; empty if it has none.
        about: more for people who must choose between two of one name.
        aliases: further texts that mean it.
    """

    id: str
    name: str = ""
    about: str = ""
    aliases: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class NamedKind:
    """A kind of thing.

    Attributes:
        what: its name in messages, such as "key".
        prefix: the beginning of its ids.
        command: the command that lists them.
        fetch: lists all of them.
        prefixes: the beginnings of its ids, where there are several.
    """

    what: str
    prefix: str
    command: str
    fetch: Callable[[Enginehouse], Iterable[Named]]
    prefixes: tuple[str, ...] = ()

    def call(self, mesh: Enginehouse, given: str, call: Callable[[str], R]) -> R:
        """Make a call with an id, which may be given as a name or as the id's beginning.

        What looks like an id is tried as it is first: most are whole, and listing everything is not needed for them.

        Raises:
            NotFound: there is no such thing, or several are meant; the message lists them.
        """
        if given.startswith(self.prefix):
            try:
                return call(given)
            except NotFound:
                pass
        return call(self.find(mesh, given))

    def find(self, mesh: Enginehouse, given: str) -> str:
        """Return the id that is meant by an id, its beginning, or a name.

        Raises:
            NotFound: as `call` does.
        """
        return self.choose(given, list(self.fetch(mesh))).id

    def find_if_allowed(self, mesh: Enginehouse, given: str) -> str:
        """Return the id that is meant; what was given, where the caller may not list the kind and the mesh decides."""
        if not given:
            return ""
        try:
            return self.find(mesh, given)
        except PermissionDenied:
            return given

    def choose(self, given: str, known: list[Named]) -> Named:
        """Return the one that is meant among those that are known. Raises NotFound as `call` does."""
        for match in (
            [thing for thing in known if given == thing.id],
            [thing for thing in known if given == thing.name or given in thing.aliases],
            [thing for thing in known if self._begins(given, thing)],
        ):
            if len(match) == 1:
                return match[0]
            if match:
                shown = ", ".join(_described(thing) for thing in match[:_MAX_LISTED])
                more = f" and {len(match) - _MAX_LISTED} more" if len(match) > _MAX_LISTED else ""
                raise _absent(f"several {self.what}s are meant by {shorten(given)}: {shown}{more}; give one's id")
        verb = "list" if " and " in self.command else "lists"
        near = did_you_mean(given, {text for thing in known for text in (thing.id, thing.name) if text}, count=3)
        raise _absent(f"no {self.what} {shorten(given)}{near}; `enginehouse {self.command}` {verb} them")

    def _begins(self, given: str, thing: Named) -> bool:
        for prefix in filter(None, (self.prefix, *self.prefixes)):
            bare = given.removeprefix(prefix)
            if len(bare) >= _MIN_PREFIX and thing.id.startswith(f"{prefix}{bare}"):
                return True
        return False


def _described(thing: Named) -> str:
    about = ", ".join(filter(None, (thing.name, thing.about)))
    return f"{thing.id} ({about})" if about else thing.id


def _absent(message: str) -> NotFound:
    return NotFound(message, code=grpc.StatusCode.NOT_FOUND, reason="NOT_FOUND")


def _keys(mesh: Enginehouse) -> Iterable[Named]:
    for key in mesh.admin.list_keys():
        state = "revoked" if key.revoked_at_ms else ""
        yield Named(key.key_id, key.name, ", ".join(filter(None, (key.hint, state))), (key.hint,) if key.hint else ())


def _users(mesh: Enginehouse) -> Iterable[Named]:
    for user in mesh.identity.list_users():
        yield Named(user.user_id, user.name, user.tenant_id)


def _tenants(mesh: Enginehouse) -> Iterable[Named]:
    for tenant in mesh.admin.list_tenants():
        yield Named(tenant.tenant_id, tenant.name, tenant.tier)


def _tiers(mesh: Enginehouse) -> Iterable[Named]:
    return [
        Named(tier) for tier in {"free", "starter", "pro", "enterprise", *(thing.about for thing in _tenants(mesh))}
    ]


def _budgets(mesh: Enginehouse) -> Iterable[Named]:
    names = {key.id: key.name for key in _keys(mesh)}
    for budget in mesh.admin.list_budgets():
        of = budget.scope_id
        also = (of.rpartition("/")[2], *filter(None, [names.get(of, "")]))
        yield Named(budget.budget_id, of, ", ".join(also[1:]), also)


def _experiments(mesh: Enginehouse) -> Iterable[Named]:
    for experiment in mesh.experiments.list_experiments():
        yield Named(experiment.experiment_id, experiment.name, experiment.asked_model)


def _rollouts(mesh: Enginehouse) -> Iterable[Named]:
    for rollout in mesh.experiments.list_rollouts():
        yield Named(rollout.rollout_id, rollout.asked_model, f"to {rollout.to_model}")


def _prices(mesh: Enginehouse) -> Iterable[Named]:
    return [Named(price.price_id, price.model) for price in mesh.billing.list_prices() if price.price_id]


def _discounts(mesh: Enginehouse) -> Iterable[Named]:
    return [Named(discount.discount_id, discount.subject_id) for discount in mesh.billing.list_discounts()]


def _policies(mesh: Enginehouse) -> Iterable[Named]:
    return [Named(policy.name) for policy in mesh.policies.list()]


def _flags(mesh: Enginehouse) -> Iterable[Named]:
    return [Named(flag.name) for flag in mesh.experiments.list_flags()]


def _voices(mesh: Enginehouse) -> Iterable[Named]:
    return [Named(voice.voice_id, voice.name) for voice in mesh.voices(cloned=True)]


def list_of(mesh: Enginehouse, of: str, fetch: Callable[[str], list[R]], *, kinds: Sequence[NamedKind]) -> list[R]:
    """Return what belongs to a tenant, key or user that is given by id or by name; all without one.

    Where nothing belongs to the text as it is, it may be a name or the beginning of an id.

    Raises:
        NotFound: there is no such tenant, key or user.
    """
    found = fetch(of)
    if found or not of:
        return found
    chosen = any_of(kinds).find_if_allowed(mesh, of)
    return found if chosen == of else fetch(chosen)


def any_of(kinds: Sequence[NamedKind]) -> NamedKind:
    """Return the kind of whatever is of one of these kinds; those that the caller may not list are left out."""

    def fetch(mesh: Enginehouse) -> Iterable[Named]:
        known: dict[str, Named] = {}
        denied: PermissionDenied | None = None
        for kind in kinds:
            try:
                known.update((thing.id, thing) for thing in kind.fetch(mesh))
            except PermissionDenied as error:
                denied = error
        if denied is not None and not known:
            raise denied
        return known.values()

    commands = "` and `enginehouse ".join(dict.fromkeys(kind.command for kind in kinds))
    return NamedKind(
        " or ".join(kind.what for kind in kinds), "", commands, fetch, tuple(kind.prefix for kind in kinds)
    )


def tenant_id(mesh: Enginehouse, given: str) -> str:
    """Return the id of a tenant that is given by id or name; what was given, where the mesh must decide."""
    return given if given.startswith(TENANTS.prefix) else TENANTS.find_if_allowed(mesh, given)


def user_name(mesh: Enginehouse, given: str) -> str:
    """Return the name of a user that is given by id; any other text is a name already."""
    if not given.startswith(USERS.prefix):
        return given
    return USERS.choose(given, list(USERS.fetch(mesh))).name


def _models(mesh: Enginehouse) -> Iterable[Named]:
    return [Named(model.name) for model in mesh.admin.list_models()]


KEYS = NamedKind("key", "key_", "keys list", _keys)
USERS = NamedKind("user", "user_", "users list", _users)
USERS_BY_NAME = NamedKind("user", "", "users list", lambda mesh: [Named(user.name, user.id) for user in _users(mesh)])
TENANTS = NamedKind("tenant", "ten_", "tenants list", _tenants)
TIERS = NamedKind("tier", "", "tenants list", _tiers)
BUDGETS = NamedKind("budget", "bud_", "budgets list", _budgets)
EXPERIMENTS = NamedKind("experiment", "exp_", "experiments list", _experiments)
ROLLOUTS = NamedKind("rollout", "rol_", "rollouts list", _rollouts)
PRICES = NamedKind("price", "prc_", "prices list --all", _prices)
DISCOUNTS = NamedKind("discount", "dis_", "discounts list --all", _discounts)
# These have names alone: what was given is one.
POLICIES = NamedKind("policy", "", "policies list", _policies)
FLAGS = NamedKind("flag", "", "flags list", _flags)
MODELS = NamedKind("model", "", "models list", _models)
VOICES = NamedKind("voice of your own", "voc_", "voices --mine", _voices)
