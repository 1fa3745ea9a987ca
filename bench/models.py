"""The models of a fresh mesh: memory, the first token with and without a load, and the speed of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from enginehouse.client import Enginehouse, RetryPolicy
from tests.mesh import Mesh

from .usage import memory_bytes

PROMPT = "Tell me a story about a clever crow who finds a jug of water."
TOKENS = 96
STREAMS = 4
TEXT_MODELS = ("enginehouse-tiny", "smollm2-135m")
EMBEDDER = "all-minilm-l6-v2"
SENTENCES = [f"The crow dropped pebble number {number} into the jug, and the water rose." for number in range(256)]
SPEECH = "The crow dropped pebbles into the jug until it could drink."
SPEECH_MODELS = ("espeak-ng", "piper-joe")
RECOGNIZERS = ("pocketsphinx-en-us", "whisper-base")
MIB = 1 << 20


def measure_models() -> Mapping[str, float]:
    """The figures by name, of a mesh with the default catalog in which no model is loaded at first."""
    with Mesh.started(small=False) as mesh:
        own = {name: [pid] for name, pid in mesh.processes().items()}
        figures = {"idle_mesh_memory_mib": sum(memory_bytes(own).values()) / MIB}

        def memory() -> float:
            return sum(memory_bytes(own).values()) / MIB

        # An ordinary stream: one that can be resumed costs more with each sampled token.
        with Enginehouse(mesh.url, mesh.key, retries=RetryPolicy(max_resumes=0)) as client:
            for model in TEXT_MODELS:
                figures |= _generation(client, model, memory)
            figures |= _embedding(client, memory)
            figures |= _voice(client, memory)
        return figures


def _generation(client: Enginehouse, model: str, memory: Callable[[], float]) -> dict[str, float]:
    before = memory()
    cold, _, _ = _stream(client, model, 0, tokens=1)
    warm, tokens, seconds = _stream(client, model, 1)
    began = time.perf_counter()
    with ThreadPoolExecutor(STREAMS) as pool:
        together = sum(made for _, made, _ in pool.map(lambda seed: _stream(client, model, 2 + seed), range(STREAMS)))
    return {
        f"{model}_memory_mib": memory() - before,
        f"{model}_first_token_with_its_load_s": cold,
        f"{model}_first_token_s": warm,
        f"{model}_tokens_per_second_1_stream": tokens / seconds,
        f"{model}_tokens_per_second_{STREAMS}_streams": together / (time.perf_counter() - began),
    }


def _stream(client: Enginehouse, model: str, seed: int, tokens: int = TOKENS) -> tuple[float, int, float]:
    """Seconds to the first token, the number of tokens, and seconds to the last."""
    began = time.perf_counter()
    first = 0.0
    with client.stream(PROMPT, model=model, max_output_tokens=tokens, seed=seed) as stream:
        for _ in stream:
            first = first or time.perf_counter()
        made = stream.result.usage["output_tokens"]
    return first - began, made, time.perf_counter() - began


def _embedding(client: Enginehouse, memory: Callable[[], float]) -> dict[str, float]:
    before = memory()
    cold = _seconds(lambda: client.embed(SENTENCES[:1], model=EMBEDDER))
    together = _seconds(lambda: client.embed(SENTENCES, model=EMBEDDER))
    return {
        f"{EMBEDDER}_memory_mib": memory() - before,
        f"{EMBEDDER}_first_vector_with_its_load_s": cold,
        f"{EMBEDDER}_embeddings_per_second": len(SENTENCES) / together,
    }


def _voice(client: Enginehouse, memory: Callable[[], float]) -> dict[str, float]:
    figures: dict[str, float] = {}
    audio = b""
    for model in SPEECH_MODELS:
        before = memory()
        cold = _seconds(lambda model=model: client.speak(SPEECH, model=model).read())  # type: ignore[misc]
        stream = client.speak(SPEECH, model=model, encoding="wav")
        began = time.perf_counter()
        audio = stream.read()
        figures[f"{model}_memory_mib"] = memory() - before
        figures[f"{model}_sentence_with_its_load_s"] = cold
        seconds = stream.summary.audio_ms / 1000 if stream.summary else 0.0
        figures[f"{model}_times_real_time"] = seconds / (time.perf_counter() - began)
    for model in RECOGNIZERS:
        before = memory()
        cold = _seconds(lambda model=model: client.transcribe(audio, model=model))  # type: ignore[misc]
        began = time.perf_counter()
        heard = client.transcribe(audio, model=model)
        figures[f"{model}_memory_mib"] = memory() - before
        figures[f"{model}_transcript_with_its_load_s"] = cold
        figures[f"{model}_times_real_time"] = heard.duration_ms / 1000 / (time.perf_counter() - began)
    return figures


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
