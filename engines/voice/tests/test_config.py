"""The section `voice` of the configuration."""

from __future__ import annotations

import pytest

from enginehouse.engines.voice.config import CLUSTER, VoiceConfig
from enginehouse.kit.config import ConfigError, load


def test_a_renamed_key_is_refused_with_the_new_one() -> None:
    with pytest.raises(ConfigError, match="'most_audio_s' was renamed; write 'max_audio_s'"):
        load(VoiceConfig, section=CLUSTER, path=None, environ={"ENGINEHOUSE_VOICE__MOST_AUDIO_S": "60"})
