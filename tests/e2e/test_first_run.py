"""A fresh mesh with the models of a first installation, called by a client that names nobody's models but OpenAI's."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Iterator, Sequence

import httpx
import openai
import pytest

from tests.mesh import Mesh

TEXT = "The clever crow dropped pebbles into the jug, until the water rose and she could drink."
TELUGU = "అనగనగా ఒక ఊరిలో ఒక తెలివైన కాకి ఉండేది."


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh.started(small=False) as running:
        yield running


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=0, timeout=120) as connected:
        yield connected


def ask(client: openai.OpenAI, text: str, *, model: str = "gpt-4o-mini") -> tuple[str, str, httpx.Headers]:
    """The answer, the model that gave it, and the response's headers."""
    response = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": text}], max_tokens=60, seed=1, temperature=0
    )
    answer = response.parse()
    return answer.choices[0].message.content or "", answer.model, response.headers


def spoken(client: openai.OpenAI, text: str, *, voice: str = "alloy") -> tuple[bytes, str]:
    """The audio of a text as a WAV file, and the model that spoke it."""
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice=voice, input=text, response_format="wav"
    ) as response:
        return b"".join(response.iter_bytes()), response.headers["x-enginehouse-model"]


def test_the_first_call_waits_for_the_model_and_says_so(client: openai.OpenAI) -> None:
    text, model, headers = ask(client, "Tell me a story about a clever crow")
    assert model == "smollm2-135m"
    assert int(headers["x-enginehouse-load-ms"]) > 0
    assert len(set(words(text))) > 20
    again, _, headers = ask(client, "Tell me a story about a clever crow")
    assert again == text
    assert "x-enginehouse-load-ms" not in headers


def test_a_telugu_prompt_goes_to_a_model_that_writes_telugu(client: openai.OpenAI) -> None:
    assert ask(client, "ఒక తెలివైన కాకి కథ చెప్పు")[1] == "enginehouse-tiny"


def test_speech_is_understood_by_the_default_recogniser(client: openai.OpenAI) -> None:
    audio, model = spoken(client, TEXT)
    assert model == "piper-joe"
    heard = client.audio.transcriptions.create(model="whisper-1", file=("crow.wav", audio))
    # Piper's voices speak a little differently each time, and a short word may be heard as another.
    assert distance(words(TEXT), words(heard.text)) <= len(words(TEXT)) // 4
    answer = client.audio.transcriptions.with_raw_response.create(model="auto", file=("crow.wav", audio))
    assert answer.headers["x-enginehouse-model"] == "whisper-base"


@pytest.mark.parametrize(("text", "voice"), [(TELUGU, "alloy"), (TELUGU, "te-IN"), ("Il était une fois.", "fr")])
def test_a_language_finds_the_voice_that_speaks_it(client: openai.OpenAI, text: str, voice: str) -> None:
    audio, model = spoken(client, text, voice=voice)
    assert model == "espeak-ng"
    with wave.open(io.BytesIO(audio)) as file:
        assert file.getnframes() > file.getframerate() // 2


def test_a_voice_that_nobody_has_names_the_nearest(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="en_us-joe-medium"):
        spoken(client, TEXT, voice="en_us-jo-medium")


def test_embeddings_have_their_usual_name(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=["a crow", "a raven", "an invoice"])
    assert answer.model == "all-minilm-l6-v2"
    crow, raven, invoice = (entry.embedding for entry in answer.data)
    assert dot(crow, raven) > dot(crow, invoice)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein's distance in words."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, start=1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(heard, start=1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
    return row[-1]
