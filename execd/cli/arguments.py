"""What people type on the command line, made into the values a request wants. Pure.

Every function raises `InvalidRequestError` with what was typed and what would be accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from execd.client_records import RuntimeView
from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.specs import RequestedLimits

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
"""What may follow a number of bytes."""
TRUE_WORDS = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "off", "0"})


def parse_environment(pairs: Iterable[str], *, option: str = "env") -> dict[str, str]:
    """Read `NAME=VALUE` pairs."""
    return read_pairs(pairs, option=option, accepted="NAME=VALUE")


def read_pairs(pairs: Iterable[str], *, option: str, accepted: str = "KEY=VALUE") -> dict[str, str]:
    """Read pairs; the later of two with one key wins."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise wrong(option, f"`{pair}` is not a pair", accepted)
        found[key] = value
    return found


def parse_limits(pairs: Iterable[str]) -> dict[str, object]:
    """Read `wall_s=5`, `memory_bytes=512M`, `network=true`."""
    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in RequestedLimits.__struct_fields__:
            raise wrong("limits", f"`{pair}` names no limit", " or ".join(_limit_examples()))
        found[name] = _parse_limit(name, text)
    return found


def _limit_examples() -> list[str]:
    return [f"{name}=…" for name in RequestedLimits.__struct_fields__]


def _parse_limit(name: str, text: str) -> object:
    if name == "network":
        if text.lower() in TRUE_WORDS | FALSE_WORDS:
            return text.lower() in TRUE_WORDS
        raise wrong("limits.network", f"`{text}` is neither yes nor no", "true or false")
    if name.endswith("_bytes"):
        return _parse_bytes(name, text)
    wanted: type[int] | type[float] = float if name.endswith("_s") else int
    try:
        number = msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError:
        raise wrong(f"limits.{name}", f"`{text}` is not a number", "a number") from None
    if not math.isfinite(number):
        raise wrong(f"limits.{name}", f"`{text}` is not a number of anything", "a finite number")
    return number


def _parse_bytes(name: str, text: str) -> int:
    shortened = text.upper().removesuffix("IB").removesuffix("B")
    unit = shortened[-1:] if shortened[-1:] in UNITS else ""
    number = shortened.removesuffix(unit)
    try:
        return int(float(number) * UNITS[unit])
    except (ValueError, OverflowError):
        raise wrong(f"limits.{name}", f"`{text}` is not a size", "a number of bytes, or like 64K, 512M, 2G") from None


def choose_language(asked: str | None, *, file_name: str, source: str, runtimes: Sequence[RuntimeView]) -> str:
    """Say in which language a script is: as asked, or by its file's extension, or by its `#!` line.

    A language that was asked for is passed on unchecked: the server knows best, and its refusal names the choices.
    """
    if asked is not None:
        return asked
    extension = file_name.rpartition(".")[2].lower() if "." in file_name else ""
    found = _by_extension(extension, runtimes) or _by_word(_shebang_command(source), runtimes)
    if found is None:
        names = ", ".join(runtime.name for runtime in runtimes)
        raise wrong(
            "language", f"neither the name `{file_name}` nor a `#!` line tells it", f"--lang with one of {names}"
        )
    return found


def _by_extension(extension: str, runtimes: Sequence[RuntimeView]) -> str | None:
    for runtime in runtimes:
        if extension and extension == runtime.file_name.rpartition(".")[2]:
            return runtime.name
    return _by_word(extension, runtimes)


def _by_word(word: str, runtimes: Sequence[RuntimeView]) -> str | None:
    return next((runtime.name for runtime in runtimes if word and word in (runtime.name, *runtime.aliases)), None)


def _shebang_command(source: str) -> str:
    """Give `python3` for `#!/usr/bin/env -S python3.12 -u`; empty where there is no such line."""
    if not source.startswith("#!"):
        return ""
    words = [word.rpartition("/")[2] for word in source[2:].partition("\n")[0].split() if not word.startswith("-")]
    if words[:1] == ["env"]:
        words = [word for word in words[1:] if "=" not in word]
    return words[0].partition(".")[0] if words else ""


def wrong(option: str, message: str, accepted: str) -> InvalidRequestError:
    """Make the error for an option that cannot be taken."""
    return InvalidRequestError("the command line is wrong", faults=(FieldFault(option, message, accepted),))
