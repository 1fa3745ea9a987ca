"""Nobody imports across the layers, and the page of invariants names tests that exist."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from checks import layers, promises

Write = Callable[[str, str], None]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("engines/voice/src/enginehouse/engines/voice/a.py", "from enginehouse.router.decision.decide import decide"),
        ("engines/voice/src/enginehouse/engines/voice/b.py", "import enginehouse.gateway"),
        ("gateway/src/enginehouse/gateway/a.py", "def f():\n    from enginehouse.router import ids"),
        ("clients/python/src/enginehouse/client/a.py", "from enginehouse.kit.errors import Reason"),
        ("engines/kit/src/enginehouse/kit/openai/a.py", "import enginehouse.engines.inference"),
        ("deploy/local/src/enginehouse/local/a.py", "from enginehouse.engines.voice.spec import SPEC"),
        ("clients/cli/src/enginehouse/cli/a.py", "def f():\n    from enginehouse.engines.inference import store"),
        ("router/src/enginehouse/router/cache/a.py", "from enginehouse.router.api.cache import CacheServicer"),
        ("router/src/enginehouse/router/ids.py", "from enginehouse.router.wiring import build_router"),
        ("router/src/enginehouse/router/api/ext_authz.py", "from enginehouse.router.api.admin import KeyAdmin"),
    ],
)
def test_an_import_across_layers_is_found(path: str, line: str, tree: pathlib.Path, write: Write) -> None:
    write(path, f"{line}\n")
    assert len(layers.complaints(tree)) == 1


def test_what_the_layers_allow_is_left_alone(tree: pathlib.Path, write: Write) -> None:
    write("router/src/enginehouse/router/a.py", "from enginehouse.kit import grants\nimport enginehouse.router.ids\n")
    write("router/src/enginehouse/router/api/cache.py", "from enginehouse.router.api.admin import page_size\n")
    write("router/src/enginehouse/router/wiring/_api.py", "import enginehouse.router.api.admin\n")
    write("clients/cli/src/enginehouse/cli/a.py", "import enginehouse.local\n")
    write("router/tests/test_a.py", "import enginehouse.gateway\n")
    assert layers.complaints(tree) == []


def test_this_tree_keeps_its_layers(root: pathlib.Path) -> None:
    assert layers.complaints(root) == []


def test_a_promise_without_its_test_is_found(tree: pathlib.Path, write: Write) -> None:
    write("kit/tests/test_a.py", "def test_one() -> None: ...\n")
    write("docs/ARCHITECTURE.md", "`kit/tests/test_a.py::test_one`, `::test_two`, `kit/tests/test_b.py`\n")
    assert [complaint.split(" names ")[1].split(",")[0] for complaint in promises.complaints(tree)] == [
        "kit/tests/test_b.py",
        "kit/tests/test_a.py::test_two",
    ]


def test_every_promise_of_this_tree_has_its_test(root: pathlib.Path) -> None:
    assert promises.complaints(root) == []
