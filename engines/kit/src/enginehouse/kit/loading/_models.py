"""The models that an engine serves, and the choice of a call's model among them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Container, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Generic, TypeVar

from enginehouse.api.router.v1.grant_pb2 import GrantCandidate
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.loading._interfaces import InfoT, LoadedT
from enginehouse.kit.loading._served import ServedModel

MessageT = TypeVar("MessageT")


class ServedModels(Generic[InfoT, LoadedT]):
    """The models that an engine serves, and the lookup of a call's model among them.

    Args:
        served: the models that can be loaded here, by name.
        absent: the models of the catalog that were left out because their weights are not here, with the error that
            their calls get.
    """

    def __init__(
        self,
        served: Mapping[str, ServedModel[InfoT, LoadedT]],
        *,
        absent: Mapping[str, ServiceError] = MappingProxyType({}),
    ) -> None:
        self.served = dict(sorted(served.items()))
        """The models that can be loaded here, by name and in its order."""
        self.absent = absent
        """The models of the catalog that were left out, by name, with the error that their calls get."""
        self.names: Container[str] = frozenset(served) | frozenset(absent)
        """The models that a call may name; one whose weights are absent gets an answer that says so."""

    @property
    def all(self) -> Sequence[ServedModel[InfoT, LoadedT]]:
        """The models that can be loaded here, by name."""
        return list(self.served.values())

    def find(self, name: str) -> ServedModel[InfoT, LoadedT]:
        """Return the model of that name.

        Raises:
            ServiceError: UNKNOWN_MODEL, or WEIGHTS_ABSENT if it was left out.
        """
        if name in self.absent:
            raise self.absent[name]
        served = self.served.get(name)
        if served is None:
            known = ", ".join(self.served) or "none"
            raise ServiceError(Reason.UNKNOWN_MODEL, f"unknown model {name[:128]!r}; this engine serves: {known}")
        return served

    def granted(self, call: GrantedCall) -> tuple[GrantCandidate, ServedModel[InfoT, LoadedT]]:
        """Return the grant's entry that serves a call, and its model.

        Raises:
            ServiceError: GRANT_INVALID if the grant names none; else as `find` does.
        """
        if call.candidate is None:
            raise ServiceError(Reason.GRANT_INVALID, "invalid grant: it names no model, and this method needs one")
        return call.candidate, self.find(call.candidate.model)

    def stream(
        self, call: GrantedCall, work: Callable[[], AsyncGenerator[MessageT, None]], *, may_fall_back: bool = True
    ) -> AsyncGenerator[MessageT, None]:
        """Return the messages of the work, with the next model where one fails.

        If the model fails before anything was sent or counted, the work starts again with the next model that the grant
        names, if it is served here. Closing the generator closes the work.

        Args:
            call: the call, whose `candidate` is the model to work with.
            work: starts the work with the call's current model.
            may_fall_back: whether another model may answer.

        Raises:
            ServiceError: the last model's.
        """
        return self._attempts(call, work) if may_fall_back and call.alternatives else work()

    async def _attempts(
        self, call: GrantedCall, work: Callable[[], AsyncGenerator[MessageT, None]]
    ) -> AsyncGenerator[MessageT, None]:
        while True:
            try:
                async with aclosing(work()) as messages:
                    async for message in messages:
                        yield message
                return
            except ServiceError as error:
                if not call.fall_back(error, served=self.served):
                    raise

    async def settle(self) -> None:
        """Begin no further load, and wait for the loads and unloads that run."""
        for served in self.served.values():
            await served.settle()

    async def close(self) -> None:
        """Free all models; nothing may use one any more."""
        async with contextlib.AsyncExitStack() as stack:
            for served in self.served.values():
                stack.push_async_callback(served.close)
