"""A step's validations, and what later steps need of its answer, written as a Postman test script.

It is written so that `postman_scripts` reads the same rules out of it again.
"""

from __future__ import annotations

import re
from typing import Any

from execd.core.formats.drafting import Json, NoteBook
from execd.core.formats.flow_reading import FlowStep
from execd.core.formats.loose_json import write_json

_CHAI = {
    "equals": "to.eql", "notEquals": "to.not.eql", "greaterThan": "to.be.above", "lessThan": "to.be.below",
    "greaterThanOrEqual": "to.be.at.least", "lessThanOrEqual": "to.be.at.most", "contains": "to.include",
    "notContains": "to.not.include", "in": "to.be.oneOf", "type": "to.be.a", "length": "to.have.lengthOf",
}  # fmt: skip
_NUMERIC = frozenset({"greaterThan", "lessThan", "greaterThanOrEqual", "lessThanOrEqual"})
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)
_PART = re.compile(r"\.([^.\[\]]*)(?:\[(\d{1,9})\])?")


def write_tests(step: FlowStep, captures: dict[str, str], notes: NoteBook) -> list[str]:
    """Give the lines of a script.

    Args:
        captures: variable -> tail of a reference, as `.user.id` or `.$status`.
    """
    rules = step.validations or [{"httpStatusCode": 200}]
    lines: list[str] = []
    for index, rule in enumerate(rules):
        lines += _rule_lines(rule, notes, path=f"{step.path}.validations[{index}]")
    for variable, tail in captures.items():
        value = _value_of(tail)
        if value is None:
            notes.add(
                step.path, f"{tail} of its answer is needed later and cannot be read in Postman", "set it by hand"
            )
        else:
            lines.append(f"pm.collectionVariables.set({write_json(variable)}, {value});")
    return lines


def _rule_lines(rule: Json, notes: NoteBook, *, path: str) -> list[str]:
    if "httpStatusCode" in rule:
        return [_test(f"status is {rule['httpStatusCode']}", _status_check(rule["httpStatusCode"]))]
    if isinstance(rule.get("schema"), dict):
        return [_test("matches its schema", f"pm.response.to.have.jsonSchema({write_json(rule['schema'])})")]
    subject, name = _subject_of(rule)
    if subject is None:
        notes.add(path, "cannot be said in a script of Postman's and was left out", "write the test by hand")
        return []
    operators = {key: value for key, value in rule.items() if key not in {"jsonpath", "header", "responseTimeMs"}}
    return [
        _test(f"{name} {operator}", check)
        for operator, value in (operators or {"exists": True}).items()
        if (check := _check(subject, operator, value, notes, path=path))
    ]


def _test(name: str, check: str) -> str:
    return f"pm.test({write_json(name)}, () => {check});"


def _status_check(status: Any) -> str:
    return f"pm.response.to.have.status({write_json(status)})"


def _subject_of(rule: Json) -> tuple[str | None, str]:
    if isinstance(rule.get("jsonpath"), str):
        return _value_of(rule["jsonpath"]), rule["jsonpath"]
    if isinstance(rule.get("header"), str):
        return f"pm.response.headers.get({write_json(rule['header'])})", rule["header"]
    return ("pm.response.responseTime" if rule.get("responseTimeMs") is True else None), "time"


def _value_of(path: str) -> str | None:
    """Write a path as JavaScript reads it; None where it is none."""
    if path == ".$status":
        return "pm.response.code"
    if path.startswith(".$headers."):
        return f"pm.response.headers.get({write_json(path.removeprefix('.$headers.'))})"
    parts = _PART.findall(path)
    if "".join(f".{name}" + (f"[{index}]" if index else "") for name, index in parts) != path:
        return None
    return "pm.response.json()" + "".join(_member(name) + (f"[{index}]" if index else "") for name, index in parts)


def _member(name: str) -> str:
    if not name:
        return ""
    return f".{name}" if _IDENTIFIER.fullmatch(name) else f"[{write_json(name)}]"


def _check(subject: str, operator: str, value: Any, notes: NoteBook, *, path: str) -> str:
    if operator == "exists":
        return f"pm.expect({subject}).to{'' if value else '.not'}.exist"
    if operator == "matches":
        return f"pm.expect({subject}).to.match(new RegExp({write_json(value)}))"
    if operator not in _CHAI:
        notes.add(path, f"{operator[:40]} cannot be said in a script of Postman's", "write the test by hand")
        return ""
    if operator in {"equals", "notEquals"} and isinstance(value, str):
        subject = f"String({subject})"  # a flow compares as texts
    elif operator in _NUMERIC and not subject.endswith("responseTime"):
        subject = f"Number({subject})"
    return f"pm.expect({subject}).{_CHAI[operator]}({write_json(value)})"
