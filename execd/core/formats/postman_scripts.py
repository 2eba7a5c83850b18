"""Postman's test scripts, read for the assertions and the hand-overs that a flow can say itself.

`pm.response.to.have.status(200)`, chains of `pm.expect(…)`, the old `tests["…"] = …`, and `pm.environment.set("x", answer.a)`
in any of their scopes. An assertion inside an `if` or a loop is not always made, so it is not taken; it is told, like all
that is not known here. Never runs anything.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec

from execd.core.formats.drafting import Json
from execd.core.formats.patterns import is_plain_pattern
from execd.core.formats.placeholders import PATH
from execd.core.formats.script_tokens import (
    Link,
    NoLiteralError,
    Tokens,
    find_close,
    read_chain,
    read_literal,
    read_tokens,
    split_at,
    split_statements,
)

_STATUS_WORDS = {
    "ok": 200, "accepted": 202, "badRequest": 400, "unauthorized": 401, "unauthorised": 401, "forbidden": 403,
    "notFound": 404, "rateLimited": 429,
}  # fmt: skip
_FILLERS = frozenset(
    {"to", "be", "been", "is", "that", "which", "and", "has", "have", "with", "at", "of", "same", "but", "does"}
    | {"still", "also", "deep", "nested", "own"}
)
_COMPARISONS = {
    "eql": "equals", "eq": "equals", "equal": "equals", "equals": "equals", "eqls": "equals",
    "above": "greaterThan", "gt": "greaterThan", "greaterThan": "greaterThan",
    "below": "lessThan", "lt": "lessThan", "lessThan": "lessThan",
    "least": "greaterThanOrEqual", "gte": "greaterThanOrEqual", "greaterThanOrEqual": "greaterThanOrEqual",
    "most": "lessThanOrEqual", "lte": "lessThanOrEqual", "lessThanOrEqual": "lessThanOrEqual",
    "include": "contains", "includes": "contains", "contain": "contains", "contains": "contains", "string": "contains",
    "match": "matches", "matches": "matches", "a": "type", "an": "type", "lengthOf": "length", "length": "length",
    "oneOf": "in",
}  # fmt: skip
_OPPOSITES = {
    "equals": "notEquals", "contains": "notContains", "greaterThan": "lessThanOrEqual",
    "lessThan": "greaterThanOrEqual", "greaterThanOrEqual": "lessThan", "lessThanOrEqual": "greaterThan",
}  # fmt: skip
_STATES: dict[str, Json] = {
    "exist": {"exists": True}, "ok": {"exists": True}, "null": {"exists": False}, "undefined": {"exists": False},
    "true": {"equals": True}, "false": {"equals": False}, "empty": {"length": 0},
}  # fmt: skip
_OPERATORS = {"===": "equals", "==": "equals", "!==": "notEquals", "!=": "notEquals", "<": "lessThan",
              ">": "greaterThan", "<=": "lessThanOrEqual", ">=": "greaterThanOrEqual"}  # fmt: skip
_HARMLESS = re.compile(r"console|(pm|postman)\.\w+\.?(unset|clear)|postman\.clear\w+|\"use strict\"")
_SETTERS = frozenset({"environment", "collectionVariables", "globals", "variables"})
_BLOCK_WORDS = frozenset(
    {"if", "else", "for", "while", "do", "switch", "try", "catch", "finally", "function", "class", "return", "throw"}
    | {"async", "await"}
)
_WRAPPERS = frozenset({"String", "Number", "parseInt", "parseFloat", "Boolean"})


class Subject(msgspec.Struct, frozen=True):
    """What an assertion is about."""

    kind: str
    """body, status, time, header, or literal."""
    parts: tuple[str | int, ...] = ()
    """Of a body: the way into it. Of a header: its name."""
    value: Any = None
    """Of a literal."""


class Capture(msgspec.Struct, frozen=True):
    """A part of the answer that a script puts into a variable."""

    variable: str
    tail: str
    """After the step's id in a reference: `.user.id`, `.$status`, `.$headers.etag`."""


class ScriptFindings(msgspec.Struct, frozen=True):
    """What a script says that a flow can say."""

    validations: tuple[Json, ...] = ()
    captures: tuple[Capture, ...] = ()
    unknown: tuple[str, ...] = ()
    """The beginnings of what was not understood."""


class _UnknownError(Exception):
    """The statement is none that is known here."""


