"""The interface of a call whose grant was accepted, as engines use it."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.pricing import Unit
from enginehouse.kit.usage.meter import Meter


class GrantedCall(Protocol):
    """The part of `kit.calls.Call` that serving needs; a stand-in for a call may have it too."""

    @property
    def request_id(self) -> str:
        """The request's id."""

    @property
    def tenant_id(self) -> str:
        """The tenant that pays."""

    @property
    def system_prompt(self) -> str:
        """The text that the grant puts before the conversation; usually empty."""

    @property
    def grant(self) -> Grant:
        """The permission."""

    @property
    def candidate(self) -> GrantCandidate | None:
        """The grant's entry for the model that serves: its name, prices and cap; None if no model serves the call."""

    @property
    def model(self) -> str:
        """The name of the model that serves; empty if none does."""

    @property
    def meter(self) -> Meter:
        """The meter that counts and prices what the call uses."""

    @property
    def first_output_ms(self) -> int:
        """Milliseconds from acceptance to the first output; 0 before it."""

    @property
    def alternatives(self) -> bool:
        """True if the grant names a model to fall back to after the one that serves now, here or elsewhere."""

    def time_left_s(self) -> float:
        """Return the seconds until the caller's deadline or the end of the grant, whichever is first."""

    async def reserve(self, unit: Unit, n: int) -> bool:
        """Return whether n more of a unit fit under the cap, after more was reserved for them where it was too low.

        False where a budget or the request's own bound has no more. Raises LEDGER_UNAVAILABLE.
        """

    async def reserve_cost(self, nanos: int) -> bool:
        """Return whether the whole call may cost so much, as `reserve`."""

    def fall_back(self, error: ServiceError, *, served: Container[str]) -> bool:
        """Take the grant's next model instead of the one that failed, where that is possible; return whether it was."""

    def elapsed_ms(self) -> int:
        """Return the milliseconds since acceptance."""

    def mark_first_output(self) -> None:
        """Note the time of the first output; later calls change nothing."""
