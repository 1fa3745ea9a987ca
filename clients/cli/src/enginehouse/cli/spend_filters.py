"""The filters of `spend`, by name or id: whose spend, on what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from enginehouse.cli.names import KEYS, TENANTS, USERS, Named, NamedKind
from enginehouse.client import Enginehouse


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpendFilters:
    """The filters of one query; an empty one lets everything through."""

    key_id: str
    tenant_id: str
    user_id: str
    run_id: str
    model: str
    service: str

    def resolved(self, mesh: Enginehouse) -> SpendFilters:
        """Return the filters with ids for names, for a query that found nothing.

        Users, runs, models and services are known by what they spent at any time, besides those that exist now.

        Raises:
            NotFound: a filter names nothing that is known.
        """
        return SpendFilters(
            key_id=KEYS.find_if_allowed(mesh, self.key_id),
            tenant_id=TENANTS.find_if_allowed(mesh, self.tenant_id),
            user_id=_USERS.find_if_allowed(mesh, self.user_id),
            run_id=_RUNS.find_if_allowed(mesh, self.run_id),
            model=_MODELS.find_if_allowed(mesh, self.model),
            service=_SERVICES.find_if_allowed(mesh, self.service),
        )


def _users(mesh: Enginehouse) -> Iterable[Named]:
    known = {group: Named(group) for group in _groups(mesh, "user")}
    known.update((user.name, Named(user.name, user.id)) for user in USERS.fetch(mesh))
    return known.values()


def _runs(mesh: Enginehouse) -> Iterable[Named]:
    known = {*_groups(mesh, "run"), *(key.run_id for key in mesh.admin.list_keys() if key.run_id)}
    return [Named(run) for run in known]


def _models(mesh: Enginehouse) -> Iterable[Named]:
    known = {*_groups(mesh, "model"), *(model.name for model in mesh.admin.list_models())}
    return [Named(model) for model in known]


def _services(mesh: Enginehouse) -> Iterable[Named]:
    known = {*_groups(mesh, "service"), *(model.cluster for model in mesh.admin.list_models())}
    return [Named(service) for service in known]


def _groups(mesh: Enginehouse, by: str) -> Iterable[str]:
    return [row.group for row in mesh.admin.spend(group_by=by).rows if row.group]


_USERS = NamedKind("user", "", "spend --by user", _users)
_RUNS = NamedKind("run", "", "spend --by run", _runs)
_MODELS = NamedKind("model", "", "models list", _models)
_SERVICES = NamedKind("kind of engine", "", "spend --by service", _services)