def read_script(script: str) -> ScriptFindings:
    """Read one test script."""
    tokens = read_tokens(script)
    if tokens is None:
        return ScriptFindings(unknown=("the whole script: it is too long or too deep",))
    reader = _Reader()
    reader.read_block(tokens, {})
    return ScriptFindings(tuple(reader.validations), tuple(reader.captures), tuple(reader.unknown))


def join_path(parts: tuple[str | int, ...]) -> str:
    """Write a way into a body as a flow does: `.a[0].b`, `.[0]`, `.` for all of it."""
    text, may_take_index = "", False
    for part in parts:
        if isinstance(part, str):
            text, may_take_index = f"{text}.{part}", True
        else:
            text, may_take_index = (f"{text}[{part}]" if may_take_index else f"{text}.[{part}]"), False
    return text or "."


class _Reader:
    """Reads the statements of one script in their order. Owned by one call."""

    def __init__(self) -> None:
        self.validations: list[Json] = []
        self.captures: list[Capture] = []
        self.unknown: list[str] = []

    def read_block(self, tokens: Tokens, names: dict[str, Subject]) -> None:
        for statement in split_statements(tokens):
            try:
                self._read_statement(statement, names)
            except (_UnknownError, NoLiteralError):
                text = " ".join(token.text for token in statement[:12])
                if not _HARMLESS.match(text.replace(" ", "")):
                    self.unknown.append(text[:80])

    def _read_statement(self, tokens: Tokens, names: dict[str, Subject]) -> None:
        if not tokens:
            return
        if tokens[0].text in _BLOCK_WORDS:
            raise _UnknownError
        if tokens[0].text in {"const", "let", "var"}:
            self._read_declaration(tokens[1:], names)
        elif tokens[0].text == "tests" and len(tokens) > 5:
            self._read_old_test(_without_brackets(split_at(tokens, "=")[-1]), names)
        elif len(tokens) > 2 and tokens[0].kind == "word" and tokens[1].text == "=":
            names[tokens[0].text] = self._subject(tokens[2:], names)
        else:
            self._read_call(tokens, names)

    def _read_declaration(self, tokens: Tokens, names: dict[str, Subject]) -> None:
        for part in split_at(tokens, ","):
            if part and part[0].text == "{":
                self._read_destructuring(part, names)
                continue
            if len(part) < 3 or part[1].text != "=":
                raise _UnknownError
            names[part[0].text] = self._subject(part[2:], names)

    def _read_destructuring(self, tokens: Tokens, names: dict[str, Subject]) -> None:
        """Read `const { url, id } = pm.response.json()`; what is renamed or nested is not known here."""
        end = find_close(tokens, 0)
        words = split_at(tokens[1:end], ",")
        subject = self._subject(tokens[end + 2 :], names)
        if subject.kind != "body" or any(len(word) != 1 or word[0].kind != "word" for word in words):
            raise _UnknownError
        for word in words:
            names[word[0].text] = _deeper(subject, [("name", word[0].text)])

    def _read_old_test(self, tokens: Tokens, names: dict[str, Subject]) -> None:
        """Read the right side of `tests["…"] = responseCode.code === 200`."""
        for mark, operator in _OPERATORS.items():
            sides = split_at(tokens, mark)
            if len(sides) == 2:
                self._check(self._subject(sides[0], names), operator, self._literal(sides[1], names))
                return
        raise _UnknownError

    def _read_call(self, tokens: Tokens, names: dict[str, Subject]) -> None:
        links = read_chain(tokens)
        if links is None:
            raise _UnknownError
        match links:
            case [("name", "pm"), ("name", "test"), ("call", [_, *body])] if body:
                self.read_block(_inside_function(body[0]), dict(names))
            case [("name", "pm"), ("name", scope), ("name", "set"), ("call", [name, value])] if scope in _SETTERS:
                self._capture(read_literal(name), self._subject(value, names))
            case [("name", "postman"), ("name", setter), ("call", [name, value])] if setter.startswith("set"):
                self._capture(read_literal(name), self._subject(value, names))
            case [("name", "pm"), ("name", "expect"), ("call", [subject]), *rest]:
                self._read_chai(self._subject(subject, names), rest, names)
            case [("name", "pm"), ("name", "response"), ("name", "to"), *rest]:
                self._read_response_chain(rest, names)
            case _:
                raise _UnknownError

    def _capture(self, name: Any, subject: Subject) -> None:
        tails = {"status": ".$status", "header": f".$headers.{subject.parts[0] if subject.parts else ''}"}
        tail = join_path(subject.parts) if subject.kind == "body" else tails.get(subject.kind, "")
        if not isinstance(name, str) or (subject.kind == "body" and not PATH.fullmatch(tail)) or not tail:
            raise _UnknownError
        self.captures.append(Capture(variable=name, tail=tail))

    def _read_response_chain(self, links: list[Link], names: dict[str, Subject]) -> None:
        words = [link[1] for link in links if link[0] == "name"]
        calls = [link[1] for link in links if link[0] == "call"]
        arguments = [self._literal(argument, names) for argument in calls[-1]] if calls else []
        if "not" in words or not words:
            raise _UnknownError
        match words[-1], arguments:
            case "status" | "statusCode", [int() | str() as status]:
                self.validations.append({"httpStatusCode": _status_of(status)})
            case "header", [str() as name, *value]:
                operator = {"equals": _scalar(value[0])} if value else {"exists": True}
                self.validations.append({"header": name.lower(), **operator})
            case "jsonBody", [*path]:
                subject = Subject("body", _split_path(path[0]) if path else ())
                self._check(subject, *(("equals", path[1]) if len(path) > 1 else ("exists", True)))
            case "jsonSchema", [dict() as schema, *_]:
                self.validations.append({"schema": schema})
            case "json", []:
                self.validations.append({"header": "content-type", "contains": "json"})
            case word, [] if word in _STATUS_WORDS:
                self.validations.append({"httpStatusCode": _STATUS_WORDS[word]})
            case _:
                raise _UnknownError

    def _read_chai(self, subject: Subject, links: list[Link], names: dict[str, Subject]) -> None:
        rules, is_negated = len(self.validations), False
        for index, (kind, word) in enumerate(links):
            is_call = index + 1 < len(links) and links[index + 1][0] == "call"
            if kind != "name" or word in _FILLERS:
                continue
            if word == "not":
                is_negated = True
                continue
            arguments = [self._literal(argument, names) for argument in links[index + 1][1]] if is_call else []
            subject = self._take_chai_word(subject, word, arguments, is_call=is_call, is_negated=is_negated)
        if len(self.validations) == rules:
            raise _UnknownError

    def _take_chai_word(
        self, subject: Subject, word: str, arguments: list[Any], *, is_call: bool, is_negated: bool
    ) -> Subject:
        match word, arguments:
            case "property", [str() as name, *value]:
                subject = msgspec.structs.replace(subject, parts=(*subject.parts, *_split_path(name)))
                operator, expected = ("equals", value[0]) if value else ("exists", True)
                self._check(subject, operator, expected, is_negated=is_negated)
            case "keys" | "key", [*keys] if is_call and keys and not is_negated:
                for name in keys[0] if isinstance(keys[0], list) else keys:
                    below = msgspec.structs.replace(subject, parts=(*subject.parts, str(name)))
                    self._check(below, "exists", expected=True)
            case (("all" | "any" | "include" | "includes" | "contain"), []) if not is_call:
                pass  # words of `to.have.all.keys(…)`
            case "length", [] if not is_call:
                return msgspec.structs.replace(subject, parts=(*subject.parts, "length"))
            case "empty", [] if is_negated:
                self._check(msgspec.structs.replace(subject, parts=(*subject.parts, "length")), "greaterThan", 0)
            case state, [] if state in _STATES:
                ((operator, expected),) = _STATES[state].items()
                self._check(subject, operator, expected, is_negated=is_negated)
            case comparison, [expected, *_] if comparison in _COMPARISONS:
                self._check(subject, _COMPARISONS[comparison], expected, is_negated=is_negated)
            case _:
                raise _UnknownError
        return subject

    def _check(self, subject: Subject, operator: str, expected: Any, *, is_negated: bool = False) -> None:
        """Add the rule that says the same, if there is one."""
        operator, expected = _operation(operator, expected, is_negated=is_negated)
        match subject.kind:
            case "status" if operator == "equals" and isinstance(expected, int):
                self.validations.append({"httpStatusCode": expected})
            case "body":
                self.validations.append({"jsonpath": join_path(subject.parts), operator: expected})
            case "header":
                self.validations.append({"header": str(subject.parts[0]), operator: expected})
            case "time" if operator.startswith(("less", "greater")):
                self.validations.append({"responseTimeMs": True, operator: expected})
            case _:
                raise _UnknownError

    def _literal(self, tokens: Tokens, names: dict[str, Subject]) -> Any:
        if len(tokens) == 1 and tokens[0].kind == "regex":
            return tokens[0].text
        if [token.text for token in tokens[:3]] == ["new", "RegExp", "("]:
            return read_literal(tokens[3 : find_close(tokens, 2)])
        if len(tokens) == 1 and tokens[0].text in names and names[tokens[0].text].kind == "literal":
            return names[tokens[0].text].value
        return read_literal(tokens)

    def _subject(self, tokens: Tokens, names: dict[str, Subject]) -> Subject:
        """Say what an expression is of the answer."""
        try:
            return Subject("literal", value=read_literal(tokens))
        except NoLiteralError:
            links = read_chain(tokens) or []
        match links:
            case [("name", "JSON"), ("name", "parse"), ("call", [text]), *rest]:
                if "".join(token.text for token in text) not in {"responseBody", "pm.response.text()"}:
                    raise _UnknownError
                return _deeper(Subject("body"), rest)
            case [("name", wrapper), ("call", [inside, *_])] if wrapper in _WRAPPERS:
                return self._subject(inside, names)
            case [("name", name), *rest] if name in names and names[name].kind == "body":
                return _deeper(names[name], rest)
            case [("name", name)] if name in names:
                return names[name]
        return _subject_of_answer(links)


