"""`execd doctor`: what this machine offers, what is missing, and how to mend it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import leave_with, read_target
from execd.cli.discovery import read_server_file
from execd.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from execd.ports import Check
    from execd.settings import Settings

MARKS = {"ok": ("green", "ok      "), "degraded": ("yellow", "degraded"), "fatal": ("red", "fatal   ")}


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where execd keeps its data.")
@click.option(
    "--config",
    envvar="EXECD_CONFIG",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An execd.toml.  [env: EXECD_CONFIG]",
)
@click.option("--sandbox", type=click.Choice(["bubblewrap", "none"]), help="Check as if this were configured.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool, **options: Any) -> None:  # noqa: FBT001  # click passes every option by name
    """Check the sandbox, the languages and the data directory. Exits 1 when nothing could run."""

    def check() -> int:
        import trio

        checks = trio.run(_check, read_target(options).settings())
        _print_checks(checks, as_json=as_json)
        return ExitCode.FAILED if any(check.level == "fatal" for check in checks) else ExitCode.OK

    leave_with(check)


async def _check(settings: Settings) -> list[Check]:
    from execd.ports import Check

    version = Check(name="python", level="ok", found=platform.python_version())
    return [
        version,
        _check_data_dir(settings.data_dir),
        _check_server(settings.data_dir),
        *await _check_runner(settings),
    ]


async def _check_runner(settings: Settings) -> list[Check]:
    from execd.adapters.local_sandbox import open_local_runner
    from execd.settings import load_runtimes
    from execd.telemetry import configure_logging

    configure_logging(level="warning", style=settings.log_format)
    async with open_local_runner(settings.sandbox, load_runtimes(settings), data_dir=settings.data_dir) as runner:
        return list((await runner.report()).checks)


def _check_data_dir(data_dir: Path) -> Check:
    from execd.ports import Check

    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_usable = os.access(data_dir, os.W_OK | os.X_OK)
    except OSError:
        is_usable = False
    if is_usable:
        return Check(name="data directory", level="ok", found=str(data_dir))
    mend = f"let this user write there, or name another with --data-dir: {data_dir}"
    return Check(name="data directory", level="fatal", found=f"{data_dir} cannot be written", mend=mend)


def _check_server(data_dir: Path) -> Check:
    from execd.ports import Check

    server = read_server_file(data_dir)
    return Check(name="server", level="ok", found="none runs here" if server is None else f"runs at {server.url}")


def _print_checks(checks: list[Check], *, as_json: bool) -> None:
    from execd.core.codec import encode_json

    if as_json:
        click.echo(encode_json(checks))
        return
    width = max(len(check.name) for check in checks)
    for check in checks:
        colour, mark = MARKS[check.level]
        click.echo(f"{click.style(mark, fg=colour, bold=True)}  {check.name:<{width}}  {check.found}")
        if check.mend:
            click.echo(f"{'':10}{'':<{width}}  {click.style('mend', bold=True)}: {check.mend}")
