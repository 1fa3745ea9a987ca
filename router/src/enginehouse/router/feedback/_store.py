"""Ratings in PostgreSQL: each one, and their sums by day."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.router.database.tables import feedback, feedback_days, reservations, usage
from enginehouse.router.feedback._ratings import SCORE_SCALE, RatingsByClass

_MS_A_DAY = 86_400_000


@dataclasses.dataclass(frozen=True, slots=True)
class RatedAnswer:
    """The subject of a rating: the model that answered, and the class of the prompt."""

    model: str
    prompt_class: str


@dataclasses.dataclass(frozen=True, slots=True)
class RatingTotal:
    """The number of ratings of a model's answers to prompts of one class, and the sum of the scores in millionths."""

    prompt_class: str
    model: str
    ratings: int
    score_millionths: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """One source's rating of the answer to one request. The score is in millionths, from 0 to a million."""

    tenant_id: str
    request_id: str
    source: str
    score_millionths: int
    key_id: str
    recorded_at_ms: int


class FeedbackStore:
    """Reads and writes ratings."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def last_answer(self, *, tenant_id: str, request_id: str) -> RatedAnswer | None:
        """Return the last answer to a tenant's request; None if no usage was settled for it."""
        query = (
            sa.select(usage.c.model, reservations.c.grant_bytes)
            .join(reservations, reservations.c.grant_id == usage.c.grant_id)
            .where(
                usage.c.request_id == request_id,
                usage.c.tenant_id == tenant_id,
                usage.c.kind == "report",
                usage.c.model != "",
            )
            .order_by(usage.c.ordinal.desc())
            .limit(1)
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        # The reserved grant holds the class; grants from before classes were added hold none.
        return RatedAnswer(row.model, grant_pb2.Grant.FromString(row.grant_bytes).prompt_class or "generate/-")

    async def record(self, rating: Rating, answered: RatedAnswer) -> bool:
        """Write a rating, replacing an earlier one from the same source. Returns True if there was one."""
        key = (feedback.c.tenant_id, feedback.c.request_id, feedback.c.source)
        values = dataclasses.asdict(rating) | {"model": answered.model, "prompt_class": answered.prompt_class}
        async with self._database.begin() as connection:
            # If two ratings come from one source at once, the second replaces the first.
            await connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:rated, 0))"),
                {"rated": f"{rating.tenant_id}/{rating.request_id}/{rating.source}"},
            )
            where = sa.and_(*[column == values[column.name] for column in key])
            old = (await connection.execute(sa.select(feedback).where(where))).first()
            if old is not None:
                await connection.execute(feedback.delete().where(where))
                await _add(
                    connection,
                    day=old.recorded_at_ms // _MS_A_DAY,
                    model=old.model,
                    prompt_class=old.prompt_class,
                    ratings=-1,
                    score_millionths=-old.score_millionths,
                )
            await connection.execute(feedback.insert().values(values))
            await _add(
                connection,
                day=rating.recorded_at_ms // _MS_A_DAY,
                model=answered.model,
                prompt_class=answered.prompt_class,
                ratings=1,
                score_millionths=rating.score_millionths,
            )
        return old is not None

    async def ratings(self, *, half_life_days: float, today: int) -> RatingsByClass:
        """Return all ratings, each weighted by half for each half-life since its day. Days count from 1970."""
        age = sa.func.greatest(0, today - feedback_days.c.day)
        weight = sa.func.power(0.5, sa.cast(age, sa.Double) / half_life_days)
        score = sa.cast(feedback_days.c.score_millionths, sa.Double) / SCORE_SCALE
        query = sa.select(
            feedback_days.c.prompt_class,
            feedback_days.c.model,
            sa.func.sum(weight * score).label("good"),
            sa.func.sum(weight * (feedback_days.c.ratings - score)).label("bad"),
        ).group_by(feedback_days.c.prompt_class, feedback_days.c.model)
        found: dict[str, dict[str, tuple[float, float]]] = {}
        async with self._database.connect() as connection:
            for row in await connection.execute(query):
                found.setdefault(row.prompt_class, {})[row.model] = (max(0.0, row.good), max(0.0, row.bad))
        return found

    async def totals(self, *, since_day: int, model: str = "") -> list[RatingTotal]:
        """Return the ratings from a day on, by class and model."""
        query = (
            sa.select(
                feedback_days.c.prompt_class,
                feedback_days.c.model,
                sa.cast(sa.func.sum(feedback_days.c.ratings), sa.BigInteger).label("ratings"),
                sa.cast(sa.func.sum(feedback_days.c.score_millionths), sa.BigInteger).label("score_millionths"),
            )
            .where(feedback_days.c.day >= since_day, feedback_days.c.ratings > 0)
            .group_by(feedback_days.c.prompt_class, feedback_days.c.model)
            .order_by(feedback_days.c.prompt_class, feedback_days.c.model)
        )
        if model:
            query = query.where(feedback_days.c.model == model)
        async with self._database.connect() as connection:
            return [RatingTotal(**row._mapping) for row in await connection.execute(query)]


async def _add(connection: AsyncConnection, **sums: object) -> None:
    statement = insert(feedback_days).values(sums)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["day", "model", "prompt_class"],
            set_={
                name: getattr(feedback_days.c, name) + getattr(statement.excluded, name)
                for name in ("ratings", "score_millionths")
            },
        )
    )
