"""The usage of engines: the spool that keeps it on disk and the reporter that sends it to a router."""

from __future__ import annotations

from enginehouse.kit.usage._extension import GrantExtensions
from enginehouse.kit.usage._reporter import UsageReporter
from enginehouse.kit.usage._segments import SpoolError
from enginehouse.kit.usage._spool import Accepted, Spool

__all__ = ["Accepted", "GrantExtensions", "Spool", "SpoolError", "UsageReporter"]
