"""The `execd` command."""

from __future__ import annotations

from execd.cli import execd


def main() -> None:
    """Run the command line; never returns, the process exits with the command's code."""
    execd(prog_name="execd")


if __name__ == "__main__":
    main()
