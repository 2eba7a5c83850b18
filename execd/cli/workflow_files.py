"""Files that hold a request instead of a program: a workflow in YAML or JSON. Pure, but for `read_value`'s `@file`.

A file is a request if its name says YAML or JSON; it then has a `kind`, or `nodes`, which make it a workflow, or a flow if
they are HTTP requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from execd.cli.arguments import wrong
from execd.cli.flow_files import FLOW, looks_like_flow, with_run_values
from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.fields import summarise

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
WORKFLOW_LANGUAGE = "workflow"
"""What `--lang` says of a workflow that comes from stdin and so has no name."""


def is_request_file(file: str, language: str | None) -> bool:
    """Say whether a file is read as a request: `--lang` decides, else the end of its name."""
    if language is not None:
        return language == WORKFLOW_LANGUAGE
    return Path(file).suffix.lower() in SUFFIXES


def read_request(text: str, *, file: str) -> dict[str, Any]:
    """Read the body of a request from a file's text.

    Raises:
        InvalidRequestError: it is no YAML or JSON, or no object with a `kind` or `nodes`.
    """
    body = _decode(text, file=file)
    if not isinstance(body, Mapping) or not ("kind" in body or "nodes" in body):
        raise _refused(file, "has neither kind nor nodes", "a workflow or a flow: an object with nodes")
    kind = FLOW if looks_like_flow(body) else WORKFLOW_LANGUAGE
    return {"name": Path(file).stem, "kind": kind, **body}


def _decode(text: str, *, file: str) -> Any:
    from execd.core.yaml_text import parse_yaml

    if Path(file).suffix.lower() != ".json":
        try:
            return parse_yaml(text.encode())
        except InvalidRequestError as error:
            faults = tuple(msgspec.structs.replace(fault, path=fault.path or file) for fault in error.faults)
            raise InvalidRequestError(summarise(faults), faults=faults) from None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(file, f"cannot be read{_place_in(text)}: {error or 'it is nested too deeply'}", "JSON") from None


def _refused(file: str, message: str, accepted: str) -> InvalidRequestError:
    fault = FieldFault(file, message, accepted)
    return InvalidRequestError(summarise((fault,)), faults=(fault,))


def _place_in(text: str) -> str:
    """Say where JSON breaks off, as editors count."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f" at line {error.lineno}, column {error.colno}"
    except RecursionError:
        return ""
    return ""


def with_values(body: dict[str, Any], *, input_text: str | None, variables: Iterable[str]) -> dict[str, Any]:
    """Put what `--input` and `--var` say in place of what the file has.

    Raises:
        InvalidRequestError: `--input` is no JSON, or `--var` names nothing the file has.
    """
    if input_text is not None:
        body = {**body, "input": read_value(input_text, option="--input")}
    if body.get("kind") == FLOW:
        return with_run_values(body, environment=None, variables=variables, start_step=None)
    known = body.get("vars")
    changed: dict[str, Any] = dict(known) if isinstance(known, Mapping) else {}
    for pair in variables:
        name, equals, text = pair.partition("=")
        if not equals or name not in changed:
            why = "is no variable of the workflow" if equals else "is no pair"
            raise wrong("--var", f"`{name}` {why}", "NAME=VALUE of " + (", ".join(sorted(changed)) or "no variable"))
        changed[name] = _as_default(text, changed[name])
    return {**body, "vars": changed} if changed else body


def read_value(text: str, *, option: str) -> Any:
    """Read JSON that was typed, or that is in the file an `@` leads to."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise wrong(option, f"cannot read {text[1:]}: {error}", "JSON, or @ and a file of JSON") from None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise wrong(option, f"is no JSON: {error}", "JSON, or @ and a file of JSON") from None


def _as_default(text: str, default: Any) -> Any:
    """A variable that is text stays text, so that `--var version=1.0` keeps its dot; any other is read as JSON if it is."""
    if isinstance(default, str):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
