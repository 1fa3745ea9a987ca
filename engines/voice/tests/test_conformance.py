"""The engine as a process keeps the engine protocol, rule by rule, from outside."""

from __future__ import annotations

import base64
import io
import json
import sys
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from enginehouse.engines import voice
from enginehouse.kit.conformance import RULES, ConformanceOptions, ConformanceRule, RuleResult, RuleVerdict, run
from engines.voice.tests.voice_engine import tone

DEFAULT_CATALOG = Path(voice.__file__).with_name("catalog.yaml")
SENTENCE = "A clever crow sat upon a branch, and sang to the fox below. "
PCM = {"encoding": "AUDIO_ENCODING_PCM"}
MAX_MESSAGE_BYTES = 2 << 20


def requests() -> dict[str, Any]:
    recording = io.BytesIO()
    with wave.open(recording, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(tone(0.5, rate=16_000).tobytes())
    return {
        "Synthesize": {
            "models": ["espeak-ng"],
            "request": {"model": "auto", "text": SENTENCE, "audio": PCM},
            "long_request": {"model": "auto", "text": SENTENCE * 60, "audio": PCM},
        },
        "Converse": {
            "models": ["espeak-ng"],
            "request": [{"config": {"audio": PCM}}, {"text": SENTENCE}],
            "invalid_request": [{"text": SENTENCE}],
        },
        "Recognize": {
            "models": ["pocketsphinx-en-us"],
            "request": {"model": "auto", "audio": base64.b64encode(recording.getvalue()).decode()},
        },
        "/enginehouse.api.voice.v1.VoiceService/ListVoices": {"models": [], "request": {"language": "te"}},
        "CreateSpeech": {
            "models": ["espeak-ng"],
            "request": {"json": {"model": "auto", "input": "Good morning.", "voice": "alloy"}},
        },
    }


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, RuleResult]:
    """The results of the rules that this run of pytest selected."""
    directory = tmp_path_factory.mktemp("conformance")
    selected = {item.name for item in request.session.items if item.path == request.path}
    section = {
        "engine_id": "{engine_id}",
        "listen": "{listen}",
        "http_listen": "127.0.0.1:0",
        "gateway_address": "{gateway}",
        "router_address": "{router}",
        "spool_dir": "{spool}",
        "grant_keys_file": "{grant_keys}",
        "catalog_file": str(DEFAULT_CATALOG),
        "models": ["espeak-ng", "pocketsphinx-en-us"],
        "models_dir": "{directory}/models",
        "voices_dir": "{directory}/voices",
        "max_message_bytes": MAX_MESSAGE_BYTES,
    }
    (directory / "template.yaml").write_text(yaml.safe_dump({"voice": section}))
    (directory / "requests.json").write_text(json.dumps(requests()))
    options = ConformanceOptions(
        services=("enginehouse.api.voice.v1.VoiceService", "enginehouse.api.openai.v1.AudioService"),
        command=f"{sys.executable} -m enginehouse.engines.voice serve --config {{config}}",
        config=directory / "template.yaml",
        request_file=directory / "requests.json",
        max_message_bytes=MAX_MESSAGE_BYTES,
        directory=directory / "run",
        rules=tuple(rule.id for rule in RULES if f"test_the_engine_keeps[{rule.id}]" in selected),
    )
    return {result.rule.id: result for result in run(options)}


@pytest.mark.timeout(300)  # The first has to wait for all of them.
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_engine_keeps(rule: ConformanceRule, results: Mapping[str, RuleResult]) -> None:
    result = results[rule.id]
    assert result.verdict is RuleVerdict.PASSED, f"{rule.sentence} {result.verdict.value}: {result.reason}"
