"""Prices and discounts in PostgreSQL, and the price book kept in step with them."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.kit.pricing import unit_name, unit_named
from enginehouse.kit.tasks import BackgroundTask, TaskSet
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import discounts, prices
from enginehouse.router.prices._book import Discount, DiscountScope, ListPrice, PriceBook

_log = logging.getLogger(__name__)

# Notified with an id when a price or a discount is set or taken back.
PRICES_CHANNEL = "enginehouse_prices"

# For what is listed and explained; decisions move the book on themselves.
_MOVE_S = 0.5

Entry = TypeVar("Entry", ListPrice, Discount)


class StartTaken(Exception):
    """Something else begins at that very moment; `existing` is it."""

    def __init__(self, existing: ListPrice | Discount) -> None:
        super().__init__(existing)
        self.existing = existing


class AlreadyBegun(Exception):
    """A price or discount that has begun stays on record."""


class PriceStore:
    """Reads and writes. Rows are only added, or taken back before they begin: the past stays as it was."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def all(self) -> tuple[list[ListPrice], list[Discount]]:
        """Everything, in the order in which it was set."""
        async with self._database.connect() as connection:
            found = await connection.execute(sa.select(prices).order_by(prices.c.ordinal))
            cuts = await connection.execute(sa.select(discounts).order_by(discounts.c.ordinal))
            return [_price(row) for row in found], [_discount(row) for row in cuts]

    async def put_price(self, price: ListPrice, *, at_once: bool) -> ListPrice:
        """Write a price, unless the same holds already (`at_once`) or begins then; return the one that is there.

        Raises:
            StartTaken: another amount begins at the same moment.
        """
        c = prices.c
        same = sa.and_(c.model == price.model, c.unit == unit_name(price.unit))
        values = {**dataclasses.asdict(price), "unit": unit_name(price.unit)}
        async with self._database.begin() as connection:
            return await _put(
                connection, prices, same, values, price, _price, c.nanos_per_million, price.nanos_per_million, at_once
            )

    async def put_discount(self, discount: Discount, *, at_once: bool) -> Discount:
        """The same for a discount."""
        c = discounts.c
        same = sa.and_(c.subject == discount.subject, c.subject_id == discount.subject_id, c.model == discount.model)
        values = dataclasses.asdict(discount)
        async with self._database.begin() as connection:
            return await _put(
                connection, discounts, same, values, discount, _discount, c.basis_points, discount.basis_points, at_once
            )

    async def delete_price(self, price_id: str, *, now_ms: int) -> ListPrice | None:
        """Take back a price that has not begun; None when there is none of that id. Raises AlreadyBegun."""
        row = await self._delete(prices, prices.c.price_id == price_id, price_id, now_ms)
        return None if row is None else _price(row)

    async def delete_discount(self, discount_id: str, *, now_ms: int) -> Discount | None:
        """Take back a discount that has not begun; None when there is none of that id. Raises AlreadyBegun."""
        row = await self._delete(discounts, discounts.c.discount_id == discount_id, discount_id, now_ms)
        return None if row is None else _discount(row)

    async def _delete(self, table: sa.Table, named: sa.ColumnElement[bool], name: str, now_ms: int) -> Any:
        async with self._database.begin() as connection:
            gone = await connection.execute(table.delete().where(named, table.c.from_ms > now_ms).returning(*table.c))
            row = gone.first()
            if row is not None:
                await notify(connection, PRICES_CHANNEL, name)
            elif (await connection.execute(sa.select(table.c.ordinal).where(named))).first() is not None:
                raise AlreadyBegun(name)
            return row


async def _put(
    connection: AsyncConnection,
    table: sa.Table,
    same: sa.ColumnElement[bool],
    values: dict[str, Any],
    entry: Entry,
    read: Any,
    amount: sa.Column[Any],
    wanted: int | None,
    at_once: bool,
) -> Entry:
    if at_once:
        before = sa.select(table).where(same, table.c.from_ms <= entry.from_ms)
        holding = (await connection.execute(before.order_by(table.c.from_ms.desc()).limit(1))).first()
        if (None if holding is None else holding._mapping[amount.name]) == wanted and holding is not None:
            return read(holding)  # type: ignore[no-any-return]
    added = await connection.execute(insert(table).values(values).on_conflict_do_nothing().returning(*table.c))
    row = added.first()
    if row is None:
        there = (await connection.execute(sa.select(table).where(same, table.c.from_ms == entry.from_ms))).one()
        if there._mapping[amount.name] != wanted:
            raise StartTaken(read(there))
        return read(there)  # type: ignore[no-any-return]
    await notify(connection, PRICES_CHANNEL, next(iter(values.values())))
    return read(row)  # type: ignore[no-any-return]


def _price(row: sa.Row[Any]) -> ListPrice:
    values = dict(row._mapping)
    del values["ordinal"]
    return ListPrice(**{**values, "unit": unit_named(values["unit"])})


def _discount(row: sa.Row[Any]) -> Discount:
    values = dict(row._mapping)
    del values["ordinal"]
    return Discount(**{**values, "subject": DiscountScope(values["subject"])})


class PriceRefresher:
    """Keeps a replica's price book in step: reads all of it at start, on news, and from time to time, and moves it on
    where no decision does.
    """

    def __init__(self, *, store: PriceStore, book: PriceBook, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._again = False
        self._reading = False
        self._reads = TaskSet()
        self._moving = BackgroundTask(self._move, name="prices-advance")

    def start(self) -> None:
        """Start moving the book on."""
        self._moving.start()

    async def reload(self) -> None:
        """Read everything again."""
        found, cuts = await self._store.all()
        self._book.replace(found, cuts, now_ms=self._clock())

    def changed(self, _name: str) -> None:
        """Handle the news of a change; many at once are read together."""
        self._again = True
        if not self._reading:
            self._reading = True
            self._reads.spawn(self._read(), name="prices-refresh")

    async def close(self) -> None:
        """Stop reading."""
        await self._reads.close()
        await self._moving.close()

    async def _move(self) -> None:
        while True:
            self._book.advance(self._clock())
            await asyncio.sleep(_MOVE_S)

    async def _read(self) -> None:
        try:
            while self._again:
                self._again = False
                with translate_db_errors():
                    await self.reload()
        except DatabaseUnavailable as error:
            # The reload after the next connection brings it.
            _log.warning("could not read changed prices", extra={"error": str(error)})
        finally:
            self._reading = False
