"""Prices and discounts in PostgreSQL, and the refresher that keeps the price book up to date."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.kit.pricing import unit_name, unit_named
from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.clock import Clock
from enginehouse.router.database import ChangeReader
from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import discounts, prices
from enginehouse.router.prices._book import Discount, DiscountScope, ListPrice, PriceBook

# The channel that carries the id of each price or discount that is set or deleted.
PRICES_CHANNEL = "enginehouse_prices"

# Decisions advance the book themselves; lists and explanations need this period, in seconds.
_ADVANCE_S = 0.5

Entry = TypeVar("Entry", ListPrice, Discount)


class StartTaken(Exception):
    """Another amount starts at the same moment: `existing`."""

    def __init__(self, existing: ListPrice | Discount) -> None:
        super().__init__(existing)
        self.existing = existing


class AlreadyBegun(Exception):
    """The price or discount has started, so it can no longer be deleted."""


class PriceStore:
    """Reads and writes prices and discounts. Rows are added, or deleted before they start; the past never changes."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def all(self) -> tuple[list[ListPrice], list[Discount]]:
        """Return all prices and discounts, in the order in which they were set."""
        async with self._database.connect() as connection:
            found = await connection.execute(sa.select(prices).order_by(prices.c.ordinal))
            cuts = await connection.execute(sa.select(discounts).order_by(discounts.c.ordinal))
            return [_price(row) for row in found], [_discount(row) for row in cuts]

    async def put_price(self, price: ListPrice, *, at_once: bool) -> ListPrice:
        """Write a price, and return it.

        If the same amount starts at that moment already, or with `at_once` applies already, nothing is written, and the
        existing price is returned.

        Raises:
            StartTaken: another amount starts at the same moment.
        """
        c = prices.c
        same = sa.and_(c.model == price.model, c.unit == unit_name(price.unit))
        values = {**dataclasses.asdict(price), "unit": unit_name(price.unit)}
        async with self._database.begin() as connection:
            return await _put(
                connection, prices, same, values, price, _price, c.nanos_per_million, price.nanos_per_million, at_once
            )

    async def put_discount(self, discount: Discount, *, at_once: bool) -> Discount:
        """Write a discount, as `put_price` does."""
        c = discounts.c
        same = sa.and_(c.subject == discount.subject, c.subject_id == discount.subject_id, c.model == discount.model)
        values = dataclasses.asdict(discount)
        async with self._database.begin() as connection:
            return await _put(
                connection, discounts, same, values, discount, _discount, c.basis_points, discount.basis_points, at_once
            )

    async def delete_price(self, price_id: str, *, now_ms: int) -> ListPrice | None:
        """Delete a price that has not started. Returns None if there is no such price. Raises AlreadyBegun."""
        row = await self._delete(prices, prices.c.price_id == price_id, price_id, now_ms)
        return None if row is None else _price(row)

    async def delete_discount(self, discount_id: str, *, now_ms: int) -> Discount | None:
        """Delete a discount that has not started. Returns None if there is no such discount. Raises AlreadyBegun."""
        row = await self._delete(discounts, discounts.c.discount_id == discount_id, discount_id, now_ms)
        return None if row is None else _discount(row)

    async def _delete(self, table: sa.Table, named: sa.ColumnElement[bool], name: str, now_ms: int) -> Any:
        async with self._database.begin() as connection:
            deleted = await connection.execute(
                table.delete().where(named, table.c.from_ms > now_ms).returning(*table.c)
            )
            row = deleted.first()
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
        current = (await connection.execute(before.order_by(table.c.from_ms.desc()).limit(1))).first()
        if current is not None and current._mapping[amount.name] == wanted:
            return read(current)  # type: ignore[no-any-return]
    added = await connection.execute(insert(table).values(values).on_conflict_do_nothing().returning(*table.c))
    row = added.first()
    if row is None:
        existing = (await connection.execute(sa.select(table).where(same, table.c.from_ms == entry.from_ms))).one()
        if existing._mapping[amount.name] != wanted:
            raise StartTaken(read(existing))
        return read(existing)  # type: ignore[no-any-return]
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
    """Keeps a replica's price book up to date: reloads it after changes, and advances it between decisions."""

    def __init__(self, *, store: PriceStore, book: PriceBook, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._reading = asyncio.Lock()
        self._reader = ChangeReader(read=lambda _: self.reload(), what="price")
        self._advancing = BackgroundTask(self._advance, name="prices-advance")

    def start(self) -> None:
        """Start advancing the book."""
        self._advancing.start()

    async def reload(self) -> None:
        """Read everything again."""
        # One after the other, so that what was read first is not put in force last.
        async with self._reading:
            found, cuts = await self._store.all()
            self._book.replace(found, cuts, now_ms=self._clock())

    def changed(self, _name: str) -> None:
        """Reload after a change; several changes at once are read together."""
        self._reader.changed("")

    async def close(self) -> None:
        """Stop."""
        await self._reader.close()
        await self._advancing.close()

    async def _advance(self) -> None:
        while True:
            self._book.advance(self._clock())
            await asyncio.sleep(_ADVANCE_S)
