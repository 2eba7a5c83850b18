"""Texts with placeholders in them, compiled once: `{{ .vars.host }}`, `{{ .responses.login.token }}`, `{{ $guid }}`.

    placeholder = "{{" ws* ref ws* "}}"
    ref    = "$guid" | "$timestamp" | ".vars." word | ".input." word | ".env." word | ".secrets." word
           | ".responses." id ( "." seg )*
           | ".responses." id ".$status" | ".responses." id ".$time" | ".responses." id ".$headers." id
    word   = [A-Za-z0-9_]+      id = [A-Za-z0-9_-]+      seg = [A-Za-z0-9_[\\]-]+

What an author wrote is read in two passes: variables first, then answers and responses, so that a variable may hold
`{{ .responses.a.token }}` or a part of it. What people, servers, rows of data, environments and secrets gave is never read.
The result is text, by JavaScript's rules. What is no placeholder, or names nothing, stays as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from execd.core.flows.field_paths import compile_path
from execd.core.flows.js_values import is_missing, is_truthy, js_text, json_text
from execd.core.flows.moments import Moment, Response, StepError

MAX_TEXT_CHARS = 16 * 1024 * 1024
"""Of what is put into the texts of one step, and of what a config's variables put into all its texts: what is inserted many
times grows without anybody meaning it."""
MAX_PLACEHOLDERS = 50_000
"""Of one config; each is a kilobyte while the flow runs. FlowSphere's largest samples have some hundred."""
MAX_ORIGINAL_CHARS = 200
"""Of a placeholder as it is written, where it is told."""

TOO_MANY = f"Config must have at most {MAX_PLACEHOLDERS} placeholders"

_FIRST = re.compile(
    r"\{\{\s*(?:(?P<new>\$guid|\$timestamp)|\.(?P<kind>vars|env|secrets)\.(?P<word>[A-Za-z0-9_]+))\s*\}\}"
)
_SECOND = re.compile(
    r"\{\{\s*(?:\.input\.(?P<word>[A-Za-z0-9_]+)"
    r"|\.responses\.(?P<id>[A-Za-z0-9_-]+)"
    r"(?:\.\$(?P<part>status|time|headers\.(?P<header>[A-Za-z0-9_-]+))|(?P<path>(?:\.[A-Za-z0-9_\[\]-]+)*)))\s*\}\}"
)


class Substitution(msgspec.Struct, frozen=True):
    """One placeholder, replaced."""

    original: str
    value: Any
    type: str
    path: str

    @property
    def record(self) -> dict[str, Any]:
        original = self.original[:MAX_ORIGINAL_CHARS]
        return {"original": original, "value": self.value, "type": self.type, "path": self.path}


class Notes:
    """What rendering notes on its way: what was replaced, and what was not. Owned by the step that renders."""

    def __init__(self) -> None:
        self.made: list[Substitution] = []
        self.unknown: list[str] = []
        """Placeholders that name nothing, as they are written."""
        self._left_chars = MAX_TEXT_CHARS

    def take_room(self, text_chars: int, *, path: str) -> None:
        """Count what is put into a text. Raises StepError when the step's texts have grown too large."""
        self._left_chars -= text_chars
        if self._left_chars < 0:
            raise StepError(f"The text of {path} grew over {MAX_TEXT_CHARS} characters, with the texts before it")


class Placeholder(msgspec.Struct, frozen=True):
    """One placeholder of a text; `read` gives its value, `UNSET` if it names nothing."""

    original: str
    type: str
    read: Callable[[Moment], Any]


Part = str | Placeholder
_ORDER = ("dynamic-guid", "dynamic-timestamp", "variable", "environment", "secret", "input", "response")


