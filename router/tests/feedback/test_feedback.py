"""Ratings in PostgreSQL: sums that can be taken back exactly, and that fade."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.router.feedback import NO_RATINGS, FeedbackStore, RatedAnswer, Rating, Ratings

DAY_MS = 86_400_000


def rating(number: int, *, source: str = "thumb", score: int = 1_000_000, day: int = 100) -> Rating:
    return Rating(
        tenant_id="ten_1",
        request_id=f"req_{number}",
        source=source,
        score_millionths=score,
        key_id="key_1",
        recorded_at_ms=day * DAY_MS + 5,
    )


SMALL, LARGE = RatedAnswer("small", "generate/0"), RatedAnswer("large", "generate/1")


async def test_old_feedback_fades_by_its_half_life(database: AsyncEngine) -> None:
    store = FeedbackStore(database=database)
    for number in range(4):
        await store.record(rating(number), SMALL)
    for number in range(4, 12):
        await store.record(rating(number, score=0, day=70), SMALL)
    await store.record(rating(12, score=250_000), LARGE)
    ratings = await store.ratings(half_life_days=30.0, today=100)
    assert ratings == {"generate/0": {"small": (4.0, 4.0)}, "generate/1": {"large": (0.25, 0.75)}}
    assert (await store.ratings(half_life_days=10.0, today=100))["generate/0"]["small"] == (4.0, 1.0)
    # A clock that runs behind makes nothing of tomorrow's ratings.
    assert (await store.ratings(half_life_days=10.0, today=60))["generate/0"]["small"] == (4.0, 8.0)


async def test_a_rating_that_is_replaced_is_taken_back_from_its_own_day(database: AsyncEngine) -> None:
    store = FeedbackStore(database=database)
    assert not await store.record(rating(1, day=90), SMALL)
    assert not await store.record(rating(1, source="judge:g", score=500_000, day=90), SMALL)
    assert await store.record(rating(1, score=0, day=100), LARGE)
    (large, small) = sorted(await store.totals(since_day=0), key=lambda one: one.model)
    assert (small.ratings, small.score_millionths) == (1, 500_000)
    assert (large.ratings, large.score_millionths) == (1, 0)
    assert [total.model for total in await store.totals(since_day=95)] == ["large"]
    assert [total.model for total in await store.totals(since_day=0, model="small")] == ["small"]


async def test_ratings_at_once_are_all_counted_and_each_once(database: AsyncEngine) -> None:
    store = FeedbackStore(database=database)
    replaced = await asyncio.gather(
        *[store.record(rating(number % 5, score=number * 1000), SMALL) for number in range(40)]
    )
    assert replaced.count(False) == 5
    (total,) = await store.totals(since_day=0)
    assert total.ratings == 5
    assert total.score_millionths <= 5 * 39_000


@pytest.mark.parametrize(("half_lives", "covered"), [((), True), ((30.0,), True), ((30.0, 7.0), False)])
def test_what_was_not_read_is_known_not_to_be(half_lives: tuple[float, ...], covered: bool) -> None:
    ratings = Ratings({30.0: {"generate/0": {"small": (1.0, 2.0)}}})
    assert ratings.covers(half_lives) is covered
    assert ratings.of("generate/0", half_life_days=30.0) == {"small": (1.0, 2.0)}
    assert ratings.of("generate/0", half_life_days=7.0) == {}
    assert NO_RATINGS.of("generate/0", half_life_days=30.0) == {}
