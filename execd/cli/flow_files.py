"""Flows on the command line: told from workflows, given what was typed, and named for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from execd.cli.arguments import read_pairs, wrong
from execd.core.events import NodeId
from execd.core.flows.configs import prompts_of, rows_of, table_of
from execd.core.flows.titles import StepTitle, steps_of, titles_of
from execd.core.flows.trees import MAX_DEPTH

FLOW = "flow"
"""The kind of a request that is one."""
_VARIABLE = re.compile(r"\{\{\s*\.vars\.([A-Za-z0-9_]+)\s*\}\}")
_SHOWN_NAMES = 20


def looks_like_flow(body: Mapping[str, Any]) -> bool:
    """Whether a body without a kind is a flow: its nodes have a url and no type, as FlowSphere's have."""
    first = next(iter(rows_of(body.get("nodes"))), None)
    return isinstance(first, Mapping) and "type" not in first and ("url" in first or "method" in first)


def titles_in(spec: Mapping[str, Any]) -> dict[NodeId, StepTitle] | None:
    """Name the steps of an execution by what was asked of it; None where that is no flow."""
    return titles_of(table_of(spec.get("config"))) if spec.get("kind") == FLOW else None


def with_run_values(
    body: Mapping[str, Any], *, environment: str | None, variables: Iterable[str], start_step: int | None
) -> dict[str, Any]:
    """Put in what `--env`, `--var` and `--start-step` say.

    Args:
        start_step: the first that runs, from 1.

    Raises:
        InvalidRequestError: there is no such environment, step or variable.
    """
    changed = dict(body)
    if environment is not None:
        changed["environment"] = _known_environment(environment, body)
    given = _read_variables(variables, body)
    if given:
        changed["input"] = {**table_of(body.get("input")), **given}
    if start_step is not None:
        changed["startStep"] = _checked_start(start_step, body)
    return changed


def asked_keys(body: Mapping[str, Any]) -> list[str]:
    """Give what the flow will ask people, in order, each key once."""
    start = body.get("startStep", 0)
    final_from = len(rows_of(body.get("nodes")))
    keys: dict[str, None] = {}
    for index, step in enumerate(steps_of(body)):
        if index >= (start if isinstance(start, int) else 0) or index >= final_from:
            keys.update(dict.fromkeys(prompts_of(step)))
    return list(keys)


def _known_environment(name: str, body: Mapping[str, Any]) -> str:
    known = [each for each in table_of(body.get("environments")) if each != "_common"]
    if name not in known:
        raise wrong("--env", f"`{name}` is no environment of the flow", _listed(known, "a flow with environments"))
    return name


def _read_variables(pairs: Iterable[str], body: Mapping[str, Any]) -> dict[str, Any]:
    defaults = table_of(body.get("variables"))
    typed = read_pairs(pairs, option="--var")
    known = list(dict.fromkeys([*defaults, *(_names_in(body) if typed else ())]))
    for name in typed:
        if name not in known:
            raise wrong("--var", f"`{name}` is no variable of the flow", _listed(known, "a flow that reads .vars"))
    return {name: _as_default(text, defaults.get(name, "")) for name, text in typed.items()}


def _names_in(value: Any, depth: int = 0) -> Iterator[str]:
    """Give the variables that texts read, declared or not: a run may be the first to give them."""
    if isinstance(value, str):
        yield from _VARIABLE.findall(value)
    elif isinstance(value, Mapping | list) and depth < MAX_DEPTH:
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _names_in(item, depth + 1)


def _as_default(text: str, default: Any) -> Any:
    """A variable that is text stays text; one that is a number or a boolean is read as one if it can be."""
    if isinstance(default, str):
        return text
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _checked_start(step: int, body: Mapping[str, Any]) -> int:
    count = len(rows_of(body.get("nodes")))
    if not 1 <= step <= max(count, 1):
        raise wrong("--start-step", f"is {step}", f"1 to {max(count, 1)}, the flow's steps")
    return step - 1


def _listed(names: list[str], instead: str) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) or instead
