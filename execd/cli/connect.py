"""Which execd a command means: the one it names, else this machine's server, else an engine of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import click

from execd.cli.discovery import read_server_file
from execd.cli.exit_codes import ExitCode, exit_code_of_error
from execd.cli.failures import show_error, show_note
from execd.core.errors import ExecdError, InvalidRequestError, TooManyStreamsError

if TYPE_CHECKING:
    from execd.cli.backend import Backend
    from execd.client import Reconnecting
    from execd.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """What the options say about which execd is meant."""

    url: str | None
    token: str | None
    data_dir: Path | None
    config: Path | None
    sandbox: str | None = None

    def settings(self) -> Settings:
        """Load the settings these options and the environment give."""
        from execd.settings import load_settings

        overrides: dict[str, Any] = {}
        if self.data_dir is not None:
            overrides["data_dir"] = str(self.data_dir)
        if self.sandbox is not None:
            overrides["sandbox"] = {"sandbox": self.sandbox}
        return load_settings(config_file=self.config, overrides=overrides)


def target_options(command: F) -> F:
    """Give a command the options that say which execd it means, as `**options` for `read_target`."""
    for option in reversed(
        (
            click.option("--url", envvar="EXECD_URL", help="A server elsewhere.  [env: EXECD_URL]"),
            click.option("--token", envvar="EXECD_TOKEN", help="Its bearer token.  [env: EXECD_TOKEN]"),
            click.option(
                "--data-dir", type=click.Path(path_type=Path), help="Where this machine's execd keeps its data."
            ),
            click.option(
                "--config",
                envvar="EXECD_CONFIG",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                help="An execd.toml.  [env: EXECD_CONFIG]",
            ),
        )
    ):
        command = option(command)
    return command


def read_target(options: Mapping[str, Any]) -> Target:
    """Take the target out of a command's options."""
    names = ("url", "token", "data_dir", "config", "sandbox")
    return Target(**{name: options.get(name) for name in names})


@asynccontextmanager
async def open_backend(target: Target) -> AsyncIterator[Backend]:
    """Open the execd a command means.

    Raises:
        ExecdError: the settings are wrong, or the engine cannot start.
    """
    url, token = target.url, target.token
    settings = None
    if url is None:
        settings = target.settings()
        server = read_server_file(settings.data_dir)
        if server is not None:
            url, token = server.url, target.token or server.token
    if url is not None:
        from execd.cli.remote import open_remote

        async with open_remote(_checked_url(url), token, on_reconnecting=show_reconnecting) as remote:
            yield remote
        return
    from execd.cli.embedded import open_embedded

    assert settings is not None
    async with open_embedded(settings) as embedded:
        yield embedded


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address:
        raise InvalidRequestError(f"--url {url} is no address: write it like http://127.0.0.1:7070")
    return url.rstrip("/")


def show_reconnecting(event: Reconnecting) -> None:
    """Say on stderr why there is no stream now and when it is tried again."""
    again = f"trying again in {event.wait_s:.1f} s"
    if event.code == TooManyStreamsError.code:
        show_note(f"{event.why}; the server's setting stream.per_workspace raises that; {again}")
    else:
        show_note(f"connection lost ({event.why}), {again}")


def run_with_backend(target: Target, command: Callable[[Backend], Awaitable[int]]) -> NoReturn:
    """Run a command to its exit code and leave the process with it; errors are shown, never a trace."""
    import trio

    leave_with(partial(trio.run, _with_backend, target, command))


def leave_with(run: Callable[[], int]) -> NoReturn:
    """Leave the process with the code `run` gives, or the one its error stands for."""
    try:
        code = run()
    except ExecdError as error:
        code = _shown(error)
    except BaseExceptionGroup as group:
        expected, others = group.split(ExecdError)
        if expected is None or others is not None:
            raise
        code = max(_shown(error) for error in _leaves(expected))
    except KeyboardInterrupt:
        code = ExitCode.CANCELLED
    except BrokenPipeError:
        code = ExitCode.BROKEN_PIPE
    if code == ExitCode.BROKEN_PIPE:
        _forget_stdout()
    raise SystemExit(int(code))


def _shown(error: ExecdError) -> int:
    show_error(error)
    return exit_code_of_error(error)


def _leaves(group: BaseExceptionGroup[ExecdError]) -> Iterator[ExecdError]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner


def _forget_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's last flush does not complain about the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


async def _with_backend(target: Target, command: Callable[[Backend], Awaitable[int]]) -> int:
    """Run a command; what it raises is carried out past the backend's nurseries, which would wrap it in groups."""
    async with open_backend(target) as backend:
        try:
            return await command(backend)
        except (ExecdError, BrokenPipeError) as error:
            failure = error
    raise failure
