"""The command line: one module per command, imported only when it is called, so that `execd --help` is instant."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass

import click

from execd.version import VERSION


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a command lives and what the list says of it."""

    module: str
    help: str
    function: str = ""
    """Its name there, where the command's own is a word of Python."""


COMMANDS = {
    "run": _Entry("run", "Run a script, a workflow or a flow, from a file or saved, and show it live."),
    "flow": _Entry("flow", "Run a list of HTTP requests and show what each gave."),
    "validate": _Entry("validate", "Say everything that is wrong with a workflow or a flow, without running it."),
    "import": _Entry("converting", "Make a flow of a Postman, OpenAPI, curl or HAR file.", "import_"),
    "export": _Entry("converting", "Make a Postman or curl file of a flow."),
    "watch": _Entry("watch", "Show an execution from its start, or from any event, until its end."),
    "ls": _Entry("listing", "List executions, newest first."),
    "show": _Entry("listing", "Show one execution and how it ended."),
    "answer": _Entry("answer", "Answer what a workflow asks."),
    "retry": _Entry("retry", "Run again what ended, whole or from where it broke."),
    "cancel": _Entry("control", "Kill an execution now."),
    "interrupt": _Entry("control", "Let the step in flight finish and start nothing after it."),
    "definition": _Entry("definition", "Save scripts and workflows to run them by name, and look at what is saved."),
    "serve": _Entry("serve", "Start the server."),
    "token": _Entry("token", "Make, list and revoke tokens."),
    "secret": _Entry("secret", "Set, list and delete secrets."),
    "doctor": _Entry("doctor", "Check what this machine offers, and how to mend what is missing."),
    "version": _Entry("version", "Print the version."),
}
"""Every command; its function lives in its module."""


class _LazyGroup(click.Group):
    """A group that knows its commands by table and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(f"execd.cli.{entry.module}"), entry.function or cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the one that was probably meant."""
        close = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and not args[0].startswith("-") and close:
            ctx.fail(f"there is no command {args[0]!r}; did you mean {close[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: execd serve, then in another terminal: execd run examples/hello.py",
)
@click.version_option(VERSION, "-V", "--version", message="execd %(version)s")
def execd() -> None:
    """Run code in a sandbox and watch it live, from anywhere, from any point, through any restart."""
