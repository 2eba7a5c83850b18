"""`execd serve`: the server in the foreground, with what a person needs to get in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import leave_with
from execd.cli.discovery import ServerFile, remove_server_file, write_server_file
from execd.core.errors import ExecdError, InvalidRequestError

if TYPE_CHECKING:
    from execd.serving import ServerInfo
    from execd.settings import Settings

SANDBOX_WORDS = {
    "bubblewrap": "each run in a bubblewrap sandbox of its own",
    "none": "NONE - code runs with the rights of this process, so run only what you wrote",
}


@click.command()
@click.option("--host", help="The address to listen on; 127.0.0.1 unless the configuration says otherwise.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port, 7070 by default; 0 takes a free one.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where it keeps everything.")
@click.option(
    "--config",
    envvar="EXECD_CONFIG",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An execd.toml.  [env: EXECD_CONFIG]",
)
@click.option("--sandbox", type=click.Choice(["bubblewrap", "none"]), help="none runs code without any walls.")
@click.option(
    "--run",
    "script",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Run this file once the server is up, show it, and go on serving.",
)
def serve(**options: Any) -> None:
    """Start the server and print the address to open, with a token in it as Jupyter does."""
    from execd.settings import load_settings

    def start() -> int:
        import trio

        settings = load_settings(config_file=options["config"], overrides=_overrides(options))
        return trio.run(partial(_serve, settings, _read_script(options["script"])))

    leave_with(start)


@dataclass(frozen=True, slots=True)
class _Script:
    """A file to run once the server is up."""

    name: str
    source: str


def _read_script(path: Path | None) -> _Script | None:
    if path is None:
        return None
    try:
        return _Script(path.name, path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"cannot run {path}: {error}") from error


def _overrides(options: dict[str, Any]) -> dict[str, Any]:
    """Give what was typed, in the shape of `execd.toml`."""
    found: dict[str, Any] = {}
    http = {name: options[name] for name in ("host", "port") if options[name] is not None}
    if http:
        found["http"] = http
    if options["data_dir"] is not None:
        found["data_dir"] = str(options["data_dir"])
    if options["sandbox"] is not None:
        found["sandbox"] = {"sandbox": options["sandbox"]}
    return found


async def _serve(settings: Settings, script: _Script | None) -> int:
    import trio

    from execd.serving import serve as serve_until_signalled

    async with trio.open_nursery() as nursery:

        async def on_ready(info: ServerInfo) -> None:
            write_server_file(settings.data_dir, ServerFile(url=info.url, token=info.token, pid=os.getpid()))
            _print_banner(info, settings)
            if script is not None:
                nursery.start_soon(_run_first, info, script)
            await trio.lowlevel.checkpoint()

        try:
            code = await serve_until_signalled(settings, on_ready=on_ready)
        finally:
            remove_server_file(settings.data_dir, pid=os.getpid())
        nursery.cancel_scope.cancel()
    return code


def _print_banner(info: ServerInfo, settings: Settings) -> None:
    walls = SANDBOX_WORDS[settings.sandbox.sandbox]
    colour = "red" if settings.sandbox.sandbox == "none" else None
    click.echo(f"\n  {click.style('execd', bold=True)} serves at  {click.style(info.login_url, fg='cyan')}", err=True)
    click.echo(f"  sandbox    {click.style(walls, fg=colour)}", err=True)
    click.echo(f"  data       {info.data_dir}", err=True)
    if settings.flowsphere.page_dir is not None:
        click.echo(f"  flowsphere {info.url}/flowsphere/", err=True)
    if settings.flowsphere.open:
        words = "FlowSphere's routes take everybody on this machine, without a token"
        click.echo(f"  open       {click.style(words, fg='red')}", err=True)
    click.echo("  try        execd run examples/hello.py     (Ctrl-C here stops the server)\n", err=True)


async def _run_first(info: ServerInfo, script: _Script) -> None:
    """Run a file through the HTTP API like any client, and show it; a failure of it is no failure of the server."""
    from execd.cli.arguments import choose_language
    from execd.cli.backend import RunRequest
    from execd.cli.connect import show_reconnecting
    from execd.cli.failures import show_error
    from execd.cli.remote import open_remote
    from execd.cli.views import choose_view, show_journal

    try:
        async with open_remote(info.url, info.token, on_reconnecting=show_reconnecting) as backend:
            runtimes = await backend.runtimes()
            language = choose_language(None, file_name=script.name, source=script.source, runtimes=runtimes)
            request = RunRequest(source=script.source, language=language, name=script.name)
            execution_id = await backend.submit(request)
            click.echo(click.style(f"  running {script.name}: {info.url}/#{execution_id}", dim=True), err=True)
            async with backend.journal(execution_id, after_seq=0) as journal:
                await show_journal(journal, choose_view(as_json=False, types_on_terminal=False))
    except ExecdError as error:
        show_error(error)
