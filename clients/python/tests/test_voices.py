"""Voices, over a real connection."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from clients.python.tests.harness.behaviours import refuse, respond
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client import Conflict, NotFound


async def test_all_pages_of_voices_are_listed(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        respond(voice_pb2.ListVoicesResponse(voices=[{"voice_id": "en"}], next_page_token="en")),
        respond(voice_pb2.ListVoicesResponse(voices=[{"voice_id": "te"}])),
    ]
    mesh = connect(server.url)
    found = await mesh.call("voices", language="te", gender="female", style="whisper", model="espeak", cloned=True)
    assert [voice.voice_id for voice in found] == ["en", "te"]
    first, second = server.requests
    assert (first.language, first.gender, first.style) == ("te", voice_pb2.GENDER_FEMALE, "whisper")
    assert (first.model, first.cloned, first.page_token) == ("espeak", True, "")
    assert (second.page_token, second.language, second.cloned) == ("en", "te", True)


async def test_an_unknown_gender_is_refused(server: ScriptedServer, connect: Connect) -> None:
    with pytest.raises(ValueError, match="unknown gender 'old': expected one of female, male, neutral"):
        await connect(server.url).call("voices", gender="old")


async def test_a_voice_is_created_and_deleted(server: ScriptedServer, connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "me.wav"
    file.write_bytes(b"RIFF...")
    server.script = [
        respond(voice_pb2.CreateVoiceResponse(voice={"voice_id": "voc_1", "name": "me"})),
        respond(voice_pb2.DeleteVoiceResponse()),
        refuse(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", message="there is no voice"),
        refuse(grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", message="the name is taken"),
    ]
    mesh = connect(server.url)
    arguments = {
        "language": "te",
        "speaker": "Sita",
        "statement": "for stories",
        "confirmed": True,
        "model": "xtts",
        "gender": "female",
        "description": "warm",
    }
    voice = await mesh.call("create_voice", "me", file, **arguments)
    assert voice.voice_id == "voc_1"
    sent = server.requests[0]
    assert (sent.name, sent.sample, sent.language, sent.model) == ("me", b"RIFF...", "te", "xtts")
    assert (sent.gender, sent.description) == (voice_pb2.GENDER_FEMALE, "warm")
    assert (sent.consent.speaker, sent.consent.statement, sent.consent.confirmed) == ("Sita", "for stories", True)
    await mesh.call("delete_voice", "voc_1")
    assert server.requests[1].voice_id == "voc_1"
    with pytest.raises(NotFound, match="there is no voice"):
        await mesh.call("delete_voice", "voc_1")
    with pytest.raises(Conflict, match="the name is taken"):
        await mesh.call("create_voice", "me", b"RIFF...", **arguments)
    with pytest.raises(ValueError, match="more than 10 MiB"):
        await mesh.call("create_voice", "me", bytes(10 * 2**20 + 1), **arguments)
