"""Files that are named on the command line, read as text."""

from __future__ import annotations

import sys
from pathlib import Path

import click

UNSEEN = "@-"
"""Stands for what is typed unseen, or comes on stdin."""


def read_unseen(key: str) -> str:
    """Read what is secret: asked for at a terminal without showing it, else a line of stdin."""
    if sys.stdin.isatty():
        typed: str = click.prompt(key, hide_input=True, err=True)
        return typed
    line = sys.stdin.readline()
    if not line:
        raise click.UsageError(f"stdin has no line for {key}")
    return line.removesuffix("\n").removesuffix("\r")


def read_text(file: str) -> str:
    """Read a file, or stdin for `-`, as text; what cannot be read is a mistake on the command line."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{file} is not UTF-8 text, so it is no script and no workflow") from None