class Template:
    """A text whose placeholders have been read. Immutable."""

    __slots__ = ("_constants", "_parts", "_path", "_unknown", "is_single")

    def __init__(self, parts: list[Part], constants: list[Substitution], unknown: list[str], path: str) -> None:
        self._parts = parts
        self._constants = constants
        self._unknown = unknown
        self._path = path
        self.is_single = len(parts) == 1 and isinstance(parts[0], Placeholder)
        """Whether it is one placeholder and nothing else, so that it may keep its type."""

    def text(self, moment: Moment, notes: Notes) -> str:
        """Replace every placeholder. Raises StepError for a response that cannot be read, and a secret that is gone."""
        if type(self._parts[0]) is str and len(self._parts) == 1:
            self._note(notes, self._constants)
            return self._parts[0]
        made = list(self._constants)
        pieces = [part if isinstance(part, str) else self._replace(part, moment, made, notes) for part in self._parts]
        self._note(notes, made)
        return "".join(pieces)

    def value(self, moment: Moment, notes: Notes) -> Any:
        """Give the value itself of a single placeholder; of anything else the text."""
        part = self._parts[0]
        if not self.is_single or not isinstance(part, Placeholder):
            return self.text(moment, notes)
        value = part.read(moment)
        if value is UNSET:
            notes.unknown.append(part.original)
            return part.original
        if isinstance(value, str | list | dict):
            notes.take_room(len(json_text(value)), path=self._path)
        self._note(notes, [Substitution(part.original, value, part.type, self._path)])
        return value

    def _replace(self, part: Placeholder, moment: Moment, made: list[Substitution], notes: Notes) -> str:
        value = part.read(moment)
        if value is UNSET:
            notes.unknown.append(part.original)
            return part.original
        made.append(Substitution(part.original, value, part.type, self._path))
        text = js_text(value)
        notes.take_room(len(text), path=self._path)
        return text

    def _note(self, notes: Notes, made: list[Substitution]) -> None:
        """In the order of the passes."""
        notes.made += sorted(made, key=lambda each: _ORDER.index(each.type)) if len(made) > 1 else made
        notes.unknown += self._unknown


class Reader:
    """Reads texts of one config.

    Args:
        variables: of the config, by name; their texts are read for placeholders once more.
        replaced: names whose values are known only when a step begins, because data or a caller gives them.
    """

    def __init__(self, variables: Mapping[str, Any], *, replaced: frozenset[str] = frozenset()) -> None:
        self._variables = variables
        self._replaced = replaced
        self._left_chars = MAX_TEXT_CHARS
        self._left_count = MAX_PLACEHOLDERS

    def template(self, text: str, path: str) -> Template | None:
        """Read a text; None for one that holds nothing to replace. Raises StepError when the config has too many."""
        if "{{" not in text:
            return None
        constants: list[Substitution] = []
        parts: list[Part] = []
        for piece in self._first_pass(text, path, constants):
            parts += _second_pass(piece) if isinstance(piece, str) else [piece]
        unknown = [found for part in parts if isinstance(part, str) for found in _left_over(part)]
        self._count(len(constants) + len(unknown) + sum(not isinstance(part, str) for part in parts))
        if not constants and not unknown and all(isinstance(part, str) for part in parts):
            return None
        if not self._has_type(parts, constants, text):
            return Template(_joined(parts), constants, unknown, path)
        return Template([_constant(constants[0])], [], [], path)

    def _has_type(self, parts: list[Part], constants: list[Substitution], text: str) -> bool:
        """Whether it is one variable and nothing else, and the variable is no text that was read again."""
        is_plain = len(constants) == 1 and all(isinstance(part, str) for part in parts)
        return is_plain and constants[0].original == text and not isinstance(constants[0].value, str)

    def _first_pass(self, text: str, path: str, constants: list[Substitution]) -> list[Part]:
        """Replace the author's variables; what is next to each other afterwards is read as one text."""
        parts: list[Part] = []
        place = 0
        for found in _FIRST.finditer(text):
            parts.append(text[place : found.start()])
            place = found.end()
            parts.append(self._first_part(found, path, constants))
        parts.append(text[place:])
        return _joined(parts)

    def _first_part(self, found: re.Match[str], path: str, constants: list[Substitution]) -> Part:
        original, word = found[0], found["word"]
        if found["new"] is not None:
            return _guid(original) if found["new"] == "$guid" else _timestamp(original)
        if found["kind"] == "env":
            return Placeholder(original, "environment", lambda moment: moment.env.get(word, UNSET))
        if found["kind"] == "secrets":
            return Placeholder(original, "secret", lambda moment: _read_secret(moment, word))
        if word in self._replaced:
            default = self._variables.get(word, UNSET)
            return Placeholder(original, "variable", lambda moment: moment.row.get(word, default))
        if word not in self._variables:
            return original
        constants.append(Substitution(original, self._variables[word], "variable", path))
        text = js_text(self._variables[word])
        self._left_chars -= len(text)
        if self._left_chars < 0:
            raise StepError(f"The variables put more than {MAX_TEXT_CHARS} characters into the texts of this flow")
        return text

    def _count(self, found: int) -> None:
        self._left_count -= found
        if self._left_count < 0:
            raise StepError(TOO_MANY)


