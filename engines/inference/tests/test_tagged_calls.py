"""Tool calls between tags: whatever the text and however it is cut, nothing is lost and calls are found."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece
from enginehouse.engines.inference.generation.tagged_calls import CLOSE, OPEN, TaggedCallReader

TOOLS = frozenset({"clock", "search"})


def call(name: str = "clock", **arguments: Any) -> str:
    return f"{OPEN}{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}{CLOSE}"


def read(
    pieces: list[str], *, most: int | None = None, finish: FinishReason = FinishReason.STOP
) -> tuple[str, list[tuple[int, str, Any]], FinishReason | None]:
    """Read the pieces; return the text, the calls, and why it ended."""
    reader = TaggedCallReader(TOOLS, most)
    out = [reader.read(OutputPiece(0, piece, tokens=1)) for piece in pieces]
    out.append(reader.read(OutputPiece(0, finish=finish)))
    assert sum(piece.tokens for piece in out) == len(pieces)
    calls = [(found.index, found.name, json.loads(found.arguments)) for piece in out for found in piece.tool_calls]
    return "".join(piece.text for piece in out), calls, out[-1].finish


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "content", "arguments"),
    [
        ("It is " + call(zone="IST"), "It is", [{"zone": "IST"}]),
        (call(a=1) + call(a=2), "", [{"a": 1}, {"a": 2}]),
        (call(a=1) + "\n" + call(a=2) + "\n", "", [{"a": 1}, {"a": 2}]),
        (f"First {call(a=1)} and then  {call(a=2)} done.\n", "First  and then   done.", [{"a": 1}, {"a": 2}]),
        (call(html="<b></tool_call></b>") + " yes", " yes", [{"html": "<b></tool_call></b>"}]),
        (call(html="<tool_call>{}</tool_call>"), "", [{"html": "<tool_call>{}</tool_call>"}]),
        (call(quoted='say "}" \\', path="C:\\"), "", [{"quoted": 'say "}" \\', "path": "C:\\"}]),
        (call(text="కాకి 🐦"), "", [{"text": "కాకి 🐦"}]),
        # Tags that the model has left out, or shared.
        (call(a=1).removesuffix(CLOSE), "", [{"a": 1}]),
        (call(a=1).removesuffix(CLOSE) + call(a=2), "", [{"a": 1}, {"a": 2}]),
        (call(a=1).removesuffix(CLOSE) + " so", " so", [{"a": 1}]),
        (f'{OPEN}\n{{"name":"clock"}}\n{{"name":"clock","arguments":{{"a":2}}}}\n{CLOSE}', "", [{}, {"a": 2}]),
        (f'{OPEN}[{{"name":"clock"}}, {{"name":"search"}}]{CLOSE}', "", [{}, {}]),
        (f'{OPEN}{{"name":"clock","arguments":{{"a":"two\nlines"}}}}{CLOSE}', "", [{"a": "two\nlines"}]),
        # No calls.
        ("a <tool_call>{not json}</tool_call> b", "a <tool_call>{not json}</tool_call> b", []),
        (call("other"), call("other"), []),
        (f'{OPEN}{{"name":"clock","arguments":[1]}}{CLOSE}', f'{OPEN}{{"name":"clock","arguments":[1]}}{CLOSE}', []),
        ("1 < 2 and <tool", "1 < 2 and <tool", []),
        ("<tool_call>", "<tool_call>", []),
        ('<tool_call>{"name":"clock","argu', '<tool_call>{"name":"clock","argu', []),
        ("  blanks, and no call \n", "  blanks, and no call \n", []),
        # A call after what was none.
        ("Use <tool_call> so: " + call(a=1), "Use <tool_call> so:", [{"a": 1}]),
        ('<tool_call>{"name": "clock", ' + call(a=1), '<tool_call>{"name": "clock",', [{"a": 1}]),
    ],
)  # fmt: skip
def test_calls_are_found_however_the_text_is_cut(text: str, content: str, arguments: list[Any], size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    read_text, calls, finish = read(pieces)
    assert read_text == content
    assert [index for index, _, _ in calls] == list(range(len(arguments)))
    assert [given for _, _, given in calls] == arguments
    assert finish is (FinishReason.TOOL_CALLS if arguments else FinishReason.STOP)


_strings = st.text(st.sampled_from('<>{}[]"\\ \n_tool_callరి'), max_size=12) | st.sampled_from([OPEN, CLOSE, "\\"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | _strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_strings, inner, max_size=3),
    max_leaves=6,
)
_calls = st.builds(
    lambda name, arguments, escaped: (
        f"{OPEN}{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=escaped)}{CLOSE}",
        (name, arguments),
    ),
    st.sampled_from(sorted(TOOLS)),
    st.dictionaries(_strings, _json, max_size=3),
    st.booleans(),
)
_plain = st.text(st.sampled_from("ab ,.\n<రి"), max_size=10).map(lambda text: (text, None))


def _cut(text: str, cuts: list[int]) -> list[str]:
    ends = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


@given(st.lists(_calls | _plain, max_size=6), st.lists(st.integers(0, 10_000), max_size=40))
def test_text_and_calls_in_any_order_come_out_whole(parts: list[Any], cuts: list[int]) -> None:
    whole = "".join(text for text, _ in parts)
    expected = "".join(text for text, found in parts if found is None)
    calls = [found for _, found in parts if found is not None]
    text, got, _ = read(_cut(whole, cuts))
    assert [(name, arguments) for _, name, arguments in got] == calls
    assert text == (expected.rstrip(" \t\r\n") if calls else expected)


_soup = st.lists(
    st.sampled_from(
        [OPEN, CLOSE, '{"name":"clock"', ',"arguments":{', '"a":', '"x"', '"', "\\", "}", "}}", "{", "[", "]",
         " ", "\n",
         "<", "</", "tool_call>", "no", "1", "true",
         call(a=1)]
    ),
    max_size=14,
)  # fmt: skip


_cuts = st.lists(st.integers(0, 10_000), max_size=40)


@given(_soup, _cuts, st.sampled_from([None, 1]), st.sampled_from(FinishReason))
def test_any_cut_of_any_text_reads_as_the_whole(
    parts: list[str], cuts: list[int], most: int | None, finish: FinishReason
) -> None:
    whole = "".join(parts)
    expected = read([whole], most=most, finish=finish)
    assert read(_cut(whole, cuts), most=most, finish=finish) == expected
    assert read(list(whole), most=most, finish=finish) == expected
    if not expected[1]:
        assert expected[0] == whole


def test_one_call_at_most() -> None:
    text, calls, finish = read([f"One {call(a=1)} two {call(a=2)} three"], most=1)
    assert [arguments for _, _, arguments in calls] == [{"a": 1}]
    assert text == "One  two  three"
    assert finish is FinishReason.TOOL_CALLS