def _subject_of_answer(links: list[Link]) -> Subject:
    match links:
        case [("name", "pm"), ("name", "response"), ("name", "json"), ("call", []), *rest]:
            return _deeper(Subject("body"), rest)
        case [("name", "pm"), ("name", "response"), ("name", "code")] | [("name", "responseCode"), ("name", "code")]:
            return Subject("status")
        case [("name", "pm"), ("name", "response"), ("name", "responseTime")] | [("name", "responseTime")]:
            return Subject("time")
        case [("name", "pm"), ("name", "response"), ("name", "headers"), ("name", "get"), ("call", [name])] | [
            ("name", "postman"),
            ("name", "getResponseHeader"),
            ("call", [name]),
        ]:
            return Subject("header", (str(read_literal(name)).lower(),))
    raise _UnknownError


def _operation(operator: str, expected: Any, *, is_negated: bool) -> tuple[str, Any]:
    """Give the operator of a flow and what it compares with."""
    if expected is None and operator in {"equals", "notEquals"}:
        operator, expected = "exists", operator == "notEquals"
    if is_negated and operator == "exists":
        return operator, not expected
    if is_negated and operator not in _OPPOSITES:
        raise _UnknownError
    if operator == "matches" and not is_plain_pattern(expected):
        raise _UnknownError
    return _OPPOSITES[operator] if is_negated else operator, expected if operator == "in" else _scalar(expected)


