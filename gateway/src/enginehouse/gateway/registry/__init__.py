"""The registry of live engines and their leases."""

from __future__ import annotations

from enginehouse.gateway.registry._leases import Lease, LeaseEnd, Registry, RegistryState, Revision
from enginehouse.gateway.registry._rules import check_engine, check_load
from enginehouse.gateway.registry._servicer import RegistryServicer

__all__ = [
    "Lease",
    "LeaseEnd",
    "Registry",
    "RegistryServicer",
    "RegistryState",
    "Revision",
    "check_engine",
    "check_load",
]
