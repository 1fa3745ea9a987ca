"""The command `voices`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enginehouse.api.voice.v1 import voice_pb2

VOICE = voice_pb2.Voice(
    voice_id="te+whisper",
    name="Telugu, whispering",
    models=["espeak"],
    languages=["te", "te-IN"],
    gender=voice_pb2.GENDER_FEMALE,
    style="whisper",
)


def test_voices_are_listed_and_filtered(cli: Any, service: Any) -> None:
    service.answers["ListVoices"] = voice_pb2.ListVoicesResponse(voices=[VOICE])
    done = cli(
        *("voices", "--language", "te", "--gender", "female", "--style", "whisper", "--model", "espeak", "--mine")
    )
    assert done.exit_code == 0
    for shown in ("te+whisper", "te, te-IN", "female", "espeak"):
        assert shown in done.stdout
    request = service.requests[0]
    assert (request.language, request.gender, request.style) == ("te", voice_pb2.GENDER_FEMALE, "whisper")
    assert (request.model, request.cloned) == ("espeak", True)
    assert cli.json("voices") == {
        "voices": [
            {
                "voice_id": "te+whisper",
                "name": "Telugu, whispering",
                "models": ["espeak"],
                "languages": ["te", "te-IN"],
                "gender": "female",
                "style": "whisper",
                "cloned": False,
                "created_at_ms": 0,
                "description": "",
            }
        ]
    }
    service.answers["ListVoices"] = voice_pb2.ListVoicesResponse()
    assert cli("voices").stdout == "no voices\n"
    assert "unknown gender 'old': expected one of female" in cli("voices", "--gender", "old").stderr


def test_an_id_is_never_wrapped(cli: Any, service: Any) -> None:
    long = voice_pb2.Voice(voice_id="en-us+" + "x" * 50, name="n" * 80, models=["m" * 40], languages=["en"])
    service.answers["ListVoices"] = voice_pb2.ListVoicesResponse(voices=[long])
    assert long.voice_id in cli("voices").stdout


def test_a_voice_is_created_with_consent(cli: Any, service: Any, tmp_path: Path) -> None:
    service.answers["CreateVoice"] = voice_pb2.CreateVoiceResponse(voice={"voice_id": "voc_1", "name": "Sita"})
    file = tmp_path / "sita.wav"
    file.write_bytes(b"RIFF...")
    arguments = (
        *("voices", "create", "Sita", str(file), "--language", "te", "--consent-speaker", "Sita Devi"),
        *("--consent-statement", "for stories", "--model", "xtts", "--gender", "female", "--description", "warm"),
    )
    refused = cli(*arguments)
    assert refused.exit_code == 1
    assert "give --i-confirm-consent" in refused.stderr
    assert service.requests == []
    done = cli(*arguments, "--i-confirm-consent")
    assert done.stdout == "voc_1 Sita: use it with `enginehouse say --voice voc_1`\n"
    sent = service.requests[0]
    assert (sent.name, sent.sample, sent.language, sent.model) == ("Sita", b"RIFF...", "te", "xtts")
    assert (sent.gender, sent.description) == (voice_pb2.GENDER_FEMALE, "warm")
    assert (sent.consent.speaker, sent.consent.statement, sent.consent.confirmed) == ("Sita Devi", "for stories", True)
    assert cli.json(*arguments, "--i-confirm-consent")["voice_id"] == "voc_1"


def test_a_voice_is_deleted(cli: Any, service: Any) -> None:
    service.answers["DeleteVoice"] = voice_pb2.DeleteVoiceResponse()
    assert cli("voices", "delete", "voc_1").stdout == "voc_1 deleted\n"
    assert service.requests[0].voice_id == "voc_1"
    assert cli.json("voices", "delete", "voc_1") == {"deleted": "voc_1"}
