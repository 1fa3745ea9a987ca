"""The command `say`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import wave
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from enginehouse.api.voice.v1 import voice_pb2

COMMAND = str(Path(sys.executable).parent / "enginehouse")


def program(folder: Path, name: str, script: str) -> None:
    """Put a program on a PATH of the test's own."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_speech_is_written_to_a_file_with_its_cost_on_stderr(
    cli: Any, service: Any, speech: Any, tmp_path: Path
) -> None:
    service.answers["Synthesize"] = speech
    file = tmp_path / "crow.wav"
    done = cli(
        *("say", "A clever crow.", "--voice", "te", "--language", "te-IN", "--model", "espeak", "--speed", "1.5"),
        *("--pitch", "-2", "--volume", "-3", "--emotion", "happy", "--rate", "22050", "--first-chunk", "1"),
        *("--out", str(file)),
    )
    assert done.exit_code == 0
    assert done.stdout == ""
    assert done.stderr == f"[espeak, 1.5 s of speech in 3 ms, $0.0000015] {file}\n"
    with wave.open(str(file)) as opened:
        assert opened.readframes(9) == b"aabbcc"
        assert opened.getnframes() == 3
    request = service.requests[0]
    controls = request.controls
    assert (request.text, request.model, request.first_chunk) == ("A clever crow.", "espeak", 1)
    assert (controls.voice, controls.language, controls.speed) == ("te", "te-IN", 1.5)
    assert (controls.pitch, controls.volume_db, controls.emotion) == (-2, -3, voice_pb2.EMOTION_HAPPY)
    assert (request.audio.encoding, request.audio.sample_rate) == (voice_pb2.AUDIO_ENCODING_WAV, 22_050)


PLAN = voice_pb2.PlanSpeechResponse(
    request_id="r1",
    model="espeak",
    chunks=[
        {
            "characters": 11,
            "utterances": [
                {"text": "ten thousand.", "language": "en"},
                {"text": "హలో", "language": "te", "voice": "te+f2", "pause_ms": 250},
            ],
        },
        {"first_character": 11, "characters": 2, "utterances": [{"text": "ab", "language": "en", "spelled": True}]},
    ],
)


def test_the_words_are_shown_and_nothing_is_spoken(cli: Any, service: Any) -> None:
    service.answers["PlanSpeech"] = PLAN
    done = cli("say", "10 000. హలో ab", "--show-text", "--language", "en", "--speed", "1.5")
    assert done.exit_code == 0
    assert done.stdout == "[en] ten thousand.\n[te te+f2] హలో\n[en spelled] ab\n"
    [request] = service.requests
    assert isinstance(request, voice_pb2.PlanSpeechRequest)
    assert (request.text, request.controls.language, request.controls.speed) == ("10 000. హలో ab", "en", 1.5)
    shown = cli.json("say", "<speak>x</speak>", "--ssml", "--show-text")
    assert service.requests[-1].ssml == "<speak>x</speak>"
    assert shown["chunks"][0]["utterances"][1] == {
        "text": "హలో",
        "language": "te",
        "voice": "te+f2",
        "spelled": False,
        "pause_ms": 250,
    }
    assert "--show-text speaks nothing" in cli("say", "x", "--show-text", "--play").stderr


def test_json_describes_the_speech(cli: Any, service: Any, speech: Any, tmp_path: Path) -> None:
    service.answers["Synthesize"] = speech
    file = str(tmp_path / "a.wav")
    assert cli.json("say", "hi", "--out", file) == {
        "request_id": "r1",
        "model": "espeak",
        "encoding": "wav",
        "content_type": "audio/wav",
        "sample_rate": 22050,
        "chunks": 2,
        "audio_ms": 1500,
        "bytes": 50,
        "usage": {"characters": 15},
        "cost_nanos": 1500,
        "time_to_first_audio_ms": 2,
        "total_ms": 3,
        "stopped_by_budget": False,
        "path": file,
    }


