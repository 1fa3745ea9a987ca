"""What engines spend, kept safe and reported: the spool on disk and the reporter to the router."""

from __future__ import annotations

from enginehouse.kit.usage._reporter import UsageReporter
from enginehouse.kit.usage._segments import SpoolError
from enginehouse.kit.usage._spool import Accepted, Spool

__all__ = ["Accepted", "Spool", "SpoolError", "UsageReporter"]
