"""`execd secret`: keys that workflows and scripts use and nobody sees."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode
from execd.core.codec import encode_json
from execd.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from execd.cli.backend import Backend


@click.group()
def secret() -> None:
    """Set, list and delete secrets, on the running server or, without one, in the data directory."""


@secret.command("set")
@click.argument("name")
@target_options
def set_(name: str, **options: Any) -> None:
    """Set a secret, new or not. Its value is read from stdin, or asked for at a terminal; it is never shown again.

    Like: printf %s "$KEY" | execd secret set STRIPE_KEY

    One line end at the end is not part of it.
    """
    run_with_backend(read_target(options), partial(_set, name))


@secret.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@target_options
def list_(**options: Any) -> None:
    """List the workspace's secrets: names, when and by whom, never values."""
    run_with_backend(read_target(options), partial(_list, options))


@secret.command()
@click.argument("name")
@target_options
def delete(name: str, **options: Any) -> None:
    """Delete a secret; what reads it later fails there."""
    run_with_backend(read_target(options), partial(_delete, name))


def _read_value(name: str) -> str:
    if sys.stdin.isatty():
        value: str = click.prompt(f"Value of {name}", hide_input=True, err=True)
        return value
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"the value on stdin is not UTF-8 at byte {error.start}") from None


async def _set(name: str, backend: Backend) -> int:
    await backend.set_secret(name, _read_value(name))
    click.echo(f"{name} is set", err=True)
    return ExitCode.OK


async def _list(options: dict[str, Any], backend: Backend) -> int:
    for view in (await backend.list_secrets()).items:
        if options["as_json"]:
            click.echo(encode_json(view))
        else:
            click.echo(f"{view.name}  set {view.set_at:%Y-%m-%d %H:%M} by {view.set_by}")
    return ExitCode.OK


async def _delete(name: str, backend: Backend) -> int:
    await backend.delete_secret(name)
    return ExitCode.OK
