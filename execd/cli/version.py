"""`execd version`."""

from __future__ import annotations

import platform

import click

from execd import __version__


@click.command()
def version() -> None:
    """Print the versions of execd and of the Python it runs on."""
    click.echo(f"execd {__version__} (Python {platform.python_version()})")
