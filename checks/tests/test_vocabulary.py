"""The vocabulary check finds what it is for, and leaves the rest alone."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from checks import vocabulary

Write = Callable[[str, str], None]


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ("class Courier:\n    pass\n", "WebhookDispatcher"),
        ("x.put_in_force()\n", "apply"),
        ("def f(ours_nanos: int) -> None:\n    pass\n", "unbilled_nanos"),
        ("f(passed_over='')\n", "rejection_reason"),
        ("from deploy import Doors\n", "Endpoints"),
        ("_MOST_ROUTES = 1\n", "MAX_..."),
        ("self.most_rows = 1\n", "max_..."),
        ("LEAST_RATE = 1\n", "MIN_..."),
        ("for one in models:\n    pass\n", "for model in models"),
        ("names = [one.name for one in models]\n", "for model in models"),
        ('"""What a call costs."""\n', "noun phrase"),
        ('class A:\n    """How many there are."""\n', "The number of"),
        ('def f():\n    """Whether it is so."""\n', "Return whether"),
        ('async def f():\n    """Starts the task."""\n', "imperative"),
    ],
)
def test_a_word_of_our_own_is_found_with_the_fix(source: str, fix: str, tree: pathlib.Path, write: Write) -> None:
    write("router/a.py", source)
    found = vocabulary.complaints(tree)
    assert len(found) == 1
    assert found[0].startswith("router/a.py:")
    assert fix in found[0]


@pytest.mark.parametrize(
    "source",
    [
        "words.most_common(3)\n",
        "for model in models:\n    pass\n",
        "one = next(iter(models))\n",
        "# Whether this holds is checked elsewhere.\n",
        'def f():\n    """Start the task."""\n',
        'class A:\n    """Sends, receives and their times."""\n',
        "almost_all = 1\n",
        "grant.keep.most_bytes = 1\n",
    ],
)
def test_plain_words_are_left_alone(source: str, tree: pathlib.Path, write: Write) -> None:
    write("router/a.py", source)
    assert vocabulary.complaints(tree) == []


def test_generated_files_are_left_alone(tree: pathlib.Path, write: Write) -> None:
    write("proto/python/src/enginehouse/api/a.py", "for one in models:\n    pass\n")
    assert vocabulary.complaints(tree) == []
