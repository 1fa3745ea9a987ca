"""Random texts of a GBNF grammar."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>[ \t\n]+)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<set>\[(?:[^\]\\]|\\.)*\])
    |(?P<define>[a-z][a-z0-9]*[ ]::=)|(?P<name>[a-z][a-z0-9]*)|(?P<repeat>\{\d+(?:,\d*)?\}|[*+?])|(?P<mark>[()|])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x(..)|u(....)|U(........)|(.))|(.)", re.DOTALL)
_ENDLESS = 10**6


@dataclass
class _Node:
    kind: str
    text: str = ""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    alternatives: list[list[_Node]] = field(default_factory=list)
    inner: _Node | None = None
    least: int = 1
    most: int | None = 1


def _characters(text: str) -> list[int]:
    found = []
    for match in _ESCAPE.finditer(text):
        code = match[1] or match[2] or match[3]
        single = {"n": "\n", "r": "\r", "t": "\t"}.get(match[4], match[4]) if match[4] else match[5]
        found.append(int(code, 16) if code else ord(single))
    return found


def _set(token: str) -> _Node:
    codes = _characters(token)
    ranges, at = [], 0
    while at < len(codes):
        if at + 2 < len(codes) and codes[at + 1] == ord("-"):
            ranges.append((codes[at], codes[at + 2]))
            at += 3
        else:
            ranges.append((codes[at], codes[at]))
            at += 1
    return _Node("set", ranges=ranges)


class Sampler:
    """A maker of random texts of one grammar.

    Args:
        grammar: the grammar.
        choose: returns a number from 0 to below its argument.
    """

    def __init__(self, grammar: str, choose: Callable[[int], int]) -> None:
        self._choose = choose
        self._rules = self._parse(grammar)
        self._heights = dict.fromkeys(self._rules, _ENDLESS)
        changed = True
        while changed:
            changed = False
            for name, node in self._rules.items():
                height = self._height(node) + 1
                if height < self._heights[name]:
                    self._heights[name] = height
                    changed = True

    def text(self) -> str:
        """Return a text."""
        return self._write(self._rules["root"], 14)

    def _parse(self, grammar: str) -> dict[str, _Node]:
        rules: dict[str, _Node] = {}
        open_nodes: list[_Node] = []
        at = 0
        while at < len(grammar):
            match = _TOKEN.match(grammar, at)
            assert match is not None, grammar[at : at + 30]
            at, kind, token = match.end(), match.lastgroup, match.group()
            if kind == "space":
                continue
            if kind == "define":
                open_nodes = [_Node("group", alternatives=[[]])]
                rules[token.split()[0]] = open_nodes[0]
                continue
            current = open_nodes[-1].alternatives[-1]
            if kind == "string":
                current.append(_Node("text", text="".join(map(chr, _characters(token[1:-1])))))
            elif kind == "set":
                current.append(_set(token[1:-1]))
            elif kind == "name":
                current.append(_Node("rule", text=token))
            elif kind == "repeat":
                bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(token)
                if bounds is None:
                    low, comma, high = token.strip("{}").partition(",")
                    bounds = (int(low), (int(high) if high else None) if comma else int(low))
                current.append(_Node("repeat", inner=current.pop(), least=bounds[0], most=bounds[1]))
            elif token == "(":
                open_nodes.append(_Node("group", alternatives=[[]]))
            elif token == ")":
                open_nodes[-2].alternatives[-1].append(open_nodes.pop())
            else:
                open_nodes[-1].alternatives.append([])
        return rules

    def _height(self, node: _Node) -> int:
        if node.kind == "rule":
            return self._heights[node.text]
        if node.kind == "group":
            return min(max(map(self._height, sequence), default=0) for sequence in node.alternatives)
        if node.kind == "repeat":
            assert node.inner is not None
            return self._height(node.inner) if node.least else 0
        return 0

    def _write(self, node: _Node, depth: int) -> str:
        if node.kind == "text":
            return node.text
        if node.kind == "set":
            low, high = node.ranges[self._choose(len(node.ranges))]
            return chr(low + self._choose(high - low + 1))
        if node.kind == "rule":
            return self._write(self._rules[node.text], depth - 1)
        if node.kind == "repeat":
            assert node.inner is not None
            most = node.least + 3 if node.most is None else min(node.most, node.least + 3)
            if depth < 0:
                most = node.least
            count = node.least + self._choose(most - node.least + 1)
            # Now and then as often as it may be.
            if node.most is not None and node.most < 300 and depth >= 0 and self._choose(4) == 0:
                count = node.most
            return "".join(self._write(node.inner, depth) for _ in range(count))
        sequences = node.alternatives
        if depth < 0:
            least = min(max(map(self._height, sequence), default=0) for sequence in sequences)
            sequences = [s for s in sequences if max(map(self._height, s), default=0) == least]
        return "".join(self._write(part, depth) for part in sequences[self._choose(len(sequences))])
