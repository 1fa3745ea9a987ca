"""Delivers alerts: logs and counts each, and posts it to the webhook until it is taken. At least once, from whichever
replica comes first; a receiver tells repetitions by the alert's id.

A delivery is `POST` with a JSON body, and the headers `x-enginehouse-alert-id` and `x-enginehouse-signature: t=<seconds
since 1970>,v1=<hex>`, where the hex is HMAC-SHA256 of `<t>.<body>` under the shared secret. Any 2xx answer takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Callable

import httpx
import orjson

from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.alerts._settings import AlertSettings
from enginehouse.router.alerts._store import Alert, AlertStore
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors

_log = logging.getLogger(__name__)

_BATCH = 20
# News comes by notification; this is for what was missed, and for another replica's that died.
_LOOK_S = 5.0


class WebhookDispatcher:
    """One replica's deliveries."""

    def __init__(
        self,
        *,
        store: AlertStore,
        settings: AlertSettings,
        secret: bytes,
        clock: Clock,
        count: Callable[[Alert], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._count = count
        self._wake = asyncio.Event()
        self._task = BackgroundTask(self._run, name="webhook-dispatcher")

    def start(self) -> None:
        """Start delivering."""
        self._task.start()

    def wake(self, _payload: str = "") -> None:
        """Deliver soon: there are new alerts."""
        self._wake.set()

    async def close(self) -> None:
        """Stop. Undelivered alerts are retried by another replica or after a restart."""
        await self._task.close()

    async def _run(self) -> None:
        # A proxy that the environment names is not ours to post to.
        async with httpx.AsyncClient(timeout=self._settings.timeout_s, trust_env=False) as client:
            while True:
                wait = _LOOK_S
                try:
                    with translate_db_errors():
                        while await self.deliver(client):
                            pass
                        due = await self._store.next_due_s()
                    wait = _LOOK_S if due is None else min(_LOOK_S, due + 0.01)
                except DatabaseUnavailable:
                    pass
                except Exception:
                    _log.exception("alerts could not be delivered")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)
                self._wake.clear()

    async def deliver(self, client: httpx.AsyncClient) -> int:
        """Deliver what is due; return how many alerts that were."""
        due = await self._store.claim(count=_BATCH, retry_s=self._settings.retry_s)
        await asyncio.gather(*[self._deliver(client, alert) for alert in due])
        return len(due)

    async def _deliver(self, client: httpx.AsyncClient, alert: Alert) -> None:
        if alert.attempts == 1:
            self._count(alert)
            _log.warning(
                "a budget has reached a percentage of its limit",
                extra={
                    "alert_id": alert.alert_id,
                    "budget_id": alert.budget_id,
                    "scope": alert.scope,
                    "scope_id": alert.scope_id,
                    "window": alert.period,
                    "percent": alert.percent,
                    "limit_nanos": alert.limit_nanos,
                    "settled_nanos": alert.settled_nanos,
                    "cause": alert.cause,
                },
            )
        if not self._settings.webhook_url:
            await self._store.finish(alert.alert_id, delivery="kept", now_ms=self._clock())
            return
        problem = await self._post(client, alert)
        if not problem:
            await self._store.finish(alert.alert_id, delivery="delivered", now_ms=self._clock())
        elif self._clock() - alert.raised_at_ms > self._settings.give_up_after_s * 1000:
            _log.error(
                "the webhook did not accept an alert; giving up",
                extra={"alert_id": alert.alert_id, "attempts": alert.attempts, "problem": problem},
            )
            await self._store.finish(alert.alert_id, delivery="failed", now_ms=self._clock())
        else:
            _log.warning(
                "the webhook did not accept an alert; retrying",
                extra={"alert_id": alert.alert_id, "attempts": alert.attempts, "problem": problem},
            )

    async def _post(self, client: httpx.AsyncClient, alert: Alert) -> str:
        """Post one; return what went wrong, or nothing. Never the URL: many hold a secret."""
        body = orjson.dumps(_document(alert))
        moment = str(self._clock() // 1000)
        try:
            answer = await client.post(
                self._settings.webhook_url,
                content=body,
                headers={
                    "content-type": "application/json",
                    "x-enginehouse-alert-id": alert.alert_id,
                    "x-enginehouse-signature": f"t={moment},v1={signature(self._secret, moment, body)}",
                },
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
        return "" if answer.is_success else f"HTTP {answer.status_code}"


def signature(secret: bytes, moment: str, body: bytes) -> str:
    """HMAC-SHA256 of the moment, a dot and the body, in hex."""
    return hmac.digest(secret, moment.encode() + b"." + body, hashlib.sha256).hex()


def _document(alert: Alert) -> dict[str, object]:
    return {
        "type": "budget.alert",
        "alert_id": alert.alert_id,
        "budget_id": alert.budget_id,
        "tenant_id": alert.tenant_id,
        "scope": alert.scope,
        "scope_id": alert.scope_id,
        "window": alert.period,
        "window_start_ms": alert.window_start_ms,
        "percent": alert.percent,
        "limit_nanos": alert.limit_nanos,
        "settled_nanos": alert.settled_nanos,
        "cause": alert.cause,
        "raised_at_ms": alert.raised_at_ms,
    }
