"""Languages as data: what `config/runtimes.toml` may say, and nothing about any one language.

A runtime is an argv, a file name, an image and default limits; adding a language is adding a table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from execd.core.errors import ConfigurationError
from execd.core.specs import Limits, RequestedLimits


class Runtime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one language is run."""

    argv: tuple[str, ...]
    """The command; `{file}` stands for the script's path. An argv, never a shell line."""
    file_name: str
    """What the script is called in the working directory."""
    image: str
    """The Kubernetes image."""
    aliases: tuple[str, ...] = ()
    """Other names a request may use, `py` for `python`."""
    compile: tuple[str, ...] = ()
    """A command run in the same sandbox before `argv`, for compiled languages; empty means none."""
    env: Mapping[str, str] = {}
    """Variables every run of it gets."""
    warm: bool = False
    """Whether an interpreter may wait for the script. Only for Python, whose shim can become the program."""
    preload: tuple[str, ...] = ()
    """Modules a warm interpreter has imported already. They stand in `sys.modules` before the script begins."""
    version_command: tuple[str, ...] = ()
    """What `execd doctor` runs to name the version, and to learn whether the language is there at all."""
    memory_rlimit: Literal["address_space", "data"] = "address_space"
    """What bounds a process's memory where there is no cgroup. `data` for runtimes that reserve far more addresses than
    they use (V8, Go): only what can be written counts then."""
    limits: RequestedLimits = RequestedLimits()
    """Defaults that differ from the installation's."""

    @property
    def digest(self) -> str:
        """The definition's version: part of the run's record and of the warm pool's key."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]


class Runtimes(msgspec.Struct, frozen=True):
    """Every language there is, by name."""

    by_name: Mapping[str, Runtime]

    def resolve(self, language: str) -> str | None:
        """Give the runtime's own name for a name or alias; None when there is no such language."""
        if language in self.by_name:
            return language
        return next((name for name, runtime in self.by_name.items() if language in runtime.aliases), None)


def parse_runtimes(table: Mapping[str, object]) -> Runtimes:
    """Read the parsed TOML of `runtimes.toml`.

    Raises:
        ConfigurationError: a table is not a runtime; the message names the field.
    """
    try:
        return Runtimes(by_name=msgspec.convert(dict(table), dict[str, Runtime]))
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"runtimes.toml: {error}") from error


def effective_limits(defaults: Limits, *overrides: RequestedLimits) -> Limits:
    """Lay requests over defaults; the later one wins field by field."""
    merged = msgspec.structs.asdict(defaults)
    for override in overrides:
        merged |= {name: value for name, value in msgspec.structs.asdict(override).items() if value is not None}
    return Limits(**merged)
