"""What every importer gives and how it is put together: ids, secrets, notes, and the bounds of all of them.

A file that is imported was written by somebody else. So what looks like a placeholder of ours in it is told, and one that
would read a secret or the environment of whoever runs the flow is broken, unless the importer itself put it there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from execd.core.errors import FieldFault, InvalidRequestError, PayloadTooLargeError
from execd.core.fields import is_nested_deeper, summarise
from execd.core.formats.placeholders import Reference, split_text

MAX_INPUT_CHARS = 16 * 1024 * 1024
"""Of a file; the largest public Postman collections have some 10 MiB."""
MAX_DEPTH = 100
"""Of lists and objects in one another, as in YAML."""
MAX_STEPS = 2000
"""Of one flow; FlowSphere's own page cannot show a thousand. What comes after is left out, and a note says so."""
MAX_NOTES = 200
"""More are not read by anybody; the last one counts the others."""
MAX_ID_CHARS = 60
MAX_NAME_CHARS = 200
Json = dict[str, Any]
_PAIR = re.compile(r"\{{2,}|\}{2,}")


class Note(msgspec.Struct, frozen=True):
    """One thing that is not in the flow as it was in the file."""

    path: str
    """Where it stands in the file: `item[2].request.body`, `paths./pets.get`, `command 3`; `` for the whole."""
    message: str
    """What became of it."""
    advice: str
    """What to do about it."""


class Imported(msgspec.Struct, frozen=True):
    """A flow made of somebody's file."""

    config: Json
    """A FlowSphere config with execd's keys. It holds no credentials but those the caller asked to keep."""
    notes: tuple[Note, ...] = ()


class Exported(msgspec.Struct, frozen=True):
    """A file made of a flow."""

    text: str
    notes: tuple[Note, ...] = ()


def refuse(path: str, message: str, accepted: str) -> InvalidRequestError:
    """Make the one error that importers raise."""
    fault = FieldFault(path=path, message=message, accepted=accepted)
    return InvalidRequestError(summarise((fault,)), faults=(fault,))


def check_size(text: str, *, max_chars: int = MAX_INPUT_CHARS) -> None:
    """Refuse a file that is too long to be read in reasonable time. Raises PayloadTooLargeError."""
    if len(text) > max_chars:
        raise PayloadTooLargeError(f"the file has {len(text)} characters; accepted: at most {max_chars}")


def read_json(text: str, *, what: str, max_chars: int = MAX_INPUT_CHARS) -> Json:
    """Read a JSON object of bounded size and depth.

    Args:
        what: the kind of file, for the error: "a Postman collection (JSON)".

    Raises:
        PayloadTooLargeError: it is too long.
        InvalidRequestError: it is no JSON object.
    """
    check_size(text, max_chars=max_chars)
    try:
        value = msgspec.json.decode(text.encode().removeprefix(b"\xef\xbb\xbf"))
    except msgspec.DecodeError as error:
        raise refuse("", f"is not JSON: {error}", what) from None
    except UnicodeEncodeError:
        raise refuse("", "has a lone surrogate", what) from None
    except RecursionError:
        raise refuse("", "is nested too deeply", f"at most {MAX_DEPTH} levels") from None
    return check_object(value, what=what)


def check_object(value: object, *, what: str) -> Json:
    """Take a parsed file if it is an object of bounded depth. Raises InvalidRequestError."""
    if not isinstance(value, dict):
        raise refuse("", "is no JSON object", what)
    if is_nested_deeper(value, MAX_DEPTH):
        raise refuse("", "is nested too deeply", f"at most {MAX_DEPTH} levels")
    return value


