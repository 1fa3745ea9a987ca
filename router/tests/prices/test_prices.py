"""Which price holds for whom and when, and what follows from it for a request's bound. Without a process."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.pricing import PER_MILLION, UNITS, cost_nanos
from enginehouse.router.identity import Caller, Key, Tenant
from enginehouse.router.prices import Discount, DiscountScope, ListPrice, Offer, PriceBook, discounted
from enginehouse.router.request import InferenceRequest, Task

READ, CACHED, WRITE = UNITS["input_tokens"], UNITS["cached_input_tokens"], UNITS["output_tokens"]
MAX_PRICE = (2**63 - 1) // PER_MILLION
UNIT_VALUES = tuple(UNITS.values())


def model(name: str, **prices: int) -> CatalogModel:
    return CatalogModel(
        name=name,
        cluster="inference",
        backend="llama.cpp",
        source="bundled:x",
        context_tokens=0 if "images" in prices else 4096,
        max_output_tokens=0 if "images" in prices else 256,
        capabilities=frozenset({"chat"}),
        quality=0.5,
        prices={UNITS[unit]: price for unit, price in prices.items()},
        options={},
    )


TEXT = model("text", input_tokens=1_000_003, cached_input_tokens=100_000, output_tokens=7_000_001)
MEDIA = model("media", characters=3, audio_milliseconds=5, images=10**12, video_milliseconds=7, gpu_milliseconds=11)
CATALOG = Catalog([TEXT, MEDIA])


def caller(*, key_id: str = "key_1", tenant_id: str = "ten_1", tier: str = "pro") -> Caller:
    key = Key(
        key_id=key_id,
        tenant_id=tenant_id,
        name="k",
        digest=b"",
        hint="",
        scopes=("inference",),
        allowed_models=(),
        requests_per_minute=0,
        tokens_per_minute=0,
        concurrency=0,
        created_at_ms=0,
        expires_at_ms=0,
        revoked_at_ms=0,
    )
    return Caller(key, Tenant(tenant_id=tenant_id, name="t", tier=tier, created_at_ms=0))


def price(amount: int | None, from_ms: int, *, unit: int = READ, of: str = "text") -> ListPrice:
    return ListPrice(
        price_id=f"prc_{of}_{unit}_{from_ms}",
        model=of,
        unit=unit,  # type: ignore[arg-type]
        nanos_per_million=amount,
        from_ms=from_ms,
        created_at_ms=0,
    )


def discount(
    subject: DiscountScope, subject_id: str, basis_points: int | None, from_ms: int, *, of: str = ""
) -> Discount:
    return Discount(
        discount_id=f"dis_{subject}_{subject_id}_{of}_{from_ms}",
        subject=subject,
        subject_id=subject_id,
        model=of,
        basis_points=basis_points,
        from_ms=from_ms,
        created_at_ms=0,
    )


def book(prices: Sequence[ListPrice] = (), discounts: Sequence[Discount] = (), *, now_ms: int = 0) -> PriceBook:
    made = PriceBook(catalog=CATALOG)
    made.replace(prices, discounts, now_ms=now_ms)
    return made


def test_the_catalogs_prices_hold_until_others_begin_and_again_after() -> None:
    prices = book([price(5, 100), price(9, 200), price(None, 300)])
    found = []
    for now_ms in (0, 99, 100, 199, 200, 299, 300, 10**15):
        prices.advance(now_ms)
        found.append(prices.offers_for(caller())["text"].prices[READ])
    listed = TEXT.prices[READ]
    assert found == [listed, listed, 5, 5, 9, 9, listed, listed]


def test_a_unit_that_the_catalog_does_not_price_can_be_priced() -> None:
    prices = book([price(77, 0, unit=UNITS["gpu_milliseconds"])])
    assert prices.offers_for(caller())["text"].prices[UNITS["gpu_milliseconds"]] == 77
    assert prices.listed(MEDIA) == MEDIA.prices


def test_a_price_of_a_model_that_left_the_catalog_is_passed_over() -> None:
    assert set(book([price(1, 0, of="gone")]).offers_for(caller())) == {"text", "media"}


def test_an_offer_stays_the_same_object_until_a_price_changes() -> None:
    prices = book([price(5, 100)], [discount(DiscountScope.TIER, "pro", 500, 0)])
    before, version = prices.offers_for(caller())["text"], prices.version
    prices.advance(99)
    assert prices.offers_for(caller(key_id="key_2"))["text"] is before
    assert prices.version == version
    prices.advance(100)
    assert prices.offers_for(caller())["text"] is not before
    assert prices.version > version


def test_the_most_specific_discount_counts_alone() -> None:
    cuts = [
        discount(DiscountScope.TIER, "pro", 100, 0),
        discount(DiscountScope.TENANT, "ten_1", 200, 0),
        discount(DiscountScope.TENANT, "ten_1", 300, 0, of="text"),
        discount(DiscountScope.KEY, "key_1", 400, 0, of="media"),
    ]
    prices = book([], cuts)
    mine, others, strangers = caller(), caller(key_id="key_2"), caller(key_id="key_3", tenant_id="ten_2")
    assert prices.offers_for(mine)["text"].discount_basis_points == 300
    assert prices.offers_for(mine)["media"].discount_basis_points == 400
    assert prices.offers_for(others)["media"].discount_basis_points == 200
    assert prices.offers_for(strangers)["text"].discount_basis_points == 100
    assert prices.offers_for(caller(key_id="k", tenant_id="t", tier="free"))["text"].discount_basis_points == 0


def test_a_discount_ends_and_the_next_one_counts_again() -> None:
    cuts = [
        discount(DiscountScope.TENANT, "ten_1", 1_000, 0),
        discount(DiscountScope.KEY, "key_1", 5_000, 10),
        discount(DiscountScope.KEY, "key_1", None, 20),
    ]
    prices = book([], cuts)
    found = []
    for now_ms in (9, 10, 19, 20):
        prices.advance(now_ms)
        found.append(prices.offers_for(caller())["text"].discount_basis_points)
    assert found == [1_000, 5_000, 5_000, 1_000]


STARTS = st.integers(0, 50)
ENTRIES = st.dictionaries(
    st.tuples(st.sampled_from(["text", "media"]), st.sampled_from(UNIT_VALUES), STARTS),
    st.none() | st.integers(0, MAX_PRICE),
    max_size=12,
)
CUTS = st.dictionaries(
    st.tuples(
        st.sampled_from(
            [
                (DiscountScope.KEY, "key_1"),
                (DiscountScope.TENANT, "ten_1"),
                (DiscountScope.TIER, "pro"),
                (DiscountScope.TIER, "free"),
            ]
        ),
        st.sampled_from(["", "text", "media"]),
        STARTS,
    ),
    st.none() | st.integers(0, 10_000),
    max_size=12,
)


@given(ENTRIES, CUTS, st.lists(st.integers(-5, 60), min_size=1, max_size=6))
def test_what_holds_at_any_moment_is_what_began_last_by_then(
    entries: dict[tuple[str, int, int], int | None],
    cuts: dict[tuple[tuple[DiscountScope, str], str, int], int | None],
    moments: list[int],
) -> None:
    """Whatever the order of the moments: a clock that jumps back finds the prices of that time."""
    prices = book(
        [price(amount, start, unit=unit, of=name) for (name, unit, start), amount in entries.items()],
        [discount(who[0], who[1], amount, start, of=name) for (who, name, start), amount in cuts.items()],
        now_ms=moments[0],
    )

    def latest(found: list[tuple[int, int | None]], now: int) -> int | None:
        begun = [price for price in found if price[0] <= now]
        return max(begun, key=lambda one: one[0])[1] if begun else None

    for now in moments:
        prices.advance(now)
        for listed in (TEXT, MEDIA):
            off = 0
            for who in ((DiscountScope.KEY, "key_1"), (DiscountScope.TENANT, "ten_1"), (DiscountScope.TIER, "pro")):
                own = latest([(s, a) for (w, n, s), a in cuts.items() if w == who and n == listed.name], now)
                every = latest([(s, a) for (w, n, s), a in cuts.items() if w == who and n == ""], now)
                found = own if own is not None else every
                if found is not None:
                    off = found
                    break
            offer = prices.offers_for(caller())[listed.name]
            for unit in UNIT_VALUES:
                set_ = latest([(s, a) for (n, u, s), a in entries.items() if (n, u) == (listed.name, unit)], now)
                list_price = listed.prices.get(unit, 0) if set_ is None else set_
                assert prices.list_price_at(listed, unit, now) == list_price
                assert offer.prices.get(unit, 0) == discounted(list_price, off)


@given(st.integers(0, MAX_PRICE), st.integers(0, 10_000))
def test_a_discounted_price_is_rounded_up_once_and_never_negative(amount: int, basis_points: int) -> None:
    paid = discounted(amount, basis_points)
    assert 0 <= paid <= amount
    assert 0 <= paid * 10_000 - amount * (10_000 - basis_points) < 10_000
    assert discounted(amount, 0) == amount
    assert discounted(amount, 10_000) == 0


AMOUNTS = st.dictionaries(st.sampled_from(UNIT_VALUES), st.integers(0, 10**9), max_size=8)


@given(st.lists(AMOUNTS, min_size=1, max_size=5), st.integers(0, 10_000))
def test_a_cost_is_rounded_up_once_whatever_it_is_made_of(parts: list[dict[int, int]], basis_points: int) -> None:
    """Many units cost no more together than apart, and at most a nano-dollar less for each part."""
    offer = Offer.of(MEDIA, {**TEXT.prices, **MEDIA.prices}, basis_points=basis_points)
    together = {unit: sum(part.get(unit, 0) for part in parts) for unit in UNIT_VALUES}  # type: ignore[call-overload]
    apart = sum(cost_nanos(offer.prices, part) for part in parts)  # type: ignore[arg-type]
    whole = cost_nanos(offer.prices, together)
    assert whole <= apart < whole + len(parts)
    exact = sum(amount * offer.prices[unit] for unit, amount in together.items())
    assert 0 <= whole * PER_MILLION - exact < PER_MILLION


@given(
    st.sampled_from([Task.GENERATE, Task.EMBED, Task.TOKENIZE]),
    st.integers(0, 10_000),
    AMOUNTS,
    st.floats(0, 1),
    st.integers(0, 10_000),
    st.integers(1, 4),
)
def test_nothing_within_what_was_asked_for_costs_more_than_the_bound(
    task: str, size: int, units: dict[int, int], share: float, basis_points: int, choices: int
) -> None:
    """For any unit: a voice, an image or a video engine bounds its requests by `units` alone."""
    request = InferenceRequest(
        task=task,
        input_bytes=size if task == Task.GENERATE else 0,
        inputs=[size] if task == Task.EMBED else (),
        choices=choices,
        units=units,  # type: ignore[arg-type]
    )
    for offered in (TEXT, MEDIA):
        offer = Offer.of(offered, {**TEXT.prices, **MEDIA.prices}, basis_points=basis_points)
        used = {unit: int(amount * share) for unit, amount in units.items()}
        if task != Task.TOKENIZE:
            read = int(min(size, offer.context or size) * share)
            used[CACHED] = used.get(CACHED, 0) + read // 2
            used[READ] = used.get(READ, 0) + read - read // 2
        if task == Task.GENERATE:
            used[WRITE] = used.get(WRITE, 0) + int(choices * offer.output_tokens(request) * share)
        assert cost_nanos(offer.prices, used) <= offer.bound_nanos(request)  # type: ignore[arg-type]
        assert (
            0
            <= offer.min_nanos(request)
            <= max(offer.bound_nanos(request), offer.min_nanos(InferenceRequest(task=task)))
        )


def test_what_an_engine_of_images_or_voices_may_cost_is_known_beforehand() -> None:
    offer = Offer.of(MEDIA)
    request = InferenceRequest(task=Task.NONE, units={UNITS["images"]: 4, UNITS["characters"]: 1_000_000})
    assert offer.bound_nanos(request) == 4 * 10**6 + 3
