"""The TCP ports of a mesh: the user chooses the public one, the others come from a free block."""

from __future__ import annotations

import dataclasses
import errno
import socket
from collections.abc import Iterator, Mapping

import psutil

from enginehouse.kit.addresses import Address
from enginehouse.local.errors import LocalError

LOOPBACK = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections.
_FIRST, _LAST, _BLOCK = 18000, 31999, 100


@dataclasses.dataclass(frozen=True, slots=True)
class RouterEndpoints:
    """The endpoints of one router.

    Attributes:
        decisions: where Envoy asks for authorization.
        grpc: where engines report usage and administration is served.
        http: metrics and health.
    """

    decisions: Address
    grpc: Address
    http: Address


@dataclasses.dataclass(frozen=True, slots=True)
class EngineEndpoints:
    """The endpoints of one engine."""

    grpc: Address
    http: Address


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """All endpoints of a mesh. All but the public one listen on the loopback interface."""

    public: Address
    gateway_grpc: Address
    gateway_http: Address
    envoy_admin: Address
    routers: tuple[RouterEndpoints, ...]
    engines: Mapping[str, tuple[EngineEndpoints, ...]]
    """By kind of engine."""


class PortBlock:
    """A block of a hundred ports that no other mesh of this machine uses while this object is open.

    A listener on the block's last port claims it, so that meshes that start together cannot choose the same block.
    """

    def __init__(self) -> None:
        for first in range(_FIRST, _LAST - _BLOCK + 2, _BLOCK):
            claim = socket.socket()
            try:
                claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                claim.bind((LOOPBACK, first + _BLOCK - 1))
                claim.listen(1)
            except OSError:
                claim.close()
                continue
            self._claim = claim
            self._first = first
            return
        raise LocalError(f"no free block of ports between {_FIRST} and {_LAST} on {LOOPBACK}; stop what uses them")

    def endpoints(self, public: Address, *, engines: Mapping[str, int], router_replicas: int = 1) -> Endpoints:
        """Return the endpoints of a mesh with so many engines of each kind and so many routers.

        Ports that another process holds are left out.

        Raises:
            LocalError: the block has too few free ports.
        """
        ports = self._free()
        return Endpoints(
            public=public,
            gateway_grpc=next(ports),
            gateway_http=next(ports),
            envoy_admin=next(ports),
            routers=tuple(RouterEndpoints(next(ports), next(ports), next(ports)) for _ in range(router_replicas)),
            engines={
                kind: tuple(EngineEndpoints(next(ports), next(ports)) for _ in range(count))
                for kind, count in engines.items()
            },
        )

    def _free(self) -> Iterator[Address]:
        for port in range(self._first, self._first + _BLOCK - 1):
            address = Address(LOOPBACK, port)
            if _listen_problem(address) is None:
                yield address
        last = self._first + _BLOCK - 2
        raise LocalError(f"too few free ports between {self._first} and {last} on {LOOPBACK}; stop what uses them")

    def close(self) -> None:
        """Release the block."""
        self._claim.close()


def check_free(address: Address) -> None:
    """Raise LocalError if an address cannot be listened on. The error names the process that uses it, if visible."""
    problem = _listen_problem(address)
    if problem is None:
        return
    if problem.errno == errno.EADDRINUSE:
        holder = _holder(address.port)
        user = f"in use by {holder}" if holder else "in use"
        raise LocalError(f"port {address.port} is {user}; stop that, or choose another, as in --port {_near(address)}")
    if problem.errno == errno.EACCES:
        raise LocalError(f"port {address.port} needs privileges that this user lacks; choose one over 1023 with --port")
    raise LocalError(f"cannot listen on {address} ({problem.strerror}); choose an address of this machine")


def _listen_problem(address: Address) -> OSError | None:
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
        # As servers do: connections of an earlier mesh in TIME_WAIT must not count as used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
            probe.listen(1)
        except OSError as error:
            return error
    return None


def _near(address: Address) -> int:
    nearby = range(address.port + 1, min(address.port + 100, 65536))
    return next((port for port in nearby if _listen_problem(Address(address.host, port)) is None), 0)


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid is not None:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        # Other users' sockets may be invisible to this user. The name is optional.
        return ""
    return ""
