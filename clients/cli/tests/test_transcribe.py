"""The command `transcribe`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.voice.v1 import voice_pb2

COMMAND = str(Path(sys.executable).parent / "enginehouse")


def program(folder: Path, name: str, script: str) -> None:
    """Put a program on a PATH of the test's own."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def written() -> voice_pb2.RecognizeResponse:
    word = voice_pb2.Word(word="crow", start_ms=10, end_ms=90, confidence=0.5)
    response = voice_pb2.RecognizeResponse(
        request_id="r",
        model="sphinx",
        text="a crow <sat> down",
        language="en-US",
        duration_ms=3_725_500,
        segments=[
            voice_pb2.Segment(text="a crow", start_ms=20, end_ms=1100, confidence=0.25, words=[word]),
            voice_pb2.Segment(text="<sat>\ndown", start_ms=3_723_004, end_ms=3_725_000),
        ],
    )
    response.usage.cost_nanos = 3
    response.usage.units.add(unit=usage_pb2.UNIT_AUDIO_MILLISECONDS, amount=1200)
    return response


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "crow.wav"
    path.write_bytes(b"RIFF...")
    return path


def test_a_recordings_text_is_printed(cli: Any, service: Any, written: Any, file: Path) -> None:
    service.answers["Recognize"] = written
    done = cli("transcribe", str(file), "--language", "en", "--model", "sphinx", "--translate", "--prompt", "crow")
    assert done.exit_code == 0
    assert done.stdout == "a crow <sat> down\n"
    assert done.stderr == "[sphinx, en-US, 3725.5 s of audio, $0.000000003]\n"
    request = service.requests[0]
    options = request.options
    assert (request.audio, request.model, options.language) == (b"RIFF...", "sphinx", "en")
    assert (options.translate, options.prompt, options.word_times) == (True, "crow", False)


def test_standard_input_is_a_recording(cli: Any, service: Any, written: Any) -> None:
    service.answers["Recognize"] = written
    assert cli("transcribe", "-", stdin="RIFF from a pipe").exit_code == 0
    assert service.requests[0].audio == b"RIFF from a pipe"


@pytest.mark.parametrize("form", [("--json",), ("--format", "json"), ("--format", "srt", "--json")])
def test_json_has_everything(cli: Any, service: Any, written: Any, file: Path, form: tuple[str, ...]) -> None:
    service.answers["Recognize"] = written
    done = cli("transcribe", str(file), "--words", *form)
    assert json.loads(done.stdout) == {
        "request_id": "r",
        "model": "sphinx",
        "text": "a crow <sat> down",
        "language": "en-US",
        "duration_ms": 3_725_500,
        "segments": [
            {
                "text": "a crow",
                "start_ms": 20,
                "end_ms": 1100,
                "confidence": 0.25,
                "words": [{"word": "crow", "start_ms": 10, "end_ms": 90, "confidence": 0.5}],
            },
            {"text": "<sat>\ndown", "start_ms": 3_723_004, "end_ms": 3_725_000, "confidence": 0, "words": []},
        ],
        "usage": {"audio_milliseconds": 1200},
        "cost_nanos": 3,
        "stopped_by_budget": False,
    }
    assert service.requests[0].options.word_times


def test_subtitles_are_printed(cli: Any, service: Any, written: Any, file: Path) -> None:
    service.answers["Recognize"] = written
    assert cli("transcribe", str(file), "--format", "srt").stdout == (
        "1\n00:00:00,020 --> 00:00:01,100\na crow\n\n2\n01:02:03,004 --> 01:02:05,000\n<sat> down\n"
    )
    assert cli("transcribe", str(file), "--format", "vtt").stdout == (
        "WEBVTT\n\n00:00:00.020 --> 00:00:01.100\na crow\n\n01:02:03.004 --> 01:02:05.000\n&lt;sat&gt; down\n"
    )


def test_words_are_printed_with_their_times(cli: Any, service: Any, written: Any, file: Path) -> None:
    written.segments[1].words.add(word="sat", start_ms=3_723_004, end_ms=3_724_000)
    service.answers["Recognize"] = written
    assert cli("transcribe", str(file), "--words").stdout == "0.010\t0.090\tcrow\n3723.004\t3724.000\tsat\n"
    assert cli("transcribe", str(file), "--words", "--format", "srt").stdout == (
        "1\n00:00:00,010 --> 00:00:00,090\ncrow\n\n2\n01:02:03,004 --> 01:02:04,000\nsat\n"
    )
    assert cli("transcribe", str(file), "--words", "--format", "vtt").stdout == (
        "WEBVTT\n\n00:00:00.010 --> 00:00:00.090\ncrow\n\n01:02:03.004 --> 01:02:04.000\nsat\n"
    )


