"""The selection of a run: everything, or some parts, paths, workloads and concurrencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PARTS = ("decision", "ledger", "paths", "profile", "budgets", "soak", "models", "voice")
FLOOR = "gRPC floor"
DIRECT = "direct"
ENVOY_ONLY = "Envoy only"
ENVOY_ONLY_JSON = "Envoy only, OpenAI JSON"
FULL = "full gRPC"
FULL_UNLIMITED = "full gRPC, no budget"
FULL_UNGRANTED = "full gRPC, no grants"
"""To an engine in the mesh that looks at no grant: what the grants' own cost is compared with."""
FULL_JSON = "full OpenAI JSON"
LITELLM = "LiteLLM"
PATHS = (FLOOR, DIRECT, ENVOY_ONLY, ENVOY_ONLY_JSON, FULL, FULL_UNLIMITED, FULL_UNGRANTED, FULL_JSON, LITELLM)
GRPC_PATHS = (FLOOR, DIRECT, ENVOY_ONLY, FULL, FULL_UNLIMITED, FULL_UNGRANTED)
HTTP_PATHS = (ENVOY_ONLY_JSON, FULL_JSON, LITELLM)
IN_MESH = (FULL, FULL_UNLIMITED, FULL_UNGRANTED, FULL_JSON)
LONE = "lone request"
"""Requests one at a time, in many short rounds: what a path adds to a call."""
HELD = "held stream"
GRANTED = "granted request"
"""Requests with and without grants, in turns."""
WORKLOADS = ("request", LONE, "stream", "saturated stream", HELD, GRANTED)
CONCURRENCIES = (1, 16, 64)
SECONDS = 2.0
ROUNDS = 5
SOAK_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The choice of what is measured. Paths and workloads are named as in the table."""

    parts: Sequence[str] = PARTS
    paths: Sequence[str] = PATHS
    workloads: Sequence[str] = WORKLOADS
    concurrencies: Sequence[int] = CONCURRENCIES
    seconds: float = SECONDS
    """How long each turn under a load lasts."""
    rounds: int = ROUNDS
    """How often the paths take turns under the highest load."""
    soak_s: float = SOAK_S
    """How long the soak lasts."""

    @property
    def is_whole(self) -> bool:
        """True if it is everything, for as long as usual."""
        whole = Selection()
        chosen = (set(self.parts), set(self.paths), set(self.workloads), set(self.concurrencies))
        everything = (set(whole.parts), set(whole.paths), set(whole.workloads), set(whole.concurrencies))
        lengths = (self.seconds, self.rounds, self.soak_s)
        return chosen == everything and lengths == (whole.seconds, whole.rounds, whole.soak_s)

    def needs(self, *paths: str) -> bool:
        """Return whether any of these paths is to be measured."""
        return "paths" in self.parts and any(path in self.paths for path in paths)


def slug(name: str) -> str:
    """A path's or workload's name as it is typed: "full gRPC, no budget" is "full-grpc-no-budget"."""
    return name.lower().replace(",", "").replace(" ", "-")


def named(names: Sequence[str], typed: str) -> str:
    """The name that was typed as a slug. Raises ValueError naming the choices."""
    for name in names:
        if typed in {name, slug(name)}:
            return name
    raise ValueError(f"{typed!r} is none of {', '.join(map(slug, names))}")
