"""The section `router.alerts` of the configuration."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pydantic

from enginehouse.kit.config import ConfigError, Section


class AlertSettings(Section):
    """The destination of budgets' alerts, besides the log and `ListAlerts`."""

    webhook_url: str = pydantic.Field(default="", repr=False)
    """Each alert is posted here as JSON; empty means nowhere."""
    webhook_secret_file: Path | None = None
    """The secret that deliveries are signed with (HMAC-SHA256); at least 16 bytes; needed with `webhook_url`."""
    timeout_s: float = pydantic.Field(default=5.0, gt=0, le=60)
    """The time that the webhook may take to answer."""
    retry_s: float = pydantic.Field(default=10.0, gt=0, le=3600)
    """The wait after a first failure; it doubles with each, up to an hour."""
    give_up_after_s: float = pydantic.Field(default=86_400.0, gt=0)
    """An alert that was not taken for so long is not sent again."""

    @pydantic.model_validator(mode="after")
    def _complete(self) -> AlertSettings:
        if self.webhook_url:
            parts = urlsplit(self.webhook_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
                # The URL is not repeated: many hold a secret.
                raise ValueError("webhook_url must be http://host... or https://host..., without a user or password")
            if self.webhook_secret_file is None:
                raise ValueError("webhook_url needs webhook_secret_file: anybody could post an unsigned alert")
        return self

    def secret(self) -> bytes:
        """The secret's bytes without surrounding white space; nothing where none is configured.

        Raises:
            ConfigError: the file cannot be read, or holds too little.
        """
        path = self.webhook_secret_file
        if path is None:
            return b""
        where = f"router: alerts.webhook_secret_file: {path}"
        try:
            found = path.read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror}") from None
        if len(found) < 16:
            raise ConfigError(f"{where}: has {len(found)} bytes; at least 16 are needed")
        return found