def test_standard_input_is_spoken_to_standard_output(cli: Any, service: Any, speech: Any) -> None:
    service.answers["Synthesize"] = speech
    done = cli("say", "-", "--ssml", "--out", "-", stdin="<speak>hi</speak>")
    assert done.exit_code == 0
    assert done.stdout_bytes[:4] == b"RIFF"
    assert done.stdout_bytes[44:] == b"aabbcc"
    assert service.requests[0].ssml == "<speak>hi</speak>"


@pytest.mark.parametrize(
    ("ending", "encoding"),
    [(".mp3", 2), (".OGG", 3), (".opus", 3), (".aac", 4), (".flac", 5), (".pcm", 6), (".raw", 6), ("", 1)],
)
def test_the_files_suffix_gives_the_encoding(
    cli: Any, service: Any, speech: Any, tmp_path: Path, ending: str, encoding: int
) -> None:
    service.answers["Synthesize"] = speech
    assert cli("say", "hi", "--out", str(tmp_path / f"a{ending}")).exit_code == 0
    assert cli("say", "hi", "--out", str(tmp_path / f"a{ending}"), "--format", "mp3").exit_code == 0
    assert [request.audio.encoding for request in service.requests] == [encoding, 2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "--out FILE, or --play"),
        (("--out", "a.mid"), "unknown suffix '.mid'; known: .wav, .mp3"),
        (("--out", "a.wav", "--format", "midi"), "unknown format 'midi'; known: wav, mp3"),
        (("--out", "-", "--json"), "both write to standard output"),
        (("--out", "a.wav", "--speed", "9"), "Invalid value for '--speed'"),
    ],
)
def test_a_malformed_command_is_refused_before_anything_is_sent(
    cli: Any, service: Any, arguments: tuple[str, ...], problem: str
) -> None:
    done = cli("say", "hi", *arguments)
    assert done.exit_code == 2
    assert problem in " ".join(done.stderr.split())
    assert service.requests == []


def test_a_failure_prints_one_line(cli: Any, service: Any, tmp_path: Path) -> None:
    for arguments, problem in (
        (("hi", "--out", str(tmp_path / "none" / "a.wav")), f"{tmp_path}/none/a.wav: No such file or directory"),
        (("hi", "--out", str(tmp_path), "--format", "wav"), f"{tmp_path}: Is a directory"),
        ((" \n", "--out", str(tmp_path / "a.wav")), "no text"),
        (("hi", "--out", str(tmp_path / "a.wav"), "--emotion", "bored"), "'bored': expected one of neutral"),
    ):
        done = cli("say", *arguments)
        assert done.exit_code == 1
        assert problem in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert service.requests == []
    assert list(tmp_path.iterdir()) == []


def cut(context: Any) -> None:
    status = status_pb2.Status(code=14, message="the engine is leaving")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="ENGINE_DRAINING", domain="enginehouse"))
    context.abort_with_status(rpc_status.to_status(status))


def test_interrupted_speech_leaves_no_file_and_names_the_way_to_continue(
    cli: Any, service: Any, speech: Any, tmp_path: Path
) -> None:
    def half(context: Any) -> Any:
        messages = speech(context)
        yield next(messages)
        yield next(messages)
        cut(context)

    service.answers["Synthesize"] = half
    done = cli("say", "hi", "--out", str(tmp_path / "a.wav"))
    assert done.exit_code == 1
    assert done.stderr == (
        "enginehouse: speech interrupted before the end of chunk 1: the engine is leaving; continue with "
        "--first-chunk 1 --model espeak\n"
    )
    error = json.loads(cli("say", "hi", "--out", str(tmp_path / "a.wav"), "--json").stderr)["error"]
    assert (error["reason"], error["request_id"]) == ("ENGINE_DRAINING", "r1")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_file(cli: Any, service: Any, speech: Any, tmp_path: Path) -> None:
    gone = threading.Event()
    begun = threading.Event()

    def endless(context: Any) -> Any:
        context.add_callback(gone.set)
        yield next(speech(context))
        # The temporary file exists by now.
        begun.set()
        assert gone.wait(30)

    service.answers["Synthesize"] = endless
    folder = tmp_path / "out"
    folder.mkdir()
    running = subprocess.Popen(
        [COMMAND, "say", "hi", "--out", str(folder / "a.wav")],
        env={**os.environ, **cli.environment},
        stderr=subprocess.PIPE,
    )
    try:
        assert begun.wait(30)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 130
    assert said == b""
    assert list(folder.iterdir()) == []
    assert gone.wait(10)


