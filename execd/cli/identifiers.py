"""Ids and names as the command line takes them: what cannot be one is refused before anything is asked."""

from __future__ import annotations

import re

import click


class Identifier(click.ParamType[str]):
    """An id that `execd` gave out. One it cannot have given would name another path of the server, or none."""

    name = "id"

    def __init__(self, what: str, *, example: str, listed_by: str) -> None:
        self._what = what
        self._example = example
        self._listed_by = listed_by

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", value):
            found = "an empty text" if not value.strip() else f"{value[:60]!r}"
            like = f"one looks like {self._example}, `{self._listed_by}` lists them"
            self.fail(f"{found} is no id of {self._what}; {like}", param, ctx)
        return value


class Name(click.ParamType[str]):
    """Something that is called by it, so it is not empty."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.strip():
            self.fail("is empty; accepted: a name", param, ctx)
        return value


EXECUTION_ID = Identifier("an execution", example="exec-1700000000000-a1b2c3d4e", listed_by="execd ls")
TOKEN_ID = Identifier("a token", example="token-0123456789ab", listed_by="execd token ls")
NAME = Name()
