"""Asking routers to reserve more for requests that are being served."""

from __future__ import annotations

import grpc

from enginehouse.api.router.v1 import usage_pb2, usage_pb2_grpc
from enginehouse.kit.address_channels import AddressChannels
from enginehouse.kit.errors import Reason, ServiceError, from_rpc_error

_TOLD = frozenset({Reason.BUDGET_EXHAUSTED, Reason.LEDGER_UNAVAILABLE, Reason.GRANT_EXPIRED})


class GrantExtensions:
    """The connections to the routers that hold the reservations of running requests.

    Args:
        timeout_s: seconds that a router may take.
    """

    def __init__(self, *, timeout_s: float = 5.0) -> None:
        self._timeout_s = timeout_s
        self._channels = AddressChannels(retries=True)

    async def extend(self, request: usage_pb2.ExtendRequest, *, address: str) -> str:
        """Return the grant with a higher cap.

        Args:
            request: the grant and what is needed.
            address: the router that holds the reservation, "ip:port".

        Raises:
            ServiceError: BUDGET_EXHAUSTED where a budget or the request's own bound has no more; GRANT_EXPIRED;
                LEDGER_UNAVAILABLE where the router cannot be asked now.
        """
        stub: usage_pb2_grpc.UsageServiceAsyncStub = usage_pb2_grpc.UsageServiceStub(await self._channels.to(address))
        try:
            return (await stub.Extend(request, timeout=self._timeout_s)).grant
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            if told is not None and told.reason in _TOLD:
                raise told from None
            raise ServiceError(
                Reason.LEDGER_UNAVAILABLE,
                f"the request needs more than was reserved for it, and the router at {address}, which holds its "
                f"reservation, is gone or does not answer ({error.code().name}); send it again, and another router "
                "reserves for it anew",
                retry_after_s=1.0,
            ) from error

    async def close(self) -> None:
        """Disconnect from the routers."""
        await self._channels.close()
