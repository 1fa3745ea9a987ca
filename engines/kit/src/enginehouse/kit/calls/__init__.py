"""Granted calls: accepted, bounded, settled; and what serves them."""

from __future__ import annotations

from enginehouse.kit.calls._calls import AcceptedCall, Call, Calls
from enginehouse.kit.calls._granted_call import GrantedCall

__all__ = ["AcceptedCall", "Call", "Calls", "GrantedCall"]