@pytest.mark.parametrize(
    ("player", "heard"), [("ffplay", b"RIFF"), ("aplay", b"aabbcc"), ("paplay", b"aabbcc"), ("pw-play", b"aabbcc")]
)
def test_speech_is_played_by_an_installed_player(
    cli: Any, service: Any, speech: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, player: str, heard: bytes
) -> None:
    bin_ = tmp_path / "bin"
    program(bin_, player, f'[ "$*" = --help ] || {{ echo "$*" > {tmp_path}/arguments; cat > {tmp_path}/heard; }}')
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    service.answers["Synthesize"] = speech
    done = cli("say", "hi", "--play", "--out", str(tmp_path / "a.wav"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "heard").read_bytes().startswith(heard)
    assert (tmp_path / "a.wav").stat().st_size == 50
    if player != "ffplay":
        assert "22050" in (tmp_path / "arguments").read_text()


def test_raw_samples_get_a_header_for_players_that_need_one(
    cli: Any, service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speak(context: Any) -> Any:
        info = voice_pb2.AudioInfo(encoding=voice_pb2.AUDIO_ENCODING_PCM, sample_rate=8000)
        summary = voice_pb2.SpeechSummary()
        yield voice_pb2.SynthesizeResponse(request_id="r", model="m", info=info, audio=b"aabb", summary=summary)

    program(tmp_path / "bin", "ffplay", f"cat > {tmp_path}/heard")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    service.answers["Synthesize"] = speak
    assert cli("say", "hi", "--play", "--format", "pcm").exit_code == 0
    with (tmp_path / "heard").open("rb") as file:
        heard = file.read()
    assert (heard[:4], heard[24:28], heard[44:]) == (b"RIFF", b"\x40\x1f\0\0", b"aabb")


def test_a_new_pw_play_is_told_that_samples_are_raw(
    cli: Any, service: Any, speech: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'[ "$*" = --help ] && echo "  -a, --raw   RAW mode" || {{ echo "$*" > {tmp_path}/arguments; cat; }}'
    program(tmp_path / "bin", "pw-play", script)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    service.answers["Synthesize"] = speech
    assert cli("say", "hi", "--play").exit_code == 0
    assert (tmp_path / "arguments").read_text() == "--raw --rate 22050 --channels 1 --format s16 -\n"


def test_without_a_player_the_suitable_ones_are_named(
    cli: Any, service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "aplay", "cat")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    done = cli("say", "hi", "--play")
    assert done.exit_code == 1
    assert "install one of ffplay, aplay, paplay, pw-play" in done.stderr
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    done = cli("say", "hi", "--play", "--format", "mp3")
    assert "no player for mp3 on PATH: install one of ffplay, or leave out --format" in done.stderr
    assert service.requests == []


def test_a_failed_player_is_quoted(
    cli: Any, service: Any, speech: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "aplay", "cat > /dev/null; echo 'no  sound card' >&2; exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    service.answers["Synthesize"] = speech
    done = cli("say", "hi", "--play", "--out", str(tmp_path / "a.wav"), "--json")
    assert done.exit_code == 1
    assert json.loads(done.stderr)["error"]["message"] == "aplay could not play: no sound card"
    # The file was complete before.
    assert (tmp_path / "a.wav").exists()