class NoteBook:
    """Collects notes, each once. Owned by one import or export."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str], Note] = {}
        self._dropped_count = 0

    def add(self, path: str, message: str, advice: str) -> None:
        key = (path, message)
        if key in self._notes:
            return
        if len(self._notes) >= MAX_NOTES:
            self._dropped_count += 1
            return
        self._notes[key] = Note(path=path[:300], message=message[:500], advice=advice[:500])

    def finish(self) -> tuple[Note, ...]:
        notes = tuple(self._notes.values())
        if self._dropped_count:
            rest = Note(path="", message=f"there are {self._dropped_count} more remarks", advice="mend these first")
            return (*notes, rest)
        return notes


class Names:
    """Gives out names that nothing else has, in the letters a placeholder may have. Owned by one import."""

    def __init__(self, letters: str) -> None:
        self._other = re.compile(rf"[^{letters}]+")
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def take(self, wanted: str, *, default: str) -> str:
        """Give the wanted name, or one like it that is still free."""
        stem = self._other.sub("_", wanted[: 4 * MAX_ID_CHARS]).strip("_")[:MAX_ID_CHARS] or default
        name, count = stem, self._counts.get(stem, 1)
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._counts[stem] = count
        self._taken.add(name)
        return name


class Draft:
    """A flow while it is being made of a file. Owned by one import."""

    def __init__(self) -> None:
        self.notes = NoteBook()
        self.nodes: list[Json] = []
        self.variables: Json = {}
        self.environments: dict[str, Json] = {}
        """Name -> values, which `.env` reads; `_common` stands below the others."""
        self.typed_words: set[str] = set()
        """Names that a body has without quotes: their values are numbers and the like, not texts."""
        self._ids = Names("A-Za-z0-9_-")
        self._secret_names = Names("A-Za-z0-9_")
        self._secrets: dict[str, str] = {}
        """Value -> name, so that the same key is one secret wherever it stands."""
        self._declared: list[str] = []

    def new_id(self, wanted: str) -> str:
        """Give a step's id that placeholders can name and no other step has."""
        return self._ids.take(wanted, default=f"step_{len(self.nodes) + 1}")

    def declare_secret(self, wanted: str) -> str:
        """Give the placeholder of a secret whose value is not known here."""
        name = self._secret_names.take(wanted, default="secret")
        self._declared.append(name)
        return f"{{{{ .secrets.{name} }}}}"

    def hide(self, wanted: str, value: str, *, path: str) -> str:
        """Give the placeholder that stands for a credential; the credential itself goes nowhere."""
        if not value or "{{" in value:
            return value
        if value not in self._secrets:
            self._secrets[value] = self.declare_secret(wanted)
            name = self._declared[-1]
            self.notes.add(path, f"its value became the secret {name}", f"store the value as the secret {name}")
        return self._secrets[value]

    def add_step(self, node: Json, *, path: str) -> None:
        """Take a step, if there is still room."""
        if len(self.nodes) >= MAX_STEPS:
            self.notes.add("", f"there are more than {MAX_STEPS} requests; the first were taken", "import it in parts")
            return
        name = node.get("name")
        if isinstance(name, str):
            node["name"] = "".join(char if char.isprintable() else " " for char in name[:MAX_NAME_CHARS])
        self.nodes.append(self._checked(node, path))

    def _checked(self, node: Json, path: str) -> Json:
        checked: Json = map_texts(node, lambda text: self._clean(text, path))
        if isinstance(node.get("url"), str):
            checked["url"] = self._clean(node["url"], path, parted=_percent_encoded)
        return checked

    def _clean(self, text: str, path: str, *, parted: Callable[[str], str] = " ".join) -> str:
        if "\0" in text:
            self.notes.add(path, "has NUL characters, which were left out", "send such data with a script step")
            text = text.replace("\0", "")
        return self._defused(text, path, parted) if "{{" in text or "}}" in text else text

    def _defused(self, text: str, path: str, parted: Callable[[str], str]) -> str:
        return "".join(self._defused_part(part, path, parted) for part in split_text(text))

    def _defused_part(self, part: str | Reference, path: str, parted: Callable[[str], str]) -> str:
        if isinstance(part, str):
            if "{{" not in part and "}}" not in part:
                return part
            # Flows take such text for a placeholder that is mistyped, and refuse it.
            self.notes.add(
                path, "has {{ or }} that is no placeholder; the braces were parted", "see whether it matters"
            )
            return _PAIR.sub(lambda found: parted(found.group()), part)
        is_in_environment = any(part.name in values for values in self.environments.values())
        if (
            part.kind not in {"secrets", "env"}
            or part.name in self._declared
            or (part.kind == "env" and is_in_environment)
        ):
            return part.text
        self.notes.add(path, f"tried to read .{part.kind}.{part.name}; its braces were parted", "write it yourself")
        return parted("{{") + part.text[2:-2] + parted("}}")

    def finish(self, **root: Any) -> Imported:
        """Give the flow.

        Raises:
            InvalidRequestError: there is no request in it.
        """
        if not self.nodes:
            raise refuse("", "has no request that could be taken", "at least one HTTP request")
        imported = self.finish_without_nodes(**root)
        _hoist_auth(imported.config, self.nodes)
        imported.config["nodes"] = self.nodes
        return imported

    def finish_without_nodes(self, **root: Any) -> Imported:
        """Give what there is beside the steps."""
        config: Json = {key: value for key, value in root.items() if value}
        if self.environments:
            config["environments"] = self.environments
        if self.variables:
            config["variables"] = self.variables
        config = self._checked(config, "variables")
        if self.typed_words:
            self._keep_types(config)
        if self._declared:
            config["secrets"] = sorted(self._declared)
        return Imported(config=config, notes=self.notes.finish())

    def _keep_types(self, config: Json) -> None:
        """Have bodies take values as they are, and make values of the texts that stand without quotes."""
        config["typed"] = True
        self.notes.add(
            "",
            "bodies have placeholders without quotes, so `typed` was set: one that is a whole value keeps its type",
            "see whether a number may be sent where quotes stood",
        )
        for values in (config.get("variables", {}), *config.get("environments", {}).values()):
            for word in self.typed_words & set(values):
                values[word] = _typed(values[word])


def _percent_encoded(braces: str) -> str:
    """Part braces in a URL, where a space would be another request."""
    return "".join(f"%{ord(brace):X}" for brace in braces)


def _typed(text: object) -> object:
    """Give the number or word that a text says."""
    if not isinstance(text, str) or not re.fullmatch(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?|true|false", text, re.ASCII):
        return text
    value: object = msgspec.json.decode(text)
    return value


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Give the value with every text changed but keys. Its depth is the caller's to bound."""
    match value:
        case str():
            return change(value)
        case list():
            return [map_texts(item, change) for item in value]
        case dict():
            return {key: map_texts(item, change) for key, item in value.items()}
    return value


def _hoist_auth(config: Json, nodes: list[Json]) -> None:
    """Say once at the root what all steps say: there is no word for "none", so one step without it keeps it local."""
    first = nodes[0].get("auth")
    if len(nodes) > 1 and first and all(node.get("auth") == first for node in nodes):
        config["auth"] = first
        for node in nodes:
            del node["auth"]
