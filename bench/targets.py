"""The targets that a run is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .rows import Compare, Results, Row, Turn, median_of_rounds
from .selection import DIRECT, FULL, FULL_JSON, FULL_UNGRANTED, GRANTED, LITELLM, LONE, slug

Measure = Callable[[Results], float | None]
HIGH = 64


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target figure. `measure` returns None if its rows were not measured."""

    name: str
    command: str
    """The arguments of `python -m bench` that measure this figure alone."""
    at_least: float | None = None
    at_most: float | None = None
    measure: Measure

    def verdict(self, results: Results) -> tuple[float | None, bool | None]:
        """The figure, and whether it meets the target; each None if unknown."""
        value = self.measure(results)
        if value is None:
            return None, None
        enough = self.at_least is None or value >= self.at_least
        return value, enough and (self.at_most is None or value <= self.at_most)


def _of_paths(
    name: str,
    compare: Compare,
    *paths: str,
    workload: str = "request",
    concurrency: int = HIGH,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Target:
    """A comparison of two paths within rounds; of one path with itself, it is a figure of its own."""

    def measure(results: Results) -> float | None:
        rows = [results.find(path, workload, concurrency) for path in (paths[0], paths[-1])]
        ours, theirs = rows
        return median_of_rounds(ours, theirs, compare) if ours and theirs else None

    command = _command(paths, workload, concurrency)
    return Target(name=name, command=command, at_least=at_least, at_most=at_most, measure=measure)


def _command(paths: Sequence[str], workload: str, concurrency: int) -> str:
    command = f"--parts paths --paths {' '.join(map(slug, paths))} --workloads {slug(workload)}"
    return command if workload == LONE else f"{command} --concurrencies {concurrency}"


def _figure(
    name: str, part: str, figure: str, *, at_least: float | None = None, at_most: float | None = None
) -> Target:
    return Target(
        name=name,
        command=f"--parts {part}",
        at_least=at_least,
        at_most=at_most,
        measure=lambda results: results.figures.get(figure),
    )


def _speed(ours: Turn, theirs: Turn) -> float:
    return ours.load.per_second / theirs.load.per_second


def _cpu(process: str) -> Compare:
    return lambda ours, _: ours.cpu_us[process]


def _granting(ours: Turn, ungranted: Turn) -> float:
    return ours.cpu_us["engine"] - ungranted.cpu_us["engine"]


def _added_p50(ours: Turn, bare: Turn) -> float:
    return ours.load.p50_ms - bare.load.p50_ms


def _added_cpu(results: Results) -> float | None:
    """LiteLLM's own process, over what the whole mesh uses for the same JSON beyond the engine served directly."""
    direct, full, proxy = (results.find(path, "request", HIGH) for path in (DIRECT, FULL_JSON, LITELLM))
    if not (direct and full and proxy):
        return None
    bare = {turn.round: turn.cpu_us["engine"] for turn in direct.turns}

    def added(theirs: Turn, ours: Turn) -> float:
        return theirs.cpu_us["litellm"] / (sum(ours.cpu_us.values()) - bare[ours.round])

    with_bare = Row(**{**vars(full), "turns": [turn for turn in full.turns if turn.round in bare]})
    return median_of_rounds(proxy, with_bare, added)


TARGETS = (
    _of_paths("full gRPC / direct, requests/s at 64", _speed, FULL, DIRECT, at_least=0.70),
    _of_paths("full gRPC / direct, streamed tokens/s at 64", _speed, FULL, DIRECT, workload="stream", at_least=0.90),
    _of_paths("OpenAI JSON / LiteLLM, requests/s at 64", _speed, FULL_JSON, LITELLM, at_least=35),
    _of_paths(
        "OpenAI JSON / LiteLLM, streamed tokens/s at 64", _speed, FULL_JSON, LITELLM, workload="stream", at_least=25
    ),
    _of_paths(
        "p50 that the full gRPC path adds at 1, ms", _added_p50, FULL, DIRECT, workload=LONE, concurrency=1, at_most=1.2
    ),
    _of_paths("router, CPU us/request at 64", _cpu("router"), FULL, at_most=250),
    _of_paths("PostgreSQL, CPU us/request at 64", _cpu("postgres"), FULL, at_most=80),
    _of_paths("bare text engine, CPU us/request at 64", _cpu("engine"), DIRECT, at_most=400),
    _of_paths(
        "grant and metering in the engine, CPU us/request at 64",
        _granting,
        FULL,
        FULL_UNGRANTED,
        workload=GRANTED,
        at_most=80,
    ),
    Target(
        name="CPU added a request at 64, LiteLLM's / the mesh's",
        command=_command((DIRECT, FULL_JSON, LITELLM), "request", HIGH),
        at_least=30,
        measure=_added_cpu,
    ),
    _figure("router's decision, CPU us", "decision", "decision_cpu_us", at_most=100),
    Target(
        name="saturated coalesced stream, tokens/s",
        command="--parts paths --paths full-grpc --workloads saturated-stream",
        at_least=150_000,
        measure=lambda results: results.figures.get("saturated_stream_tokens_per_second"),
    ),
    Target(
        name="open streams held",
        command="--parts paths --paths full-grpc --workloads held-stream",
        at_least=1000,
        measure=lambda results: results.figures.get("open_streams"),
    ),
    Target(
        name="memory growth while they are held, share",
        command="--parts paths --paths full-grpc --workloads held-stream",
        at_most=0.05,
        measure=lambda results: results.figures.get("open_streams_memory_growth"),
    ),
    _figure("served of 140 paid for, 300 callers at once", "budgets", "crowd_served", at_least=130),
    _figure("overspend of that budget, nano-dollars", "budgets", "crowd_overspend_nanos", at_most=0),
    _figure("soak: unexplained failures", "soak", "soak_unexplained_failures", at_most=0),
    # One small object kept for each call would be more (bench/soak.py).
    _figure("soak: steepest memory slope, MiB/hour", "soak", "soak_steepest_memory_slope_mib_per_hour", at_most=5),
    _figure("soak: steepest growth of open files, an hour", "soak", "soak_steepest_open_files_per_hour", at_most=60),
    _figure("espeak-ng: first audio, ms at the median", "voice", "espeak_first_audio_p50_ms", at_most=60),
    _figure("espeak-ng: times real time", "voice", "espeak_times_real_time_pcm", at_least=50),
    _figure("piper-joe: first audio, ms at the median", "voice", "piper_first_audio_p50_ms", at_most=500),
    _figure("piper-joe: times real time", "voice", "piper_times_real_time_pcm", at_least=4),
    _figure("whisper-base: times real time", "voice", "whisper_times_real_time", at_least=1),
    _figure("whisper-base on piper-joe: word error rate", "voice", "word_error_rate_of_whisper_on_piper", at_most=0.1),
    _figure("memory of the idle mesh, MiB", "models", "idle_mesh_memory_mib", at_most=700),
    _figure(
        "smollm2-135m: first token with its load, s", "models", "smollm2-135m_first_token_with_its_load_s", at_most=5
    ),
    _figure("smollm2-135m: tokens/s of one stream", "models", "smollm2-135m_tokens_per_second_1_stream", at_least=40),
    _figure("all-minilm-l6-v2: embeddings/s", "models", "all-minilm-l6-v2_embeddings_per_second", at_least=200),
)
