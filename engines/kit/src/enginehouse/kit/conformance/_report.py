"""Reports: a line for each rule, a summary, and JUnit's XML."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from enginehouse.kit.conformance._rule import RuleResult, RuleVerdict

_ID_WIDTH = 28
# What XML 1.0 cannot hold.
_CONTROL = {code: " " for code in range(32) if code not in (9, 10, 13)}


def result_line(result: RuleResult) -> str:
    """One line: the verdict, the rule, and its title or the reason."""
    told = result.reason or result.rule.title
    return f"{result.verdict.value:<4}  {result.rule.id:<{_ID_WIDTH}}  {' '.join(told.split())}"


def summary_line(results: Sequence[RuleResult]) -> str:
    """The numbers of rules that passed, failed and were skipped."""
    counts = Counter(result.verdict for result in results)
    seconds = sum(result.seconds for result in results)
    return (
        f"{counts[RuleVerdict.PASSED]} passed, {counts[RuleVerdict.FAILED]} failed, "
        f"{counts[RuleVerdict.SKIPPED]} skipped in {seconds:.1f} s"
    )


def write_junit(results: Sequence[RuleResult], path: Path, *, target: str) -> None:
    """Write the results as JUnit XML, all at once: whoever reads the file never sees half of it.

    Args:
        results: of each rule.
        path: the file.
        target: the engine, which names the test suite.
    """
    counts = Counter(result.verdict for result in results)
    suite = ElementTree.Element(
        "testsuite",
        name=f"enginehouse conformance {target}".translate(_CONTROL),
        tests=str(len(results)),
        failures=str(counts[RuleVerdict.FAILED]),
        skipped=str(counts[RuleVerdict.SKIPPED]),
        errors="0",
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        family, _, name = result.rule.id.partition(".")
        case = ElementTree.SubElement(suite, "testcase", classname=family, name=name, time=f"{result.seconds:.3f}")
        reason = result.reason.translate(_CONTROL)
        if result.verdict is RuleVerdict.FAILED:
            ElementTree.SubElement(case, "failure", message=reason).text = f"{result.rule.sentence}\n{reason}"
        elif result.verdict is RuleVerdict.SKIPPED:
            ElementTree.SubElement(case, "skipped", message=reason)
    document = ElementTree.ElementTree(suite)
    ElementTree.indent(document)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            document.write(file, encoding="utf-8", xml_declaration=True)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
