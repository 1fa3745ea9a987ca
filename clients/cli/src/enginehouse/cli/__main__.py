"""`enginehouse`, also as `python -m enginehouse.cli`."""

from __future__ import annotations

from enginehouse.cli.app import make_app


def main() -> None:
    """Runs the command line; exits with 0, 1 for a failure, 2 for a command that cannot be understood."""
    make_app()()


if __name__ == "__main__":
    main()
