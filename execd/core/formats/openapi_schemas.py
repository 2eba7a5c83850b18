"""Schemas of an OpenAPI document: references followed, made self-contained for checking, and made into samples for sending.

Only references into the document itself are followed. Cycles end where they close, and what a schema or all of them may
cost is bounded, since twenty definitions that each use the last one twice describe a million fields.
Source: OpenAPI 3.1.1; JSON Schema 2020-12; for 3.0 its own dialect (`nullable`, boolean `exclusiveMinimum`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec

from execd.core.formats.drafting import Json, NoteBook
from execd.core.formats.patterns import is_plain_pattern

MAX_SCHEMA_VALUES = 1500
"""Of one schema with its references written out; a larger one is not checked, and a note says so."""
MAX_ALL_VALUES = 150_000
"""Of all schemas and samples of a document: some seconds of work at the most."""
MAX_SCHEMA_DEPTH = 40
"""Of schemas in schemas, references included."""
MAX_SAMPLE_DEPTH = 12
MAX_EXAMPLE_BYTES = 16 * 1024 * 1024
"""Of all examples: each may stand in a document once and be referred to a thousand times."""
CHARS_PER_VALUE = 256
"""A text in an example counts as one value for each so many characters."""
_MAX_HOPS = 30
"""Of references that point to references."""
_DROPPED = frozenset(
    {"example", "examples", "xml", "externalDocs", "discriminator", "deprecated", "readOnly", "writeOnly", "nullable"}
    | {
        "patternProperties",
        "default",
        "title",
        "description",
        "$schema",
        "$id",
        "$anchor",
        "$comment",
        "$defs",
        "definitions",
    }
)
_TEXT_SAMPLES = {
    "date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "time": "12:00:00Z", "email": "user@example.com",
    "uuid": "11111111-1111-4111-8111-111111111111", "uri": "https://example.com/", "url": "https://example.com/",
    "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "byte": "ZXhhbXBsZQ==", "duration": "P1D",
    "binary": "example", "password": "example-password",
}  # fmt: skip


class TooLargeError(Exception):
    """A schema costs more than it may."""


class Schemas:
    """Follows the references of one document. Owned by one import."""

    def __init__(self, document: Json, notes: NoteBook) -> None:
        self._document = document
        self._notes = notes
        self._left = MAX_ALL_VALUES
        self._left_of_one = MAX_SCHEMA_VALUES
        self._example_bytes_left = MAX_EXAMPLE_BYTES

    def resolve(self, value: Any, *, path: str) -> Json:
        """Follow `$ref` until there is something else; an empty object where it leads nowhere."""
        for _ in range(_MAX_HOPS):
            if not isinstance(value, dict):
                return {}
            reference = value.get("$ref")
            if not isinstance(reference, str):
                return value
            value = self._look_up(reference, path)
        self._notes.add(path, "refers to itself", "mend the document")
        return {}

    def _look_up(self, reference: str, path: str) -> Any:
        if not reference.startswith("#"):
            self._notes.add(
                path, f"refers to another file, {reference[:100]}, which is not read", "bundle the document"
            )
            return None
        value: Any = self._document
        for part in reference[1:].split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict):
                value = value.get(name)
            elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(value):
                value = value[int(name[:9])]
            else:
                value = None
        if value is None:
            self._notes.add(path, f"refers to {reference[:100]}, which is not there", "mend the document")
        return value

    def self_contained(self, schema: Any, *, path: str) -> Json | None:
        """Give a JSON Schema without references, fit to check an answer with; None if it says nothing or too much."""
        self._left_of_one = MAX_SCHEMA_VALUES
        try:
            found = self._written_out(schema, (), 0, path)
        except TooLargeError:
            self._notes.add(
                path, "is too large with its references written out; it is not checked", "check what matters"
            )
            return None
        return found if isinstance(found, dict) and found else None

    def afford(self, example: Any, *, path: str) -> Any:
        """Give an example that stands in the document, unless it has been used so often that the flow gets too large."""
        self._example_bytes_left -= len(msgspec.json.encode(example))
        if self._example_bytes_left >= 0:
            return example
        self._notes.add(
            path, "has an example that was left out, since there are too many bytes of them", "write it yourself"
        )
        return None

    def _spend(self) -> None:
        self._left -= 1
        self._left_of_one -= 1
        if self._left < 0 or self._left_of_one < 0:
            raise TooLargeError

    def _written_out(self, schema: Any, trail: tuple[str, ...], depth: int, path: str) -> Any:
        self._spend()
        if depth > MAX_SCHEMA_DEPTH:
            raise TooLargeError
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in trail:
                return {}  # anything: a tree is checked as deep as the cycle is long
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            target = self._written_out(self._look_up(reference, path), (*trail, reference), depth + 1, path)
            more = self._written_out(beside, trail, depth + 1, path)
            return {"allOf": [target, more]} if more and target else target or more
        return _modern(
            schema, {key: self._part(key, value, trail, depth, path) for key, value in schema.items() if _is_kept(key)}
        )

    def _part(self, key: str, value: Any, trail: tuple[str, ...], depth: int, path: str) -> Any:
        match key:
            case "properties" | "dependentSchemas" if isinstance(value, dict):
                return {str(name): self._written_out(inner, trail, depth + 1, path) for name, inner in value.items()}
            case "allOf" | "anyOf" | "oneOf" | "prefixItems" if isinstance(value, list):
                return [self._written_out(inner, trail, depth + 1, path) for inner in value]
            case "pattern":
                return self._pattern(value, path)
            case "items" | "additionalProperties" | "not" | "contains" | "propertyNames" | "if" | "then" | "else":
                return self._written_out(value, trail, depth + 1, path)
        self._spend_for(value)
        return value

    def _pattern(self, value: Any, path: str) -> str:
        """Give a pattern that checkers without back-tracking take, or one that everything matches."""
        if is_plain_pattern(value):
            return str(value)
        self._notes.add(
            path, "has a pattern that is not checked: look-around, or not a pattern", "check it in another way"
        )
        return ""

    def _spend_for(self, value: Any) -> None:
        """Count what somebody wrote out, which may stand in a thousand places."""
        left = [value]
        while left:
            self._spend()
            found = left.pop()
            if isinstance(found, dict):
                left += found.values()
            elif isinstance(found, list):
                left += found
            elif isinstance(found, str):
                self._left -= len(found) // CHARS_PER_VALUE
                self._left_of_one -= len(found) // CHARS_PER_VALUE

    def sample(self, schema: Any, *, path: str) -> Any:
        """Make a value that the schema allows, as far as that can be done without trying."""
        self._left_of_one = MAX_SCHEMA_VALUES
        try:
            return self._sample(schema, (), 0, path)
        except TooLargeError:
            self._notes.add(path, "is too large to make a sample of", "write the value into the step")
            return {}

    def _sample(self, schema: Any, trail: tuple[str, ...], depth: int, path: str) -> Any:
        self._spend()
        if not isinstance(schema, dict) or depth > MAX_SAMPLE_DEPTH:
            return None
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in trail:
                return None
            return self._sample(self._look_up(reference, path), (*trail, reference), depth + 1, path)
        given = _given_sample(schema)
        if given is not None:
            self._spend_for(given)
            return given
        for key in ("oneOf", "anyOf"):
            if isinstance(schema.get(key), list) and schema[key]:
                return self._joined([schema[key][0], _without(schema, key)], trail, depth, path)
        if isinstance(schema.get("allOf"), list):
            return self._joined([*schema["allOf"], _without(schema, "allOf")], trail, depth, path)
        match type_of(schema):
            case "object":
                return self._sample_object(schema, trail, depth, path)
            case "array":
                return self._sample_array(schema, trail, depth, path)
        return _sample_scalar(schema)

    def _joined(self, schemas: list[Any], trail: tuple[str, ...], depth: int, path: str) -> Any:
        samples = [self._sample(schema, trail, depth + 1, path) for schema in schemas if schema]
        objects = [sample for sample in samples if isinstance(sample, dict)]
        if objects:
            return {key: value for sample in objects for key, value in sample.items()}
        return next((sample for sample in samples if sample is not None), None)

    def _sample_object(self, schema: Json, trail: tuple[str, ...], depth: int, path: str) -> Json:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        wanted = set(map(str, required)) if isinstance(required, list) else set()
        sample: Json = {}
        for name, inner in properties.items():
            resolved = self.resolve(inner, path=path)
            is_wanted = name in wanted or not wanted or _given_sample(resolved) is not None
            if not is_wanted or resolved.get("readOnly") is True:
                continue
            value = self._sample(inner, trail, depth + 1, path)
            if value is not None or name in wanted:
                sample[str(name)] = value
        return sample

    def _sample_array(self, schema: Json, trail: tuple[str, ...], depth: int, path: str) -> list[Any]:
        least = schema.get("minItems")
        count = min(max(least if isinstance(least, int) else 1, 1), 10)
        item = self._sample(schema.get("items", {}), trail, depth + 1, path)
        return [] if item is None else [item] * count


def type_of(schema: Json) -> str:
    """Give the first type that is not null; what the keywords tell if there is none."""
    found = schema.get("type")
    if isinstance(found, list):
        found = next((name for name in found if name != "null"), None)
    if isinstance(found, str):
        return found
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema else ""


def _given_sample(schema: Json) -> Any:
    examples = schema.get("examples")
    for key in ("example", "const", "default"):
        if schema.get(key) is not None:
            return schema[key]
        if key == "example" and isinstance(examples, list) and examples:
            return examples[0]
    words = schema.get("enum")
    return words[0] if isinstance(words, list) and words else None


def _without(schema: Json, key: str) -> Json:
    rest = {name: value for name, value in schema.items() if name != key}
    return rest if "properties" in rest else {}


def _is_kept(key: Any) -> bool:
    return isinstance(key, str) and key not in _DROPPED and not key.startswith("x-")


def _modern(schema: Json, kept: Json) -> Json:
    """Say what OpenAPI 3.0 says in words of its own as JSON Schema does."""
    if schema.get("nullable") is True and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
        if isinstance(kept.get("enum"), list) and None not in kept["enum"]:
            kept["enum"] = [*kept["enum"], None]
    for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(kept.get(key), bool) and kept.pop(key) and bound in kept:
            kept[key] = kept.pop(bound)
    return kept


def _sample_scalar(schema: Json) -> Any:
    match type_of(schema):
        case "string":
            return _sample_text(schema)
        case "integer" | "number" as kind:
            return _sample_number(schema, is_whole=kind == "integer")
        case "boolean":
            return True
    return None


def _sample_text(schema: Json) -> str:
    text = _TEXT_SAMPLES.get(str(schema.get("format")), "string")
    least, most = schema.get("minLength"), schema.get("maxLength")
    if isinstance(least, int) and len(text) < least <= 10_000:
        text = text.ljust(least, "x")
    return text[:most] if isinstance(most, int) and most >= 0 else text


def _sample_number(schema: Json, *, is_whole: bool) -> int | float:
    least, most, step = (schema.get(key) for key in ("minimum", "maximum", "multipleOf"))
    number: int | float = 1
    if isinstance(schema.get("exclusiveMinimum"), int | float) and not isinstance(schema["exclusiveMinimum"], bool):
        number = max(number, schema["exclusiveMinimum"] + 1)
    if isinstance(least, int | float):
        number = max(number, least + (schema.get("exclusiveMinimum") is True))
    if isinstance(most, int | float):
        number = min(number, most)
    if isinstance(step, int | float) and step > 0:
        number = step * max(1, -(-number // step))
    return int(number) if is_whole and abs(number) < 2**53 else number
