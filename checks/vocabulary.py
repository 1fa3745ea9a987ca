"""The field's words: no private vocabulary in names, no `for one in`, and docstrings that begin plainly.

A reader who knows Envoy, vLLM, LiteLLM and Temporal should guess every name. docs/glossary.md holds the words that are
this project's own.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import re

from checks.tree import is_generated, parsed, source_files

# Names that were here, or would come back, each with the word that the field uses.
NAMES = {
    "Ask": "InferenceRequest",
    "CachePart": "CacheModule",
    "ClaimReader": "UsageReportParser",
    "Courier": "WebhookDispatcher",
    "DatabaseAway": "DatabaseUnavailable",
    "Doors": "Endpoints",
    "Flights": "RequestCoalescer",
    "Heard": "Transcription",
    "Listeners": "Transcriber",
    "Look": "CacheLookup",
    "PeopleIndex": "UserIndex",
    "Speeches": "Synthesizer",
    "Spoken": "Speech",
    "Standing": "CallerContext",
    "StateFeed": "StateRefresher",
    "Steering": "Assignment",
    "Stretch": "Segment",
    "Voicing": "SynthesisSession",
    "Weighed": "the model that was considered, as in ConsideredModel",
    "leftovers": "orphans",
    "ours_nanos": "unbilled_nanos",
    "parse_ask": "parse_request",
    "passed_over": "rejection_reason",
    "put_in_force": "apply",
}
# Fields of the contracts, whose names are part of the wire.
FIELDS = frozenset({"most_bytes"})
PATTERNS = {
    re.compile(r"_*MOST_\w+"): "MAX_...",
    re.compile(r"_*LEAST_\w+"): "MIN_...",
    re.compile(r"_*(?:LONGEST|LARGEST)_\w+"): "MAX_...",
    re.compile(r"_*most_(?!common$)\w+"): "max_...",
}
LOOP = "`for one in`: name the thing, as in `for model in models`"
# How a docstring must not begin, and how to begin it instead.
OPENINGS = {
    "How": "a noun phrase, such as `The number of ...`",
    "Says": "an imperative",
    "What": "a noun phrase or an imperative",
    "Whether": "`Return whether ...`, or for an attribute `True if ...`",
    "Why": "a noun phrase, such as `The reason why ...`",
}
# Verbs in the third person, as they begin docstrings; the field writes the imperative.
THIRD_PERSON = frozenset(
    """
    Accepts Adds Admits Allows Answers Appends Applies Asks Begins Behaves Brings Builds Calls Cancels Charges
    Checks Closes Collects Compares Computes Connects Converts Counts Creates Cuts Decides Decodes Deletes Delivers
    Does Draws Drops Edits Embeds Encodes Ends Fetches Finds Follows Forgets Frees Generates Gets Gives Handles Has
    Hears Holds Implements Joins Keeps Kills Leaves Lends Lets Listens Loads Looks Makes Measures Moves Opens Parses
    Passes Picks Plays Posts Predicts Prints Puts Raises Reads Records Refuses Registers Releases Remembers Removes
    Renews Replaces Reports Reserves Returns Revokes Runs Says Sends Serves Sets Settles Shows Shuts Speaks Splits
    Starts Stops Streams Takes Tells Trains Turns Waits Watches Writes Yields
    """.split()  # noqa: SIM905 - a list of so many words would take a page.
)


def complaints(root: pathlib.Path) -> list[str]:
    """Name each line of Python with a word that a reader of the field would stumble on."""
    found = []
    for path in source_files(root):
        if path.suffix != ".py" or is_generated(path) or path.parts[0] == "checks":
            continue
        lines = {complaint for node in ast.walk(parsed(root / path)) for complaint in _of(node)}
        found += [f"{path}:{line}: {complaint}" for line, complaint in sorted(lines)]
    return found


def _of(node: ast.AST) -> list[tuple[int, str]]:
    """The complaints about a node, each with its line."""
    found = [
        (node.lineno, f"{name!r} is not the field's word; use {better}")  # type: ignore[attr-defined]
        for name in _named(node)
        if (better := _better(name)) is not None
    ]
    match node:
        case ast.For(target=ast.Name(id="one")) | ast.AsyncFor(target=ast.Name(id="one")):
            found.append((node.lineno, LOOP))
        case ast.comprehension(target=ast.Name(id="one")):
            found.append((node.target.lineno, LOOP))
        case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            found += _docstring(node)
    return found


@functools.cache
def _better(name: str) -> str | None:
    """The field's word for a name that is not; None for all others."""
    if name in FIELDS:
        return None
    return NAMES.get(name) or next((word for shape, word in PATTERNS.items() if shape.fullmatch(name)), None)


def _named(node: ast.AST) -> list[str]:
    """The names that a node uses or makes."""
    match node:
        case ast.Name():
            return [node.id]
        case ast.Attribute():
            return [node.attr]
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.arg():
            return [node.arg]
        case ast.keyword():
            return [node.arg] if node.arg else []
        case ast.alias():
            return node.name.split(".")
        case _:
            return []


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[int, str]]:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str(text)), lineno=line), *_]:
            first = re.split(r"[\s,.:;]", text.lstrip(), maxsplit=1)[0]
        case _:
            return []
    if first in OPENINGS:
        return [(line, f"a docstring begins with {first!r}; begin with {OPENINGS[first]}")]
    if first in THIRD_PERSON and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [(line, f"a docstring begins with {first!r}; use the imperative")]
    return []