@pytest.mark.parametrize("form", ["text", "json", "srt", "vtt"])
def test_a_model_without_times_of_words_is_named(cli: Any, service: Any, written: Any, file: Path, form: str) -> None:
    for segment in written.segments:
        del segment.words[:]
    service.answers["Recognize"] = written
    done = cli("transcribe", str(file), "--words", "--format", form)
    assert done.exit_code == 1
    assert "--words: the model 'sphinx' gives no times of words" in done.stderr
    assert done.stdout == ""


def test_silence_is_reported(cli: Any, service: Any, file: Path) -> None:
    service.answers["Recognize"] = voice_pb2.RecognizeResponse(model="sphinx", duration_ms=100)
    done = cli("transcribe", str(file))
    assert (done.stdout, done.stderr) == ("\n", "[sphinx, 0.1 s of audio, nobody spoke, $0]\n")
    assert cli("transcribe", str(file), "--format", "srt").stdout == ""
    assert cli("transcribe", str(file), "--format", "vtt").stdout == "WEBVTT\n"


def test_a_failure_prints_one_line(cli: Any, service: Any, tmp_path: Path) -> None:
    for name, problem in (("none.wav", "No such file or directory"), ("", "Is a directory")):
        done = cli("transcribe", str(tmp_path / name))
        assert done.exit_code == 1
        assert done.stderr == f"enginehouse: {tmp_path / name}: {problem}\n"
    for arguments in ((), ("a.wav", "--mic"), ("a.wav", "--format", "docx")):
        assert cli("transcribe", *arguments).exit_code == 2
    assert service.requests == []


def hears(requests: Any, heard: threading.Event) -> Any:
    """Answer with the size of the audio at the end. Set the event once a recorder's samples have arrived."""
    config = next(requests).config
    yield voice_pb2.StreamingRecognizeResponse(request_id="l", model="sphinx")
    size = 0
    for request in requests:
        size += len(request.audio)
        if size == 6400:
            heard.set()
    text = f"{size} bytes at {config.sample_rate}"
    final = voice_pb2.StreamingResult(segment=voice_pb2.Segment(text=text, end_ms=900), is_final=True, language="en")
    yield voice_pb2.StreamingRecognizeResponse(result=final)
    yield voice_pb2.StreamingRecognizeResponse(summary=voice_pb2.RecognitionSummary(audio_ms=1000))


@pytest.mark.parametrize("recorder", ["arecord", "parecord", "pw-record"])
def test_the_microphone_is_transcribed_until_ctrl_c(cli: Any, service: Any, tmp_path: Path, recorder: str) -> None:
    # It records a little, and then nothing until it is stopped.
    script = (
        f'[ "$*" = --help ] || {{ printf "%s" "$*" > {tmp_path}/arguments; head -c 6400 /dev/zero; exec sleep 60; }}'
    )
    program(tmp_path / "bin", recorder, script)
    heard = threading.Event()
    service.answers["StreamingRecognize"] = lambda requests, _: hears(requests, heard)
    running = subprocess.Popen(
        [COMMAND, "transcribe", "--mic", "--max-seconds", "30"],
        env={**os.environ, **cli.environment, "PATH": f"{tmp_path}/bin:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert heard.wait(30)
    running.send_signal(signal.SIGINT)
    said, told = running.communicate(timeout=30)
    assert running.returncode == 0, told
    assert said == "6400 bytes at 16000\n"
    assert told == "[sphinx, en, 1.0 s of audio, $0]\n"
    assert "16000" in (tmp_path / "arguments").read_text()


def test_a_failed_recorder_is_quoted(cli: Any, service: Any, tmp_path: Path, monkeypatch: Any) -> None:
    program(tmp_path / "bin", "arecord", "echo 'no sound card' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    service.answers["StreamingRecognize"] = lambda requests, _: hears(requests, threading.Event())
    done = cli("transcribe", "--mic")
    assert done.exit_code == 1
    assert done.stderr == "enginehouse: arecord could not record: no sound card\n"


def test_without_a_recorder_the_suitable_ones_are_named(cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    done = cli("transcribe", "--mic")
    assert done.exit_code == 1
    assert "install one of arecord, parecord, pw-record" in done.stderr
