"""The results of one benchmark run, and the targets that its ratios are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .loads import Load
from .profile import Profile


@dataclass(frozen=True, kw_only=True)
class Row:
    """One load on one path."""

    path: str
    """The path of the requests, such as "direct" or "full gRPC"."""
    workload: str
    """"request" (a short answer) or "stream" (a long one, streamed)."""
    concurrency: int
    tokens_per_request: int
    load: Load
    cpu_seconds: Mapping[str, float]
    """CPU time of the load by process, without the load generator's."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens of answered requests a second."""
        return self.load.per_second * self.tokens_per_request

    def cpu_us_per_request(self) -> dict[str, float]:
        """CPU microseconds an answered request, by process."""
        answered = max(1, self.load.requests - self.load.failed)
        return {name: used / answered * 1e6 for name, used in self.cpu_seconds.items()}

    def cpu_us_per_token(self) -> dict[str, float]:
        """CPU microseconds a token, by process."""
        return {name: used / self.tokens_per_request for name, used in self.cpu_us_per_request().items()}


@dataclass(kw_only=True)
class Results:
    """Everything measured in one run."""

    machine: Mapping[str, object]
    rows: list[Row] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """Single figures by name, each with its unit in the name."""
    memory_bytes: dict[str, int] = field(default_factory=dict)
    """Memory of the idle mesh by process."""
    profiles: list[Profile] = field(default_factory=list)
    """Where the CPU time of the mesh's Python processes goes."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Failed measurements, with the reason."""

    def find(self, path: str, workload: str, concurrency: int) -> Row | None:
        """The row of a load; None if it was not measured."""
        wanted = (path, workload, concurrency)
        return next((row for row in self.rows if (row.path, row.workload, row.concurrency) == wanted), None)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target figure. `measure` returns None if its rows were not measured."""

    name: str
    at_least: float | None = None
    at_most: float | None = None
    measure: Callable[[Results], float | None]

    def verdict(self, results: Results) -> tuple[float | None, bool | None]:
        """The figure, and whether it meets the target; each None if unknown."""
        value = self.measure(results)
        if value is None:
            return None, None
        enough = self.at_least is None or value >= self.at_least
        return value, enough and (self.at_most is None or value <= self.at_most)


def _ratio(
    value: Callable[[Row], float], path: str, base: str, workload: str, concurrency: int
) -> Callable[[Results], float | None]:
    """The ratio of two paths' figures under the same load."""

    def measure(results: Results) -> float | None:
        ours, theirs = results.find(path, workload, concurrency), results.find(base, workload, concurrency)
        return value(ours) / value(theirs) if ours and theirs and value(theirs) else None

    return measure


def _figure(name: str) -> Callable[[Results], float | None]:
    return lambda results: results.figures.get(name)


def _requests(row: Row) -> float:
    return row.load.per_second


def _tokens(row: Row) -> float:
    return row.tokens_per_second


TARGETS = (
    Target(
        name="full gRPC path / direct, requests/s at 64",
        at_least=0.65,
        measure=_ratio(_requests, "full gRPC", "direct", "request", 64),
    ),
    Target(
        name="full gRPC path / direct, streamed tokens/s at 64",
        at_least=0.95,
        measure=_ratio(_tokens, "full gRPC", "direct", "stream", 64),
    ),
    Target(
        name="OpenAI JSON / LiteLLM, requests/s at 64",
        at_least=30,
        measure=_ratio(_requests, "full OpenAI JSON", "LiteLLM", "request", 64),
    ),
    Target(
        name="OpenAI JSON / LiteLLM, streamed tokens/s at 64",
        at_least=20,
        measure=_ratio(_tokens, "full OpenAI JSON", "LiteLLM", "stream", 64),
    ),
    Target(name="router's decision, CPU us", at_most=100, measure=_figure("decision_cpu_us")),
    Target(
        name="saturated coalesced stream, tokens/s",
        at_least=150_000,
        measure=_figure("saturated_stream_tokens_per_second"),
    ),
    Target(name="open streams held", at_least=1000, measure=_figure("open_streams")),
    Target(
        name="memory growth while they are held, share",
        at_most=0.05,
        measure=_figure("open_streams_memory_growth"),
    ),
    Target(name="espeak-ng: first audio, ms at the median", at_most=60, measure=_figure("espeak_first_audio_p50_ms")),
    Target(name="espeak-ng: times real time", at_least=50, measure=_figure("espeak_times_real_time_pcm")),
    Target(name="piper-joe: first audio, ms at the median", at_most=500, measure=_figure("piper_first_audio_p50_ms")),
    Target(name="piper-joe: times real time", at_least=4, measure=_figure("piper_times_real_time_pcm")),
    Target(name="whisper-base: times real time", at_least=1, measure=_figure("whisper_times_real_time")),
    Target(
        name="whisper-base on piper-joe: word error rate",
        at_most=0.1,
        measure=_figure("word_error_rate_of_whisper_on_piper"),
    ),
    Target(name="memory of the idle mesh, MiB", at_most=700, measure=_figure("idle_mesh_memory_mib")),
    Target(
        name="smollm2-135m: first token with its load, s",
        at_most=5,
        measure=_figure("smollm2-135m_first_token_with_its_load_s"),
    ),
    Target(
        name="smollm2-135m: tokens/s of one stream",
        at_least=40,
        measure=_figure("smollm2-135m_tokens_per_second_1_stream"),
    ),
    Target(
        name="all-minilm-l6-v2: embeddings/s",
        at_least=200,
        measure=_figure("all-minilm-l6-v2_embeddings_per_second"),
    ),
)
