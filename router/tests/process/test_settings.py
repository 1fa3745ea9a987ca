"""Settings whose keys were renamed."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.kit.config import ConfigError, load
from enginehouse.router.settings import RouterSettings


def test_the_old_name_of_a_key_is_refused_with_the_new_one(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("router: {database_url: 'postgresql://', feed: {every_s: 1}}\n")
    with pytest.raises(ConfigError, match="'feed' was renamed; write 'refresh'"):
        load(RouterSettings, section="router", path=config, environ={})
