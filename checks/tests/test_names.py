"""Names are unique and imports go one way, or the check says where not."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from checks import cycles, names

Write = Callable[[str, str], None]


def test_two_classes_of_one_name_are_found(tree: pathlib.Path, write: Write) -> None:
    write("router/src/enginehouse/router/a.py", "class Meter:\n    pass\n")
    write("engines/kit/src/enginehouse/kit/b.py", "class Meter:\n    pass\n")
    found = names.complaints(tree)
    assert len(found) == 1
    assert "Meter" in found[0]


def test_private_shared_and_test_classes_may_repeat(tree: pathlib.Path, write: Write) -> None:
    for place in ("router/src/enginehouse/router/a.py", "engines/kit/src/enginehouse/kit/b.py", "router/tests/c.py"):
        write(place, "class _Meter:\n    pass\n\n\nclass FieldViolation:\n    pass\n")
    write("router/tests/d.py", "class Fake:\n    pass\n")
    write("router/tests/e.py", "class Fake:\n    pass\n")
    assert names.complaints(tree) == []


def test_a_cycle_between_packages_is_found(tree: pathlib.Path, write: Write) -> None:
    base = "router/src/enginehouse/router"
    write(f"{base}/cache/__init__.py", "from enginehouse.router.api import Access\n")
    write(f"{base}/api/access.py", "from enginehouse.router.ledger.book import Book\n")
    write(f"{base}/ledger/book.py", "from enginehouse.router import cache\n")
    found = cycles.complaints(tree)
    assert found
    assert all("imports it back" in complaint for complaint in found)


def test_imports_in_one_direction_are_no_cycle(tree: pathlib.Path, write: Write) -> None:
    write("router/src/enginehouse/router/app.py", "from enginehouse.router.cache import x\n")
    write("router/src/enginehouse/router/cache/a.py", "from enginehouse.router.cache.b import y\n")
    write("router/src/enginehouse/router/cache/b.py", "from enginehouse.router.ids import z\n")
    write("router/src/enginehouse/router/ids.py", "import enginehouse.kit.errors\n")
    assert cycles.complaints(tree) == []
