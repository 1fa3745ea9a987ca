"""The parts that the frames of the stacks of router and engine belong to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

Frames = Sequence[str]
"""One stack, outermost first, each frame as "function (file:line)"."""
Parts = Sequence[tuple[str, re.Pattern[str]]]
"""Names of parts, each with what "file function" of its frames matches."""

LOOP = "event loop and native gRPC"
"""The part of stacks that have no frame of any other: native code that the loop calls."""
_LOOPS = ("Runner.run (", "BaseEventLoop.run_forever (", "Handle._run (")
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)$")
_THREAD = re.compile(r"^thread \(([0-9A-Fa-fx]+)\)")
_ROOTS = re.compile(r"^.*/(?:site-packages|src|python3\.\d+)/|^.*/(?=bench/\w+\.py$)")


def _parts(**patterns: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name.replace("_", " "), re.compile(pattern)) for name, pattern in patterns.items())


_LIBRARIES = _parts(
    SQLAlchemy="/sqlalchemy/",
    asyncpg="/asyncpg/",
    gRPC="/grpc/|/kit/server/_handlers",
    metrics="/prometheus_client/|/kit/telemetry/_metrics|/router/metrics",
    tracing="/opentelemetry/|/kit/telemetry/_tracing",
    logging="/logging/|/kit/telemetry/_logging",
    grants="/kit/grants|/admission/grant_builder",
)
ROUTER: Parts = (
    *_LIBRARIES,
    *_parts(
        HTTP="/httptools/|/router/api/(?!usage)",
        journal="/ledger/.*journal",
        settle="/ledger/_(?:settlement|store|sweep|billing|report_parser)|/router/api/usage| .*settle",
        reserve="/ledger/",
        decision="/router/(?:decision|predictor|policy|fleet|prices|experiments)/",
        request="/router/request/|/kit/openai/|/kit/prompt_bound",
        identity_and_limits="/router/(?:identity|limits)/",
        admission="/router/(?:admission|cache)/",
        rest="/enginehouse/",
    ),
)
ENGINE: Parts = (
    *_LIBRARIES,
    *_parts(
        usage_reports="/kit/usage/_reporter",
        metering="/kit/usage/",
        accepting="/kit/calls/",
        OpenAI_JSON="/kit/openai/",
        stream_writer="/kit/server/stream",
        server="/kit/server/|/kit/current_call|/kit/errors",
        models="/kit/loading/",
        text_engine="/engines/inference/",
        synthetic_source="/bench/source",
        rest="/enginehouse/|/bench/",
    ),
)


def read_stacks(lines: Sequence[str], *, thread: int) -> Iterator[tuple[Frames, int]]:
    """Read py-spy's collapsed stacks of one thread: each stack and how often it was seen."""
    for line in lines:
        stack, _, count = line.rpartition(" ")
        first, *frames = stack.split(";")
        if frames and (named := _THREAD.match(first)) and int(named[1], 0) == thread:
            yield frames, int(count)


def part_of(frames: Frames, parts: Parts) -> str:
    """The part of the innermost frame that belongs to any: the standard library counts for its caller."""
    # The frames that lead to the event loop are under every task.
    last_of_loop = max((place for place, frame in enumerate(frames) if frame.startswith(_LOOPS)), default=-1)
    for frame in reversed(frames[last_of_loop + 1 :]):
        place = _FRAME.sub(r"\g<file> \g<function>", frame)
        for name, pattern in parts:
            if pattern.search(place):
                return name
    return LOOP


def short_name(frame: str) -> str:
    """A frame as "function (package/module.py)"."""
    found = _FRAME.match(frame)
    return f"{found['function']} ({_ROOTS.sub('', found['file'])})" if found else frame