def _deeper(subject: Subject, links: list[Link]) -> Subject:
    parts: list[str | int] = list(subject.parts)
    for kind, value in links:
        part = read_literal(value) if kind == "index" else value
        is_part = (isinstance(part, int) and part >= 0) or (isinstance(part, str) and part and "." not in part)
        if kind == "call" or not is_part:
            raise _UnknownError
        parts.append(part)
    return Subject("body", tuple(parts))


def _inside_function(tokens: Tokens) -> Tokens:
    """Give the body of `function () {…}`, `() => {…}` or `() => …`."""
    texts = [token.text for token in tokens]
    mark = ")" if "function" in texts[:2] else "=>"
    start = texts.index(mark) + 1 if mark in texts else len(texts)
    if start >= len(tokens):
        raise _UnknownError
    if tokens[start].text == "{" and tokens[start].kind == "mark":
        return tokens[start + 1 : find_close(tokens, start)]
    return tokens[start:]


def _without_brackets(tokens: Tokens) -> Tokens:
    if tokens and tokens[0].text == "(" and find_close(tokens, 0) == len(tokens) - 1:
        return tokens[1:-1]
    return tokens


def _split_path(path: Any) -> tuple[str | int, ...]:
    """Read `a.b[0]` as chai and Postman do."""
    if not isinstance(path, str):
        raise _UnknownError
    return tuple(int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d{1,9})\]", path))


def _status_of(status: int | str) -> int:
    if isinstance(status, int):
        return status
    for known in HTTPStatus:
        if known.phrase.lower() == status.lower():
            return known.value
    raise _UnknownError


def _scalar(value: Any) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    raise _UnknownError
