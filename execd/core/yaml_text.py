"""Between YAML and plain JSON values, for definitions that people write by hand; used by the doors and the command line.

The rules are those of the YAML 1.2 core schema, whatever the document says: only `true` and `false` (also `True`, `TRUE` …)
are booleans, so `yes`, `no`, `on` and `off` are texts; `1:30` and `2026-01-01` are texts; `010` is ten and `0o10` is eight.
What has no place in JSON is refused: other keys than plain ones (a key is always the text that was written: `on:` is "on",
`1:` is "1"), infinity, tags but `!!str`, `!!map` and `!!seq`, and a second document. Refused for safety: aliases (a few
lines of them can stand for gigabytes), a key given twice, nesting deeper than `MAX_DEPTH`, more than `MAX_VALUES` values.

The values are built from the parser's events, so nothing here recurses and no constructor of PyYAML is ever called.
Source: YAML 1.2.2, section 10.3.2.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from execd.core.errors import ConflictError, FieldFault, InvalidRequestError, PayloadTooLargeError
from execd.core.fields import Faults, is_nested_deeper, summarise, text_fault

MAX_YAML_BYTES = 1024 * 1024
"""Far above what anybody writes by hand; larger definitions are sent as JSON, which is read a hundred times faster."""
MAX_VALUES = 100_000
"""Scalars, lists and objects; reading so many takes about half a second."""
MAX_DEPTH = 100
"""Nesting; a workflow of eight bodies in bodies has some thirty."""
_WORDS = "YAML 1.2 in UTF-8"
_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"null|Null|NULL|~|", re.ASCII)
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE", re.ASCII)
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_PREFIXED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_MAX_DIGITS = 20
"""Of a whole number: as many as 64 bits have. Longer ones would be rounded by most programs that read them."""


def parse_yaml(body: bytes) -> Any:
    """Read one document as plain JSON values.

    Raises:
        PayloadTooLargeError: it is longer than `MAX_YAML_BYTES`.
        InvalidRequestError: it is no such document; `faults` has the path, line and column of each fault.
    """
    if len(body) > MAX_YAML_BYTES:
        raise PayloadTooLargeError(f"the YAML has {len(body)} bytes; accepted: at most {MAX_YAML_BYTES}, or JSON")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(f"is not UTF-8 at byte {error.start}") from None
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _unreadable(f"cannot be read{_place(mark)}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise _unreadable(f"cannot be read: {str(error).splitlines()[0][:100]}") from None
    return builder.finish()


def _unreadable(message: str) -> InvalidRequestError:
    fault = FieldFault(path="", message=message, accepted=_WORDS)
    return InvalidRequestError(summarise((fault,)), faults=(fault,))


def _place(mark: Any) -> str:
    return "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"


class _Open:
    """A list or object that is being read."""

    def __init__(self, value: list[Any] | dict[str, Any], path: str) -> None:
        self.value = value
        self.path = path
        self.key: str | None = None
        """Of an object: the key whose value comes next."""

    def path_of_next(self) -> str:
        if isinstance(self.value, list):
            return f"{self.path}[{len(self.value)}]"
        return self.path if self.key is None else f"{self.path}.{self.key}".removeprefix(".")

    def add(self, value: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        else:
            assert self.key is not None
            self.value[self.key] = value
            self.key = None


class _Builder:
    """Makes values of events. Faults that leave something to read are collected."""

    def __init__(self) -> None:
        self._faults = Faults()
        self._stack: list[_Open] = []
        self._root: Any = None
        self._value_count = 0
        self._document_count = 0

    def finish(self) -> Any:
        """Give the document. Raises InvalidRequestError."""
        self._faults.raise_if_any()
        if not self._value_count:
            raise _unreadable("is empty")
        return self._root

    def take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._document_count += 1
                if self._document_count > 1:
                    raise _unreadable(f"has a second document{_place(event.start_mark)}")
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._stack.pop()
            case yaml.AliasEvent():
                self._fault(event, "is an alias", "the value itself, written out")
                self._add_alias(event)
            case yaml.ScalarEvent():
                self._take_scalar(event)

    def _open(self, event: Any) -> None:
        is_list = isinstance(event, yaml.SequenceStartEvent)
        self._count(event)
        if len(self._stack) >= MAX_DEPTH:
            raise _unreadable(f"is nested too deeply{_place(event.start_mark)}")
        if event.tag not in {None, "!", f"{_TAG}{'seq' if is_list else 'map'}"}:
            self._fault(event, f"has the tag {event.tag[:64]}", "no tag")
        if self._is_at_key():
            raise _unreadable(f"has a list or an object as a key{_place(event.start_mark)}")
        opened = _Open([] if is_list else {}, self._path())
        self._add(opened.value)
        self._stack.append(opened)

    def _take_scalar(self, event: Any) -> None:
        self._count(event)
        if event.tag not in {None, "!", f"{_TAG}str"}:
            self._fault(event, f"has the tag {event.tag[:64]}", "no tag, or !!str")
        if self._is_at_key():
            self._take_key(event)
            return
        if not event.implicit[0] or event.tag is not None:
            self._add(event.value)
            return
        wrong = _fault_of_plain(event.value)
        if wrong is not None:
            self._fault(event, *wrong)
        self._add(None if wrong is not None else _resolve_plain(event.value))

    def _take_key(self, event: Any) -> None:
        key, parent = str(event.value), self._stack[-1]
        assert isinstance(parent.value, dict)
        parent.key = key
        if key in parent.value:
            self._fault(event, "is given twice", "each key once")

    def _add_alias(self, event: Any) -> None:
        self._count(event)
        if self._is_at_key():
            self._stack[-1].key = ""
        else:
            self._add(None)

    def _add(self, value: Any) -> None:
        if self._stack:
            self._stack[-1].add(value)
        else:
            self._root = value

    def _is_at_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _path(self) -> str:
        return self._stack[-1].path_of_next() if self._stack else ""

    def _count(self, event: Any) -> None:
        self._value_count += 1
        if self._value_count > MAX_VALUES:
            raise _unreadable(f"has more than {MAX_VALUES} values{_place(event.start_mark)}")

    def _fault(self, event: Any, message: str, accepted: str) -> None:
        self._faults.add(self._path(), f"{message}{_place(event.start_mark)}", accepted)


def _resolve_plain(text: str) -> Any:
    """Give what a scalar without quotes stands for; `_fault_of_plain` has passed it."""
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _PREFIXED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _fault_of_plain(text: str) -> tuple[str, str] | None:
    if (_INTEGER.fullmatch(text) or _PREFIXED.fullmatch(text)) and (
        len(text) > _MAX_DIGITS or not -(2**63) <= int(text, 0 if text[:2] in {"0o", "0x"} else 10) < 2**64
    ):
        return f"is a number of {len(text)} characters", "a whole number of 64 bits, or a text in quotes"
    is_number = _FLOAT.fullmatch(text) is not None
    if _NO_NUMBER.fullmatch(text) or (is_number and not math.isfinite(float(text))):
        return "is no number that JSON has", "a finite number, or a text in quotes"
    return None


def write_yaml(value: Any) -> str:
    """Write plain JSON values so that `parse_yaml` gives the same ones back; texts of several lines stay readable.

    Raises:
        ConflictError: it is nested more deeply than `parse_yaml` would read.
    """
    if is_nested_deeper(value, MAX_DEPTH):
        raise ConflictError(
            f"it is nested more than {MAX_DEPTH} deep, which YAML does not take here; export it as json"
        )
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
    return text


class _Dumper(yaml.CSafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text and all(char.isprintable() or char in "\n\t" for char in text):
        style = "|"
    elif text_fault(text, max_chars=len(text)) is not None or not text.isprintable() or _reads_as_other(text):
        style = '"'
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


def _reads_as_other(text: str) -> bool:
    """Whether a text without quotes would be read as something else than itself."""
    return _fault_of_plain(text) is not None or _resolve_plain(text) != text


_Dumper.add_representer(str, _represent_text)
