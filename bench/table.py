"""The table: for the terminal and `docs/benchmarks.md` as Markdown, for programs as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from .profile import Profile
from .rows import Results, Row
from .selection import slug
from .targets import TARGETS

MIB = 1 << 20


def as_json(results: Results) -> dict[str, object]:
    """The whole run as JSON, with the targets' verdicts."""
    return {
        "machine": dict(results.machine),
        "rows": [
            {
                **{name: getattr(row, name) for name in ("path", "workload", "concurrency", "tokens_per_request")},
                **asdict(row.load),
                "requests_per_second": row.load.per_second,
                "tokens_per_second": row.tokens_per_second,
                "cpu_us_per_request": row.cpu_us_per_request(),
                "cpu_us_per_token": row.cpu_us_per_token(),
                "rounds": [
                    {"round": turn.round, "requests_per_second": turn.load.per_second, "cpu_us": turn.cpu_us}
                    for turn in row.turns
                ],
            }
            for row in results.rows
        ],
        "figures": results.figures,
        "idle_memory_bytes": results.memory_bytes,
        "targets": [
            {"name": target.name, "at_least": target.at_least, "at_most": target.at_most, "measured": value, "met": met}
            for target in TARGETS
            for value, met in [target.verdict(results)]
        ],
        "profiles": [asdict(profile) for profile in results.profiles],
        "skipped": results.skipped,
    }


def as_markdown(results: Results) -> str:
    """The whole run as Markdown, ending in a newline."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` in one run on one machine; do not edit. Shared machines move such figures by a third",
        "from run to run: believe the ratios, and the CPU microseconds before the requests a second.",
        "",
        *[f"- {name}: {value}" for name, value in results.machine.items()],
        "",
        "A *request* asks for a short answer, a *stream* for a long one; both come from a synthetic token source that",
        "costs next to nothing, so that what is measured is the path. Latencies are of whole calls. LiteLLM runs as",
        "its documentation starts it, with one worker and without a database. The gRPC floor is a handler of grpc.aio",
        "that answers one message and does nothing else: no engine in Python on gRPC costs less.",
        "",
        "Machines that others use change their speed within minutes. So the paths take turns in short rounds, and",
        "what is compared is compared within a round: each ratio and difference below is the median of the rounds'.",
        "CPU microseconds and latencies are medians of the turns', requests a second the mean of all turns.",
        "",
        "What the mesh adds in CPU is all its processes' on the OpenAI JSON path, less the engine's when it is called",
        "directly; what LiteLLM adds is its own process. The p50 that a path adds is compared between turns of 0.7 s",
        "that alternate.",
        "",
        "Grant and metering are the engine's CPU in the mesh less that of the same engine in the same mesh that admits",
        "everybody: it looks at no grant, prices and spools nothing and reports no usage. The engine called directly",
        "is no such comparison: always busy, it answers many calls from warm caches each time it wakes, while any",
        "engine that shares its cores with a mesh costs more a call, with grants or without. The whole difference to",
        "it is among the other figures.",
        "",
        "The soak sends calls of seven kinds through the whole mesh for ten minutes (bench/soak_calls.py); each has",
        "the outcome that it must have, and any other is an unexplained failure. Memory is what is neither a file's",
        "nor shared; its slope is the median of all pairs of samples after the first 40 % of the time. One small",
        "object kept for each call would be a slope of 7 MiB an hour.",
        "",
        "## Targets",
        "",
        "| figure | measured | target | | `python -m bench` |",
        "|---|---|---|---|---|",
        *_targets(results),
        "",
    ]
    for workload in dict.fromkeys(row.workload for row in results.rows):
        rows = [row for row in results.rows if row.workload == workload]
        order = [*dict.fromkeys(row.path for row in rows)]
        rows.sort(key=lambda row: (order.index(row.path), row.concurrency))
        lines += [
            f"## {workload.capitalize()}s: {rows[0].tokens_per_request} output tokens each",
            "",
            f"`python -m bench --parts paths --workloads {slug(workload)}`",
            "",
            *_loads(rows),
            "",
        ]
    for profile in results.profiles:
        lines += [
            f"## Profile of the {profile.process}: full gRPC at 64",
            "",
            "`python -m bench --parts profile`",
            "",
            *_profile(profile),
            "",
        ]
    if results.memory_bytes:
        lines += ["## Memory of the idle mesh", "", *_memory(results.memory_bytes), ""]
    if results.figures:
        lines += ["## Other figures", "", "| figure | | `python -m bench` |", "|---|---|---|"]
        lines += [
            f"| {name.replace('_', ' ')} | {_number(value)} | `--parts {results.parts[name]}` |"
            for name, value in results.figures.items()
        ]
        lines.append("")
    if results.skipped:
        lines += ["## Not measured", "", *[f"- {what}: {why}" for what, why in results.skipped.items()], ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _targets(results: Results) -> Iterable[str]:
    for target in TARGETS:
        value, met = target.verdict(results)
        bound = (
            f">= {_number(target.at_least)}" if target.at_least is not None else f"<= {_number(target.at_most or 0)}"
        )
        said = {True: "met", False: "missed", None: "not measured"}[met]
        yield f"| {target.name} | {'' if value is None else _number(value)} | {bound} | {said} | `{target.command}` |"


def _loads(rows: list[Row]) -> Iterable[str]:
    yield "| path | c | requests/s | p50 ms | p99 ms | tokens/s | failed | CPU us/request | CPU us/token |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        load = row.load
        yield (
            f"| {row.path} | {row.concurrency} | {_number(load.per_second)} | {_number(load.p50_ms)} "
            f"| {_number(load.p99_ms)} | {_number(row.tokens_per_second)} | {load.failed} "
            f"| {_by_process(row.cpu_us_per_request())} | {_number(sum(row.cpu_us_per_token().values()))} |"
        )


def _profile(profile: Profile) -> Iterable[str]:
    whole = profile.cpu_us_per_request
    yield f"{profile.samples} samples under {_number(profile.requests_per_second)} requests/s."
    yield ""
    yield "| part | CPU us/request | share |"
    yield "|---|---|---|"
    for name, cost in profile.parts.items():
        yield f"| {name} | {_number(cost)} | {cost / whole:.1%} |"
    yield f"| **all** | **{_number(whole)}** | |"
    yield ""
    yield "| function, by its own time | CPU us/request |"
    yield "|---|---|"
    for name, cost in profile.functions.items():
        yield f"| `{name}` | {_number(cost)} |"


def _by_process(figures: Mapping[str, float]) -> str:
    parts = [f"{name} {_number(value)}" for name, value in figures.items() if value >= 0.5]
    return f"**{_number(sum(figures.values()))}** ({', '.join(parts)})"


def _memory(by_process: Mapping[str, int]) -> Iterable[str]:
    yield "| process | MiB |"
    yield "|---|---|"
    for name, size in by_process.items():
        yield f"| {name} | {_number(size / MIB)} |"
    yield f"| **all** | **{_number(sum(by_process.values()) / MIB)}** |"


def _number(value: float) -> str:
    """Format a number with three significant figures."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
