"""How errors and notes look: on stderr, the message first, then each field that was wrong and what is accepted."""

from __future__ import annotations

import click

from execd.core.errors import ExecdError


def show_error(error: ExecdError) -> None:
    """Say what failed and what to do about it."""
    click.echo(f"{click.style('error', fg='red', bold=True)}: {error.message}", err=True)
    for fault in error.faults:
        click.echo(f"  {click.style(fault.path or 'request', bold=True)}: {fault.message}", err=True)
        if fault.accepted:
            click.echo(f"    accepted: {fault.accepted}", err=True)
    if error.code == "unauthenticated":
        click.echo("  Give a token with --token or EXECD_TOKEN; `execd token create` makes one.", err=True)
    if error.code == "unreachable":
        click.echo("  Is the server running? `execd serve` starts one.", err=True)


def show_note(text: str) -> None:
    """Say something in passing that is not an error."""
    click.echo(click.style(f"execd: {text}", dim=True), err=True)
