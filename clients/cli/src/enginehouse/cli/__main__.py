"""`enginehouse`, also as `python -m enginehouse.cli`."""

from __future__ import annotations

from enginehouse.cli.app import make_app


def main() -> None:
    """Run the command line. Exit with 0, with 1 for a failure, or with 2 for a malformed command."""
    make_app()()


if __name__ == "__main__":
    main()
