"""The price book as administration sees it."""

from __future__ import annotations

from collections.abc import Iterable

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.router.v1 import prices_pb2
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS, PER_MILLION, UNIT_NAMES, Unit, unit_named
from enginehouse.kit.validation import Checks
from enginehouse.router.api.access import Administrator
from enginehouse.router.api.fields import check_id
from enginehouse.router.api.paging import page_size, page_start, page_token
from enginehouse.router.clock import Clock
from enginehouse.router.identity import KeyStore
from enginehouse.router.ids import new_id
from enginehouse.router.policy import Policy
from enginehouse.router.prices import (
    AlreadyBegun,
    Discount,
    DiscountScope,
    ListPrice,
    PriceRefresher,
    PriceStore,
    StartTaken,
)

# As in the catalog: a million million of a unit must still be priceable in 63 bits.
_MAX_PRICE = MAX_NANOS // PER_MILLION
_MAX_BASIS_POINTS = 10_000
_MAX_MS = 2**53
_SUBJECTS = {
    prices_pb2.DISCOUNT_SUBJECT_KEY: DiscountScope.KEY,
    prices_pb2.DISCOUNT_SUBJECT_TENANT: DiscountScope.TENANT,
    prices_pb2.DISCOUNT_SUBJECT_TIER: DiscountScope.TIER,
}
_SUBJECT_NUMBERS = {subject: number for number, subject in _SUBJECTS.items()}


