"""The validator's part on conditions and validations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import UNSET

from execd.core.flows.faults import STRUCTURE, ConfigErrors, Place, ids_suggestion, shown
from execd.core.flows.js_values import is_number, is_truthy, js_text
from execd.core.flows.operators import ALL
from execd.core.flows.patterns import compile_pattern
from execd.core.flows.schemas import compile_schema

OPERATORS = "Valid operators: equals, notEquals, greaterThan, lessThan, greaterThanOrEqual, lessThanOrEqual, exists"
_SOURCES_HINT = (
    'Use {"node": "stepId", "field": ".path", "equals": "value"} or {"variable": "varName", "equals": "value"} or '
    '{"input": "inputName", "equals": "value"}'
)
_FIELD_OR_STATUS = (
    'Use {"node": "stepId", "field": ".path", "equals": "value"} or {"node": "stepId", "statusCode": 200}'
)
_PATH_EXAMPLE = 'Example: ".id" or ".data.userId"'
_BAD_FIELD = 'Condition "field" must be a valid jsonpath starting with "."'
_LEGACY = 'Consider using the new "node" syntax: {"node": "stepId", ...}'
_VALIDATION = 'Use {"httpStatusCode": 200} or {"jsonpath": ".field", "exists": true}'
_BAD_STATUS = 'Condition "statusCode" must be a number'
_SOURCES = ("node", "variable", "input", "response")
_NAMED = {"variable": "variable name", "input": "input variable name"}
_OWN_RULES = ("header", "responseTimeMs", "schema")


class _Notes:
    """Notes the errors of one condition."""

    def __init__(self, field: str, place: Place, errors: ConfigErrors) -> None:
        self._field = field
        self._place = place
        self._errors = errors

    def add(self, message: str, kind: str, suggestion: str | None = None) -> None:
        self._errors.add(self._field, message, kind, keys=self._place.keys, suggestion=suggestion)


def check_condition(condition: Any, field: str, place: Place, ids: Collection[str], errors: ConfigErrors) -> None:
    """Check one condition, of either shape."""
    notes = _Notes(field, place, errors)
    if not isinstance(condition, Mapping):
        notes.add("Each condition must be an object", "type")
        return
    sources = [name for name in _SOURCES if name in condition]
    if not sources:
        notes.add('Condition must specify a source: "node", "variable", or "input"', STRUCTURE, _SOURCES_HINT)
    elif len(sources) > 1:
        notes.add("Condition must have only one source (node, variable, or input)", STRUCTURE)
    elif sources == ["node"]:
        _check_node_condition(condition, ids, notes)
    elif sources == ["response"]:
        _check_legacy(condition, notes)
    else:
        _check_value_condition(condition, sources[0], notes)
    _check_own_operators(condition, notes)


def _check_node_condition(condition: Mapping[str, Any], ids: Collection[str], notes: _Notes) -> None:
    """A status, a header or a field; only the last is compared in every case."""
    node = condition["node"]
    if not isinstance(node, str):
        notes.add('Condition "node" must be a string (node ID)', "type")
    elif node not in ids:
        notes.add(f'Condition references non-existent node: "{shown(node)}"', "reference", ids_suggestion(ids))
    status = condition.get("statusCode")
    if is_truthy(status) and status is not True:
        if not is_number(status):
            notes.add(_BAD_STATUS, "type")
        return
    if condition.get("httpStatusCode", UNSET) is UNSET:
        if status is not True and not isinstance(condition.get("header"), str):
            _check_field(condition.get("field"), notes)
        _check_operator(condition, "Condition", notes)


def _check_field(field: Any, notes: _Notes) -> None:
    if not is_truthy(field):
        notes.add('Node condition must have "field" (jsonpath) or "statusCode"', STRUCTURE, _FIELD_OR_STATUS)
    elif not isinstance(field, str):
        notes.add('Condition "field" must be a string (jsonpath)', "type")
    elif not field.startswith("."):
        notes.add(_BAD_FIELD, "format", _PATH_EXAMPLE)


def _check_operator(condition: Mapping[str, Any], subject: str, notes: _Notes) -> None:
    if not any(name in condition for name in ALL):
        notes.add(f"{subject} must have a comparison operator", STRUCTURE, OPERATORS)


def _check_value_condition(condition: Mapping[str, Any], source: str, notes: _Notes) -> None:
    if not isinstance(condition[source], str):
        notes.add(f'Condition "{source}" must be a string ({_NAMED[source]})', "type")
    _check_operator(condition, f"{source.capitalize()} condition", notes)


def _check_legacy(condition: Mapping[str, Any], notes: _Notes) -> None:
    if not is_number(condition["response"]):
        notes.add('Legacy condition "response" must be a number (step index)', "type", _LEGACY)
    field = condition.get("field", UNSET)
    if "statusCode" in condition:
        if not is_number(condition["statusCode"]):
            notes.add(_BAD_STATUS, "type")
    elif field is UNSET:
        notes.add('Legacy condition must have "statusCode" or "field"', STRUCTURE)
    else:
        if not isinstance(field, str) or not field.startswith("."):
            notes.add(_BAD_FIELD, "format")
        _check_operator(condition, "Condition", notes)


def _check_own_operators(rule: Mapping[str, Any], notes: _Notes) -> None:
    pattern = rule.get("matches")
    if isinstance(pattern, str) and "{{" not in pattern and compile_pattern(pattern) is None:
        notes.add(
            '"matches" must be a regular expression of RE2', "format", "Look-around and back-references are not taken"
        )
    if "schema" in rule:
        fault = compile_schema(rule["schema"]).fault
        if fault is not None:
            notes.add(f"schema must be a valid JSON Schema: {shown(fault)}", "format")


def check_validations(table: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    """Check the rules of a node or of the defaults."""
    rules = table.get("validations", UNSET)
    field = f"{place.path}.validations"
    if rules is UNSET:
        return
    if not isinstance(rules, list):
        errors.add(field, "validations must be an array", "type", keys=place.keys)
        return
    for index, rule in enumerate(rules):
        _check_validation(rule, _Notes(f"{field}[{index}]", place, errors))


def _check_validation(rule: Any, notes: _Notes) -> None:
    if not isinstance(rule, Mapping):
        notes.add("Each validation must be an object", "type")
        return
    if "httpStatusCode" in rule and not is_number(rule["httpStatusCode"]):
        notes.add("httpStatusCode must be a number", "type")
    path = rule.get("jsonpath", UNSET)
    if path is not UNSET and not isinstance(path, str):
        notes.add("jsonpath must be a string", "type")
    elif isinstance(path, str) and not path.startswith("."):
        notes.add('jsonpath must start with "." (e.g., ".id" or ".data.userId")', "format")
    if not any(name in rule for name in ("httpStatusCode", "jsonpath", *_OWN_RULES)):
        notes.add('Validation must have "httpStatusCode" or "jsonpath"', STRUCTURE, _VALIDATION)
    if "header" in rule and not isinstance(rule["header"], str):
        notes.add("header must be a string (its name)", "type")
    limit = rule.get("responseTimeMs")
    if "responseTimeMs" in rule and not (is_number(limit) or (limit is True and any(name in rule for name in ALL))):
        notes.add("responseTimeMs must be a number (milliseconds), or true with an operator", "type")
    _check_own_operators(rule, notes)
    if "length" in rule and not is_number(rule["length"]):
        notes.add(f'"length" must be a number (got {js_text(rule["length"])[:50]})', "type")
