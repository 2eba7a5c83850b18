"""`execd version`."""

from __future__ import annotations

import platform

import click

from execd.version import VERSION


@click.command()
def version() -> None:
    """Print the versions of execd and of the Python it runs on."""
    click.echo(f"execd {VERSION} (Python {platform.python_version()})")
