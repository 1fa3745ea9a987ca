"""The price book: the price and the discount that apply at a moment. In memory, with no I/O.

A price applies from its start until the next price of the same model and unit starts, so ranges cannot overlap. A price
without an amount restores the catalog's. Discounts work the same way, by subject and model. Of several that apply, only
the most specific counts: key before tenant before tier, and for the same subject a model's own before one for all
models.
"""

from __future__ import annotations

import bisect
import dataclasses
import enum
from collections.abc import Iterable, Mapping

from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.pricing import Unit
from enginehouse.router.identity import Caller
from enginehouse.router.prices._offer import Offer

_NEVER = 2**63 - 1
# The most combinations of discounts whose offers are kept; beyond it all are dropped and made again.
_MAX_LISTS = 10_000


class DiscountScope(enum.StrEnum):
    """The kinds of subjects that a discount is for, the most specific first."""

    KEY = "key"
    TENANT = "tenant"
    TIER = "tier"


_KEY, _TENANT, _TIER = DiscountScope.KEY.value, DiscountScope.TENANT.value, DiscountScope.TIER.value


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ListPrice:
    """Nano-dollars for a million of a unit of a model, from a time on; None restores the catalog's price."""

    price_id: str
    model: str
    unit: Unit
    nanos_per_million: int | None
    from_ms: int
    created_at_ms: int
    created_by: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """Hundredths of a percent off, from a time on; None ends it. An empty model means every model."""

    discount_id: str
    subject: DiscountScope
    subject_id: str
    model: str
    basis_points: int | None
    from_ms: int
    created_at_ms: int
    created_by: str = ""


class Timeline:
    """Values, each with the time from which it applies."""

    def __init__(self, starts: Iterable[tuple[int, int | None]]) -> None:
        ordered = sorted(starts, key=lambda start: start[0])
        self._starts = [start for start, _ in ordered]
        self._values = [value for _, value in ordered]

    def at(self, now_ms: int) -> int | None:
        """Return the value at a moment; None before the first start, or if the entry that applies has no value."""
        place = bisect.bisect_right(self._starts, now_ms)
        return self._values[place - 1] if place else None

    def next_after(self, now_ms: int) -> int:
        """Return the time of the next start; far in the future if there is none."""
        place = bisect.bisect_right(self._starts, now_ms)
        return self._starts[place] if place < len(self._starts) else _NEVER

    def since(self, now_ms: int) -> int:
        """Return the time from which the present value applies."""
        place = bisect.bisect_right(self._starts, now_ms)
        return self._starts[place - 1] if place else -_NEVER


class PriceBook:
    """The prices that every caller pays at the moment to which the book was last advanced."""

    def __init__(self, *, catalog: Catalog) -> None:
        self._catalog = catalog
        self._prices: dict[tuple[str, Unit], Timeline] = {}
        self._discounts: dict[tuple[str, str, str], Timeline] = {}
        self._lists: dict[tuple[tuple[str, str], ...], dict[str, Offer]] = {}
        self._made: dict[tuple[str, int], Offer] = {}
        # The discounts that apply now: by subject, then by model.
        self._current: dict[tuple[str, str], dict[str, int]] = {}
        self._since = self._until = 0
        self.version = 0
        """A number that rises whenever an offer may have changed."""
        self._build(0)

    def replace(self, prices: Iterable[ListPrice], discounts: Iterable[Discount], *, now_ms: int) -> None:
        """Replace all prices and discounts, past and future, by those of the database."""
        starts: dict[tuple[str, Unit], list[tuple[int, int | None]]] = {}
        for price in prices:
            starts.setdefault((price.model, price.unit), []).append((price.from_ms, price.nanos_per_million))
        cuts: dict[tuple[str, str, str], list[tuple[int, int | None]]] = {}
        for cut in discounts:
            # Key by plain text, because members of an enumeration hash slowly.
            cuts.setdefault((cut.subject.value, cut.subject_id, cut.model), []).append((cut.from_ms, cut.basis_points))
        self._prices = {key: Timeline(found) for key, found in starts.items()}
        self._discounts = {key: Timeline(found) for key, found in cuts.items()}
        self._build(now_ms)

    def advance(self, now_ms: int) -> None:
        """Advance to a moment, also an earlier one. Costs a comparison unless a price or discount starts in between."""
        if not self._since <= now_ms < self._until:
            self._build(now_ms)

    def offers_for(self, caller: Caller) -> Mapping[str, Offer]:
        """Return the caller's present offer of every model, by the model's name."""
        current = self._current
        if not current:
            return self._lists[()]
        tenant = caller.tenant
        subjects = ((_KEY, caller.key.key_id), (_TENANT, tenant.tenant_id), (_TIER, tenant.tier))
        named = tuple([subject for subject in subjects if subject in current])
        found = self._lists.get(named)
        if found is None:
            if len(self._lists) >= _MAX_LISTS:
                self._lists = {(): self._lists[()]}
            cuts = [current[subject] for subject in named]
            found = self._lists[named] = {
                model.name: self._offer(model, _cut(model.name, cuts)) for model in self._catalog.models
            }
        return found

    def listed(self, model: CatalogModel) -> Mapping[Unit, int]:
        """Return a model's present prices before any discount."""
        return self._lists[()][model.name].prices

    def list_price_at(self, model: CatalogModel, unit: Unit, now_ms: int) -> int:
        """Return a unit's price at any moment before any discount; 0 if it is free."""
        timeline = self._prices.get((model.name, unit))
        price = None if timeline is None else timeline.at(now_ms)
        return model.prices.get(unit, 0) if price is None else price

    def _build(self, now_ms: int) -> None:
        timelines = [*self._prices.values(), *self._discounts.values()]
        self._since = max((timeline.since(now_ms) for timeline in timelines), default=-_NEVER)
        self._until = min((timeline.next_after(now_ms) for timeline in timelines), default=_NEVER)
        self._current = {}
        for (subject, subject_id, model), timeline in self._discounts.items():
            basis_points = timeline.at(now_ms)
            if basis_points is not None:
                self._current.setdefault((subject, subject_id), {})[model] = basis_points
        listed = {model.name: dict(model.prices) for model in self._catalog.models}
        for (name, unit), timeline in self._prices.items():
            price = timeline.at(now_ms)
            # A model may have been removed from the catalog since its price was set.
            if price is not None and name in listed:
                listed[name][unit] = price
        self._made = {}
        self._lists = {(): {model.name: Offer.of(model, listed[model.name]) for model in self._catalog.models}}
        self.version += 1

    def _offer(self, model: CatalogModel, basis_points: int) -> Offer:
        plain = self._lists[()][model.name]
        if not basis_points:
            return plain
        made = self._made.get((model.name, basis_points))
        if made is None:
            made = self._made[model.name, basis_points] = Offer.of(model, plain.prices, basis_points=basis_points)
        return made


def _cut(model: str, cuts: Iterable[Mapping[str, int]]) -> int:
    for cut in cuts:
        found = cut.get(model, cut.get(""))
        if found is not None:
            return found
    return 0
