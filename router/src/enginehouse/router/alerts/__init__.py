"""Alerts: a budget that reaches a percentage of its limit raises one, once in each window."""

from enginehouse.router.alerts._dispatcher import WebhookDispatcher
from enginehouse.router.alerts._exhaustion_recorder import ExhaustionRecorder
from enginehouse.router.alerts._raise import ALERTS_CHANNEL, Crossing, crossed, raise_alerts
from enginehouse.router.alerts._settings import AlertSettings
from enginehouse.router.alerts._store import Alert, AlertStore

__all__ = [
    "ALERTS_CHANNEL",
    "Alert",
    "AlertSettings",
    "AlertStore",
    "Crossing",
    "ExhaustionRecorder",
    "WebhookDispatcher",
    "crossed",
    "raise_alerts",
]
