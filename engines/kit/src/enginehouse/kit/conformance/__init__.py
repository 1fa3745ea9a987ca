"""The conformance suite: checks from outside, over gRPC alone, that an engine in any language keeps the protocol.

`docs/engine-protocol.md` is the protocol. The suite plays router and gateway towards the engine, signs grants as a
router does, and checks rule by rule. Rules that need what it was not given are skipped, with the reason.
"""

from enginehouse.kit.conformance._engine import ENVIRONMENT_PREFIX, StartError
from enginehouse.kit.conformance._options import ConformanceOptions
from enginehouse.kit.conformance._report import result_line, summary_line, write_junit
from enginehouse.kit.conformance._rule import ConformanceRule, Need, RuleResult, RuleVerdict, failures
from enginehouse.kit.conformance._suite import RULES, check_engine, chosen_rules, run

__all__ = [
    "ENVIRONMENT_PREFIX",
    "RULES",
    "ConformanceOptions",
    "ConformanceRule",
    "Need",
    "RuleResult",
    "RuleVerdict",
    "StartError",
    "check_engine",
    "chosen_rules",
    "failures",
    "result_line",
    "run",
    "summary_line",
    "write_junit",
]