class PriceAdmin:
    """Sets, lists and takes back prices and discounts."""

    def __init__(
        self,
        *,
        store: PriceStore,
        refresher: PriceRefresher,
        keys: KeyStore,
        policy: Policy,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._store = store
        self._refresher = refresher
        self._keys = keys
        self._policy = policy
        self._catalog = catalog
        self._clock = clock

    async def set_price(
        self, request: prices_pb2.SetPriceRequest, caller: Administrator
    ) -> prices_pb2.SetPriceResponse:
        """Add a price. Raises INVALID_REQUEST, or ALREADY_EXISTS where another begins at that very moment."""
        now = self._clock()
        checks = Checks()
        self._check_model(checks, request.model)
        unit = self._unit(checks, request)
        amount = request.nanos_per_million if request.HasField("nanos_per_million") else None
        if amount is not None:
            checks.require(
                0 <= amount <= _MAX_PRICE,
                "nanos_per_million",
                f"{amount} must be from 0 to {_MAX_PRICE} nano-dollars for a million; leave it out for the catalog's",
            )
        _check_start(checks, request.from_ms, now)
        checks.done()
        wanted = ListPrice(
            price_id=new_id("prc"),
            model=request.model,
            unit=unit,
            nanos_per_million=amount,
            from_ms=request.from_ms or now,
            created_at_ms=now,
            created_by=caller.key_id,
        )
        try:
            price = await self._store.put_price(wanted, at_once=not request.from_ms)
        except StartTaken as error:
            raise _taken(error, wanted.from_ms) from None
        await self._refresher.reload()
        return prices_pb2.SetPriceResponse(price=(await self._priced([price], now))[0])

    async def list_prices(self, request: prices_pb2.ListPricesRequest) -> prices_pb2.ListPricesResponse:
        """List prices by model, unit and start, the catalog's first."""
        size = page_size(request.page_size)
        listing = f"prices/{request.model}/{request.holding_only}"
        after = page_start(request.page_token, listing)
        if request.model:
            checks = Checks()
            self._check_model(checks, request.model)
            checks.done()
        found, _ = await self._store.all()
        messages = await self._priced([*self._of_catalog(), *found], self._clock())
        rest = [
            price
            for price in sorted(messages, key=_place)
            if _place(price) > after
            and (not request.model or price.model == request.model)
            and (price.holds or not request.holding_only)
        ]
        return prices_pb2.ListPricesResponse(
            prices=rest[:size], next_page_token=page_token(listing, _place(rest[size - 1])) if len(rest) > size else ""
        )

    async def delete_price(self, request: prices_pb2.DeletePriceRequest) -> prices_pb2.DeletePriceResponse:
        """Take back a price. Raises NOT_FOUND, or FAILED_PRECONDITION for one that has begun."""
        check_id("price_id", request.price_id, required=True)
        now = self._clock()
        try:
            price = await self._store.delete_price(request.price_id, now_ms=now)
        except AlreadyBegun:
            raise _begun("price", request.price_id) from None
        if price is None:
            raise ServiceError(Reason.NOT_FOUND, f"no price {request.price_id[:64]!r}; list them with ListPrices")
        await self._refresher.reload()
        return prices_pb2.DeletePriceResponse(price=_price_message(price, holds=False))

    async def set_discount(
        self, request: prices_pb2.SetDiscountRequest, caller: Administrator
    ) -> prices_pb2.SetDiscountResponse:
        """Add a discount. Raises INVALID_REQUEST, NOT_FOUND, or ALREADY_EXISTS."""
        now = self._clock()
        checks = Checks()
        checks.require(request.subject in _SUBJECTS, "subject", f"{request.subject} must be KEY, TENANT or TIER")
        if request.model:
            self._check_model(checks, request.model)
        amount = request.basis_points if request.HasField("basis_points") else None
        if amount is not None:
            checks.require(
                0 <= amount <= _MAX_BASIS_POINTS,
                "basis_points",
                f"{amount} must be from 0 to {_MAX_BASIS_POINTS} hundredths of a percent; leave it out to end one",
            )
        _check_start(checks, request.from_ms, now)
        checks.done()
        check_id("subject_id", request.subject_id, required=True)
        subject = _SUBJECTS[request.subject]
        await self._check_subject(subject, request.subject_id)
        wanted = Discount(
            discount_id=new_id("dis"),
            subject=subject,
            subject_id=request.subject_id,
            model=request.model,
            basis_points=amount,
            from_ms=request.from_ms or now,
            created_at_ms=now,
            created_by=caller.key_id,
        )
        try:
            discount = await self._store.put_discount(wanted, at_once=not request.from_ms)
        except StartTaken as error:
            raise _taken(error, wanted.from_ms) from None
        await self._refresher.reload()
        _, cuts = await self._store.all()
        return prices_pb2.SetDiscountResponse(
            discount=_discount_message(discount, holds=discount.discount_id in _holding(cuts, now))
        )

    async def list_discounts(self, request: prices_pb2.ListDiscountsRequest) -> prices_pb2.ListDiscountsResponse:
        """List discounts in the order in which they were set."""
        size = page_size(request.page_size)
        check_id("subject_id", request.subject_id)
        listing = f"discounts/{request.subject_id}/{request.holding_only}"
        after = page_start(request.page_token, listing)
        _, cuts = await self._store.all()
        holding = _holding(cuts, self._clock())
        rest = [
            cut
            for cut in sorted(cuts, key=_turn)
            if _turn(cut) > after
            and (not request.subject_id or cut.subject_id == request.subject_id)
            and (cut.discount_id in holding or not request.holding_only)
        ]
        return prices_pb2.ListDiscountsResponse(
            discounts=[_discount_message(cut, holds=cut.discount_id in holding) for cut in rest[:size]],
            next_page_token=page_token(listing, _turn(rest[size - 1])) if len(rest) > size else "",
        )

    async def delete_discount(self, request: prices_pb2.DeleteDiscountRequest) -> prices_pb2.DeleteDiscountResponse:
        """Take back a discount. Raises NOT_FOUND, or FAILED_PRECONDITION for one that has begun."""
        check_id("discount_id", request.discount_id, required=True)
        try:
            discount = await self._store.delete_discount(request.discount_id, now_ms=self._clock())
        except AlreadyBegun:
            raise _begun("discount", request.discount_id) from None
        if discount is None:
            raise ServiceError(
                Reason.NOT_FOUND, f"no discount {request.discount_id[:64]!r}; list them with ListDiscounts"
            )
        await self._refresher.reload()
        return prices_pb2.DeleteDiscountResponse(discount=_discount_message(discount, holds=False))

    def _of_catalog(self) -> Iterable[ListPrice]:
        for model in self._catalog.models:
            for unit, price in model.prices.items():
                yield ListPrice(
                    price_id="", model=model.name, unit=unit, nanos_per_million=price, from_ms=0, created_at_ms=0
                )

    async def _priced(self, prices: list[ListPrice], now: int) -> list[prices_pb2.Price]:
        """Messages that know which price holds: the latest begun, or the catalog's where that has no amount."""
        found, _ = await self._store.all()
        latest: dict[tuple[str, Unit], ListPrice] = {}
        for price in sorted(found, key=lambda price: price.from_ms):
            if price.from_ms <= now:
                latest[price.model, price.unit] = price
        holding = {price.price_id for price in latest.values() if price.nanos_per_million is not None}
        covered = {(price.model, price.unit) for price in latest.values() if price.price_id in holding}
        return [
            _price_message(
                price,
                holds=price.price_id in holding if price.price_id else (price.model, price.unit) not in covered,
            )
            for price in prices
        ]

    def _unit(self, checks: Checks, request: prices_pb2.SetPriceRequest) -> Unit:
        if not request.unit_name:
            checks.require(
                request.unit in UNIT_NAMES,
                "unit",
                f"{request.unit} is not a unit; one of {', '.join(UNIT_NAMES.values())} is priced",
            )
            return request.unit
        unit = unit_named(request.unit_name)
        model = self._catalog.get(request.model)
        if request.unit:
            checks.violate("unit_name", "is set beside unit; set one of the two")
        elif unit not in UNIT_NAMES and model is not None:
            checks.require(
                unit in model.prices,
                "unit_name",
                f"{request.unit_name[:64]!r} has no price at the model in the catalog; give it one there first",
            )
        return unit

    def _check_model(self, checks: Checks, name: str) -> None:
        if self._catalog.get(name) is None:
            checks.violate("model", self._catalog.absence(name))

    async def _check_subject(self, subject: DiscountScope, name: str) -> None:
        if subject is DiscountScope.KEY:
            if not await self._keys.get_keys([name]):
                raise ServiceError(Reason.NOT_FOUND, f"no key {name!r}; list them with ListKeys")
        elif subject is DiscountScope.TENANT:
            if await self._keys.get_tenant(name) is None:
                raise ServiceError(Reason.NOT_FOUND, f"no tenant {name!r}; list them with ListTenants")
        elif name not in self._policy.tiers:
            raise ServiceError(Reason.NOT_FOUND, f"no tier {name!r}; there are {', '.join(self._policy.tiers)}")


def _check_start(checks: Checks, from_ms: int, now: int) -> None:
    checks.require(
        not from_ms or now < from_ms <= _MAX_MS,
        "from_ms",
        f"{from_ms} is not in the future (it is {now} now); give a later time, or 0 for now",
    )


def _taken(error: StartTaken, from_ms: int) -> ServiceError:
    existing = error.existing
    is_price = isinstance(existing, ListPrice)
    name, amount = (
        (existing.price_id, existing.nanos_per_million)
        if isinstance(existing, ListPrice)
        else (existing.discount_id, existing.basis_points)
    )
    return ServiceError(
        Reason.ALREADY_EXISTS,
        f"from_ms: {name} ({'no amount' if amount is None else amount}) begins at {from_ms} already; choose another "
        f"time, or delete that {'price' if is_price else 'discount'} first",
        metadata={"existing": name},
    )


def _begun(what: str, name: str) -> ServiceError:
    return ServiceError(
        Reason.FAILED_PRECONDITION,
        f"the {what} {name!r} has begun, and what was paid at it stays on record; set another {what} from now on",
    )


def _place(price: prices_pb2.Price) -> str:
    # Units with a number come first, in its order.
    unit = price.unit_name or f"{price.unit:03d}"
    return f"{price.model}/{unit}/{price.from_ms:020d}"


def _turn(discount: Discount) -> str:
    return f"{discount.created_at_ms:020d}/{discount.discount_id}"


def _holding(cuts: Iterable[Discount], now: int) -> set[str]:
    latest: dict[tuple[str, str, str], Discount] = {}
    for cut in sorted(cuts, key=lambda cut: cut.from_ms):
        if cut.from_ms <= now:
            latest[cut.subject, cut.subject_id, cut.model] = cut
    return {cut.discount_id for cut in latest.values() if cut.basis_points is not None}


def _price_message(price: ListPrice, *, holds: bool) -> prices_pb2.Price:
    return prices_pb2.Price(
        price_id=price.price_id,
        model=price.model,
        unit=usage_pb2.UNIT_UNSPECIFIED if isinstance(price.unit, str) else price.unit,
        unit_name=price.unit if isinstance(price.unit, str) else "",
        nanos_per_million=price.nanos_per_million,
        from_ms=price.from_ms,
        created_at_ms=price.created_at_ms,
        created_by=price.created_by,
        holds=holds,
    )


def _discount_message(discount: Discount, *, holds: bool) -> prices_pb2.Discount:
    return prices_pb2.Discount(
        discount_id=discount.discount_id,
        subject=_SUBJECT_NUMBERS[discount.subject],
        subject_id=discount.subject_id,
        model=discount.model,
        basis_points=discount.basis_points,
        from_ms=discount.from_ms,
        created_at_ms=discount.created_at_ms,
        created_by=discount.created_by,
        holds=holds,
    )
