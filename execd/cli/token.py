"""`execd token`: who may use this execd."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode
from execd.cli.identifiers import NAME, TOKEN_ID
from execd.core.codec import encode_json
from execd.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from execd.cli.backend import Backend

DAY_S = 24 * 3600.0


@click.group()
def token() -> None:
    """Make, list and revoke bearer tokens, on the running server or, without one, in the data directory."""


@token.command()
@click.option("--user", type=NAME, default="local", show_default=True, help="Who it stands for.")
@click.option("--role", type=click.Choice(["viewer", "runner", "admin"]), default="runner", show_default=True)
@click.option("--workspace", help="Else your own.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="How long it is good; else for ever.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@target_options
def create(**options: Any) -> None:
    """Make a token and print it; it is shown this once and kept only as a hash."""
    run_with_backend(read_target(options), partial(_create, options))


@token.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@target_options
def ls(**options: Any) -> None:
    """List the workspace's tokens, without the tokens themselves."""
    run_with_backend(read_target(options), partial(_list, options))


@token.command()
@click.argument("token_id", metavar="ID", type=TOKEN_ID)
@target_options
def revoke(token_id: str, **options: Any) -> None:
    """Make a token worthless from now on."""
    run_with_backend(read_target(options), partial(_revoke, token_id))


async def _create(options: dict[str, Any], backend: Backend) -> int:
    from execd.cli.backend import TokenRequest

    days = options["days"]
    if days is not None and not math.isfinite(days):
        raise InvalidRequestError("--days is no finite number; accepted: like 30 or 0.5")
    request = TokenRequest(
        user=options["user"],
        role=options["role"],
        workspace=options["workspace"],
        expires_in_s=None if days is None else days * DAY_S,
    )
    made = await backend.create_token(request)
    if options["as_json"]:
        click.echo(encode_json(made))
    else:
        click.echo(made.token)
        click.echo(f"{made.id}: {made.role} in {made.workspace}; shown this once.", err=True)
    return ExitCode.OK


async def _list(options: dict[str, Any], backend: Backend) -> int:
    for view in (await backend.list_tokens()).items:
        if options["as_json"]:
            click.echo(encode_json(view))
        else:
            until = f"until {view.expires_at:%Y-%m-%d %H:%M}" if view.expires_at else "for ever"
            click.echo(f"{view.id}  {view.role:<6}  {view.workspace}  {view.user}  {until}")
    return ExitCode.OK


async def _revoke(token_id: str, backend: Backend) -> int:
    await backend.revoke_token(token_id)
    return ExitCode.OK
