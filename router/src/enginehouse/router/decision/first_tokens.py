"""Times to the first token: those that engines reported lately, and how busy they are now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.router.fleet.fleet import Endpoint

# The last reports are read by their ordinal, so that a large table costs no more than a small one.
_MEASURE = sa.text("""
    SELECT model, percentile_disc(0.5) WITHIN GROUP (ORDER BY time_to_first_token_ms)::bigint AS middle
    FROM (SELECT * FROM usage ORDER BY ordinal DESC LIMIT :rows) AS latest
    WHERE kind = 'report' AND time_to_first_token_ms > 0 AND settled_at_ms >= :since
    GROUP BY model
""")
_ROWS = 5000


class FirstTokens:
    """The median time to the first token by model, from the latest settled usage of all engines."""

    def __init__(self) -> None:
        self._medians: Mapping[str, int] = {}

    def replace(self, medians: Mapping[str, int]) -> None:
        """Take new medians, in milliseconds."""
        self._medians = dict(medians)

    def expected_ms(self, model: str, endpoints: Callable[[], Sequence[Endpoint]]) -> int | None:
        """Return the time to expect now, in milliseconds; None where nothing was measured.

        The median counts as measured on an engine that is not full: one with twice the requests that it runs at once
        lets a new one wait as long again.

        Args:
            model: the catalog name.
            endpoints: gives the engines that a request would be sent to; asked only where something was measured.
        """
        median = self._medians.get(model)
        if median is None:
            return None
        pressure = min([endpoint.pressure() for endpoint in endpoints()], default=0.0)
        return int(median * pressure) if pressure > 1 else median


async def read_first_tokens(database: AsyncEngine, *, since_ms: int) -> dict[str, int]:
    """The medians of the latest 5,000 reports, without those settled before that time."""
    async with database.connect() as connection:
        rows = await connection.execute(_MEASURE, {"rows": _ROWS, "since": since_ms})
        return {row.model: row.middle for row in rows}
