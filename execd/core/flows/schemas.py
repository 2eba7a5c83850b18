"""JSON Schema for the bodies of answers: read once, and never from anywhere but the config.

Drafts 4 to 2020-12, by `$schema`; 2020-12 where there is none. `$ref` leads into the schema itself and nowhere else.
Patterns are those of `patterns`; `patternProperties` is not taken, because it would be read with another engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
from jsonschema import validators
from referencing import Registry
from referencing.exceptions import Unresolvable

from execd.core.flows.patterns import compile_pattern, is_found

MAX_FAULTS = 5
"""Told of one body: whoever mends the first sees the others."""
MAX_FAULT_CHARS = 300


class SchemaCheck:
    """A schema, ready to use. Immutable."""

    def __init__(self, validator: Any | None, fault: str | None) -> None:
        self._validator = validator
        self.fault = fault
        """Why the schema cannot be used; None if it can."""

    def faults(self, value: Any) -> list[str]:
        """Say what is wrong with a value; empty if nothing is."""
        if self._validator is None:
            return [f"the schema is not valid ({self.fault})"]
        try:
            return [
                _words_of(error)
                for error, _ in zip(self._validator.iter_errors(value), range(MAX_FAULTS), strict=False)
            ]
        except (Unresolvable, RecursionError, ArithmeticError, TypeError, ValueError) as error:
            return [f"the schema cannot be followed ({type(error).__name__})"]


def compile_schema(schema: Any) -> SchemaCheck:
    """Read a schema; one that is not valid fails every value, and says why."""
    fault = _fault_of(schema)
    if fault is not None:
        return SchemaCheck(None, fault)
    return SchemaCheck(_class_of(schema)(schema, registry=Registry()), None)


def _fault_of(schema: Any) -> str | None:
    if not isinstance(schema, Mapping | bool):
        return "a schema is an object, true or false"
    try:
        validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        return _words_of(error)
    except RecursionError:
        return "it is nested too deeply"
    for table in _tables_in(schema):
        if "patternProperties" in table:
            return "patternProperties is not taken here"
        pattern = table.get("pattern")
        if isinstance(pattern, str) and compile_pattern(pattern) is None:
            return f"the pattern {pattern[:100]!r} is not taken; look-around and back-references are not"
    return None


def _tables_in(schema: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _class_of(schema: Any) -> Any:
    found = validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return validators.extend(found, {"pattern": _check_pattern})


def _check_pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(instance, str) and not is_found(pattern, instance):
        yield jsonschema.ValidationError("does not match its pattern")


def _words_of(error: Any) -> str:
    """Say where and what; values are cut, because a body may be large."""
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path) or "."
    text = str(error.message)
    if len(text) > MAX_FAULT_CHARS:
        text = f"{text[:MAX_FAULT_CHARS]}…"
    return f"{where}: {text}".encode(errors="replace").decode()
