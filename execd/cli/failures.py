"""How errors and notes look: on stderr, what is wrong first, then what is accepted; each thing once."""

from __future__ import annotations

import click

from execd.core.errors import ExecdError, FieldFault


def show_error(error: ExecdError) -> None:
    """Say what failed and what to do about it."""
    lines = _describe(error)
    click.echo(f"{click.style('error', fg='red', bold=True)}: {lines[0]}", err=True)
    for line in lines[1:]:
        click.echo(f"  {line}", err=True)
    if error.code == "unauthenticated":
        click.echo("  Give a token with --token or EXECD_TOKEN; `execd token create` makes one.", err=True)
    if error.code == "unreachable":
        click.echo("  Is the server running? `execd serve` starts one.", err=True)
    if error.code == "store_locked":
        click.echo(
            "  Commands share a data directory through a server: once it is free, start `execd serve`;", err=True
        )
        click.echo("  every command finds that by itself.", err=True)


def _describe(error: ExecdError) -> list[str]:
    """Give the lines that say what is wrong. A message that only sums up the faults would say the first of them twice."""
    if not error.faults:
        return [error.message]
    first = error.faults[0]
    is_summary = first.message in error.message
    if is_summary and len(error.faults) == 1:
        return [_sentence(first), *_accepted(first)]
    heading = f"{len(error.faults)} things are wrong" if is_summary else error.message
    return [heading, *(line for fault in error.faults for line in (_sentence(fault), *_accepted(fault, indent="  ")))]


def _sentence(fault: FieldFault) -> str:
    return f"{click.style(fault.path or 'the request', bold=True)} {fault.message}"


def _accepted(fault: FieldFault, *, indent: str = "") -> list[str]:
    return [f"{indent}accepted: {fault.accepted}"] if fault.accepted else []


def show_note(text: str) -> None:
    """Say something in passing that is not an error."""
    click.echo(click.style(f"execd: {text}", dim=True), err=True)