def _guid(original: str) -> Placeholder:
    return Placeholder(original, "dynamic-guid", lambda moment: moment.make_guid())


def _timestamp(original: str) -> Placeholder:
    return Placeholder(original, "dynamic-timestamp", lambda moment: moment.timestamp)


def _read_secret(moment: Moment, name: str) -> Any:
    if name in moment.gone_secrets:
        raise StepError(f"The secret {name!r} is not there any more")
    return moment.secrets.get(name, UNSET)


def _constant(made: Substitution) -> Placeholder:
    return Placeholder(made.original, made.type, lambda _moment: made.value)


def _second_pass(text: str) -> list[Part]:
    parts: list[Part] = []
    place = 0
    for found in _SECOND.finditer(text):
        parts.append(text[place : found.start()])
        place = found.end()
        parts.append(_second_part(found))
    parts.append(text[place:])
    return parts


def _second_part(found: re.Match[str]) -> Placeholder:
    original, word = found[0], found["word"]
    if word is not None:
        return Placeholder(original, "input", lambda moment: moment.answer(word))
    node = found["id"]
    if found["part"] is not None:
        return Placeholder(original, "response", _read_outside(node, found["part"].partition(".")[0], found["header"]))
    path = found["path"]
    read = compile_path(path)

    def read_body(moment: Moment) -> Any:
        response = _response(moment, node)
        if not is_truthy(response.body):
            raise StepError(f"Node {node} has no response body")
        value = response.read(path, read)
        if is_missing(value):
            raise StepError(f"Could not extract value from .responses.{node}{path}")
        return value

    return Placeholder(original, "response", read_body)


def _read_outside(node: str, part: str, header: str | None) -> Callable[[Moment], Any]:
    """Read what is no part of the body: execd's own, and no placeholder in the original grammar."""
    if header is None:
        return lambda moment: getattr(_response(moment, node), "status" if part == "status" else "time_ms")
    name = header.lower()

    def read_header(moment: Moment) -> Any:
        value = _response(moment, node).headers.get(name)
        if value is None:
            raise StepError(f"Could not extract value from .responses.{node}.$headers.{header}")
        return value

    return read_header


def _response(moment: Moment, node: str) -> Response:
    found = moment.response_of(node)
    if found is None:
        raise StepError(f"Could not find response for node: {node}")
    return found


def _left_over(text: str) -> Iterator[str]:
    """Give what looks like a placeholder and is none. Without a regular expression: on text that opens and never closes it
    would look at the rest again and again."""
    place = text.find("{{")
    while place >= 0 and (end := text.find("}}", place + 2)) >= 0:
        yield text[place : end + 2][:MAX_ORIGINAL_CHARS]
        place = text.find("{{", end + 2)


def _joined(parts: list[Part]) -> list[Part]:
    """Put texts that stand next to each other together; at least one part is left."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return joined or [""]
