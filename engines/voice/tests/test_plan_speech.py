"""The words of a speech, without the speech."""

from __future__ import annotations

import pytest

from enginehouse.api.voice.v1.voice_pb2 import PlanSpeechRequest, PlanSpeechResponse, SpeechControls, SynthesizeRequest
from enginehouse.kit.errors import Reason
from engines.voice.tests.voice_engine import PCM, VoiceClient, amounts, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def planned(engine: VoiceClient, request: PlanSpeechRequest) -> PlanSpeechResponse:
    response: PlanSpeechResponse = await engine.stub.PlanSpeech(
        request, metadata=engine.metadata("PlanSpeech", prices={}, cap_nanos=0), timeout=30
    )
    return response


async def test_it_shows_what_a_synthesis_speaks(engine: VoiceClient) -> None:
    text = "It was -5 °C. **Über** 10 000 people.\n\nతెలుగు 5. The end."
    plan = await planned(engine, PlanSpeechRequest(text=text))
    assert plan.model == "espeak-ng"
    assert plan.request_id
    said = [(said.text, said.language, said.pause_ms) for chunk in plan.chunks for said in chunk.utterances]
    assert said == [
        ("It was minus five degrees Celsius.", "en", 0),
        ("Über ten thousand people.", "en", 0),
        ("తెలుగు ఐదు.", "te", 0),
        ("The end.", "en", 250),
    ]
    spoken = await engine.speak(SynthesizeRequest(text=text, audio=PCM))
    spans = [(chunk.first_character, chunk.characters) for chunk in plan.chunks]
    assert spans == [(chunk.first_character, chunk.characters) for chunk in spoken.done]
    # Only the synthesis is counted.
    used = [amounts(record) for record in await engine.records(2)]
    assert sorted(used, key=len) == [{}, spoken.usage]
    assert [chunk.pause_ms for chunk in plan.chunks] == [250, 600, 0]


async def test_documents_and_controls_are_planned(engine: VoiceClient) -> None:
    document = '<speak>A <break time=".5s"/><say-as interpret-as="characters">AB</say-as> 3.</speak>'
    plan = await planned(engine, PlanSpeechRequest(ssml=document, controls=SpeechControls(voice="es")))
    said = [(said.text, said.voice, said.spelled) for chunk in plan.chunks for said in chunk.utterances]
    assert said == [("A", "es", False), ("AB", "es", True), ("3.", "es", False)]
    assert plan.chunks[0].utterances[1].pause_ms == 500


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (PlanSpeechRequest(), "missing"),
        (PlanSpeechRequest(text="a" * 20_001), "20,000|20000"),
        (PlanSpeechRequest(text="...", controls=SpeechControls(language="en")), "nothing that can be said"),
        (PlanSpeechRequest(ssml="<speak>"), "ssml"),
        (PlanSpeechRequest(text="x", controls=SpeechControls(speed=9)), "speed"),
        (PlanSpeechRequest(text="x", controls=SpeechControls(language="tlh-XX")), "language"),
    ],
)
async def test_what_cannot_be_spoken_is_refused_as_a_synthesis_is(
    engine: VoiceClient, request_: PlanSpeechRequest, message: str
) -> None:
    error = await refusal(engine.stub.PlanSpeech(request_, metadata=engine.metadata("PlanSpeech"), timeout=30))
    assert error.reason is Reason.INVALID_REQUEST
    assert any(part in str(error) for part in message.split("|"))
