"""What engines spend, kept safe and reported: the spool on disk and the reporter to the router."""

from __future__ import annotations

from enginehouse.kit._reporter import UsageReporter
from enginehouse.kit._segments import SpoolError
from enginehouse.kit._spool import Accepted, Spool

__all__ = ["Accepted", "Spool", "SpoolError", "UsageReporter"]
