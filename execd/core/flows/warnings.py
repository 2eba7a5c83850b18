"""What a config may say and a run will not do, or not as its author thinks. Never a reason to refuse it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from execd.core.flows.bodies import BODY_METHODS
from execd.core.flows.configs import merge_node, prompts_of, rows_of, table_of
from execd.core.flows.data_rows import DataError, read_rows
from execd.core.flows.faults import ConfigErrors, EnoughError, Place, shown
from execd.core.flows.js_values import is_truthy, js_text, leading_number
from execd.core.flows.operators import ORDERINGS
from execd.core.flows.trees import texts_in

_NAMED = re.compile(r"\{\{\s*\.(vars|input|env|secrets|responses)\.([A-Za-z0-9_-]+)[^{}]*\}\}")


def warn(config: Any) -> list[dict[str, Any]]:
    """Give every warning, in the shape of errors; for a config that is valid."""
    errors = ConfigErrors()
    known = _Known(table_of(config))
    listed = [*rows_of(known.config.get("nodes")), *rows_of(known.config.get("finally"))]
    ids: dict[str, int] = {}
    for index, value in enumerate(listed):
        ids.setdefault(js_text(table_of(value).get("id")), index)
    with suppress(EnoughError):
        for index, value in enumerate(listed):
            node = table_of(value)
            place = Place(f"nodes[{index}]", index=index, node=node)
            known.prompts |= set(prompts_of(node))
            _warn_of_keys(node, known.config, place, errors)
            _warn_of_names(node, known, ids, place, errors)
    return errors.found


class _Known:
    """What may be named so far. Owned by one look through a config."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.prompts: set[str] = set()
        self.variables = set(table_of(config.get("variables"))) | _columns(config)
        self.env = {name for values in table_of(config.get("environments")).values() for name in table_of(values)}
        self.secrets = {name for name in rows_of(config.get("secrets")) if isinstance(name, str)}


def _columns(config: Mapping[str, Any]) -> set[str]:
    try:
        return set().union(*(read_rows(config.get("data")) or ()))
    except DataError:
        return set()


def _warn_of_keys(node: Mapping[str, Any], config: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    if config.get("honorLegacyKeys") is not True:
        for name in ("condition", "skipDefaultHeaders"):
            if is_truthy(node.get(name)):
                text = f'"{name}" is ignored when the flow runs, as FlowSphere does'
                errors.add(f"{place.path}.{name}", text, "ignored", keys=place.keys, suggestion="honorLegacyKeys: true")
    if is_truthy(node.get("body")) and js_text(node.get("method")).upper() not in BODY_METHODS:
        text = f"The body is not sent with {js_text(node.get('method')).upper()[:20]}"
        errors.add(f"{place.path}.body", text, "ignored", keys=place.keys)
    rules = [rule for rule in rows_of(merge_node(node, config).get("validations")) if isinstance(rule, Mapping)]
    statuses = [rule["httpStatusCode"] for rule in rules if "httpStatusCode" in rule]
    for rule in rules:
        _warn_of_threshold(rule, place, errors)
    if len({js_text(status) for status in statuses}) > 1:
        text = "The validations want different statuses, those of the defaults among them: one of them always fails"
        hint = "skipDefaultValidations: true"
        errors.add(f"{place.path}.validations", text, "conflict", keys=place.keys, suggestion=hint)


def _warn_of_threshold(rule: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    for name in ORDERINGS:
        if name in rule and leading_number(rule[name]) is None:
            text = f'"{name}" compares with no number ("{shown(js_text(rule[name]))}"): it never fails'
            hint = "a number; nothing in a validation is a placeholder"
            errors.add(f"{place.path}.validations", text, "ignored", keys=place.keys, suggestion=hint)


def _warn_of_names(
    node: Mapping[str, Any], known: _Known, ids: Mapping[str, int], place: Place, errors: ConfigErrors
) -> None:
    """Args:
    ids: where the first node of each id stands.
    """
    index = place.keys["nodeIndex"]
    sources = {"vars": known.variables, "input": known.prompts, "env": known.env, "secrets": known.secrets}
    for text in texts_in(node):
        for kind, name in _NAMED.findall(text):
            if kind == "responses":
                is_there = ids.get(name, -1) < index
                message = f'Node "{shown(name)}" has not run yet when this step begins'
            else:
                is_there = name in sources[kind]
                message = f'"{{{{ .{kind}.{shown(name)} }}}}" names nothing, and is sent as it is written'
            if not is_there:
                errors.add(place.path, message, "reference", keys=place.keys)
