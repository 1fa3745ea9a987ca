"""The results of one benchmark run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .loads import Load
from .profile import Profile


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One load on one path, while the other paths wait for their turns of the same round."""

    round: int
    load: Load
    cpu_seconds: Mapping[str, float]
    """CPU time of the load by process, without the load generator's."""

    @property
    def cpu_us(self) -> dict[str, float]:
        """CPU microseconds an answered request, by process."""
        answered = max(1, self.load.requests - self.load.failed)
        return {name: used / answered * 1e6 for name, used in self.cpu_seconds.items()}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One path under one load, in one or several turns."""

    path: str
    """The path of the requests, such as "direct" or "full gRPC"."""
    workload: str
    """"request" (a short answer) or "stream" (a long one, streamed)."""
    concurrency: int
    tokens_per_request: int
    turns: Sequence[Turn]

    @property
    def load(self) -> Load:
        """All turns together; the latencies are the medians of the turns'."""
        loads = [turn.load for turn in self.turns]
        return Load(
            requests=sum(load.requests for load in loads),
            failed=sum(load.failed for load in loads),
            seconds=sum(load.seconds for load in loads),
            p50_ms=statistics.median(load.p50_ms for load in loads),
            p99_ms=statistics.median(load.p99_ms for load in loads),
        )

    @property
    def tokens_per_second(self) -> float:
        """Tokens of answered requests a second."""
        return self.load.per_second * self.tokens_per_request

    def cpu_us_per_request(self) -> dict[str, float]:
        """CPU microseconds an answered request, by process: the medians of the turns'."""
        each = [turn.cpu_us for turn in self.turns]
        return {name: statistics.median(used[name] for used in each) for name in each[0]}

    def cpu_us_per_token(self) -> dict[str, float]:
        """CPU microseconds a token, by process."""
        return {name: used / self.tokens_per_request for name, used in self.cpu_us_per_request().items()}


Compare = Callable[[Turn, Turn], float]


def median_of_rounds(ours: Row, theirs: Row, compare: Compare) -> float | None:
    """Compare two paths within each round that both had a turn in; return the median, or None without such a round.

    A machine that others use is faster and slower from minute to minute: turns of one round are seconds apart.
    """
    others = {turn.round: turn for turn in theirs.turns if turn.load.requests > turn.load.failed}
    compared = [
        compare(turn, others[turn.round])
        for turn in ours.turns
        if turn.round in others and turn.load.requests > turn.load.failed
    ]
    return statistics.median(compared) if compared else None


@dataclass(kw_only=True)
class Results:
    """Everything measured in one run."""

    machine: Mapping[str, object]
    rows: list[Row] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """Single figures by name, each with its unit in the name."""
    parts: dict[str, str] = field(default_factory=dict)
    """The part of the benchmark that each figure is from."""
    memory_bytes: dict[str, int] = field(default_factory=dict)
    """Memory of the idle mesh by process."""
    profiles: list[Profile] = field(default_factory=list)
    """Where the CPU time of the mesh's Python processes goes."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Failed measurements, with the reason."""

    def add(self, part: str, figures: Mapping[str, float]) -> None:
        """Add figures of a part."""
        self.figures.update(figures)
        self.parts.update(dict.fromkeys(figures, part))

    def find(self, path: str, workload: str, concurrency: int) -> Row | None:
        """The row of a load; None if it was not measured."""
        wanted = (path, workload, concurrency)
        return next((row for row in self.rows if (row.path, row.workload, row.concurrency) == wanted), None)
