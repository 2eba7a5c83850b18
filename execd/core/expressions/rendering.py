"""From a field that holds expressions to its value: the texts in it, the braces in them, and what stands between.

*Owns* nothing. *Never* reads an expression out of what data brought in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from execd.core.errors import ExecdError
from execd.core.expressions.compiler import Evaluate, ExpressionSyntaxError, compile_expression
from execd.core.expressions.paths import Reference
from execd.core.expressions.values import EvaluationError, Limits, Work, strict, to_text, weigh
from execd.core.fields import Faults

T = TypeVar("T")

DEFAULT_LIMITS = Limits()
SHOWN_CHARS = 120
"""Of an expression, in a message."""
MAX_BRACKETS = 25
"""Open at once in one expression: Jinja's parser takes 13 frames of the stack for each."""
EXPRESSION_OVERHEAD_CHARS = 12
"""What the shortest expression costs to read, in characters of a long one."""
MESSAGE_CHARS = 1000

_OPENING = re.compile(r"\{\{|\{%|\{#")
_RAW = re.compile(r"\{%\s*raw\s*%\}(.*?)\{%\s*endraw\s*%\}", re.DOTALL)
_IN_EXPRESSION = re.compile(r"""'[^'\\]*+(?:\\.[^'\\]*+)*+'|"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][(){}'"]""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = frozenset("\\'\"abfnrtvxuU0\n")
_QUOTES = ("'", '"')
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_BRACES = "`{{ expression }}`; literal braces are `{{ '{{' }}`, or text between `{% raw %}` and `{% endraw %}`"

_Render: TypeAlias = Callable[[Work], object]


class ExpressionError(ExecdError):
    """A field could not be rendered with the data of this run: mend the expression, or what it reads."""

    code = "expression"
    status = 422

    def __init__(self, path: str, expression: str, reason: str) -> None:
        shown = f"{{{{ {_shorten(expression.strip())} }}}}"
        super().__init__(f"{path}: {shown}: {reason}"[:MESSAGE_CHARS])
        self.path = path
        self.expression = expression
        self.reason = reason


class Compiled:
    """A field whose expressions have been read. Immutable; rendered by `render`."""

    __slots__ = ("constant", "is_constant", "limits", "references", "render")

    def __init__(
        self, *, constant: object, render: _Render | None, references: frozenset[Reference], limits: Limits
    ) -> None:
        self.constant = constant
        self.render = render
        self.is_constant = render is None
        self.references = references
        self.limits = limits


def compile_value(value: object, *, path: str, faults: Faults, limits: Limits = DEFAULT_LIMITS) -> Compiled:
    """Read every expression in a JSON value, noting each fault with the path of its string.

    Args:
        path: where the value stands in the request, as in a `FieldFault`.
        faults: where faults are noted; with any, the result must not be rendered.
    """
    reader = _Reader(faults, limits)
    compiled = reader.value(value, path, 0)
    return Compiled(constant=value, render=compiled, references=frozenset(reader.references), limits=limits)


def render(compiled: Compiled, scope: Mapping[str, object]) -> object:
    """Give the value of a field in a scope.

    Returns:
        A JSON value that may share parts with the scope and with the field: do not change it.

    Raises:
        ExpressionError: an expression reads what is not there, fits no operand, or costs more than the limits.
    """
    if compiled.render is None:
        return compiled.constant
    return compiled.render(Work(scope, compiled.limits))


def references(compiled: Compiled) -> frozenset[Reference]:
    """Give what the expressions read, so that what cannot exist is refused before anything runs."""
    return compiled.references


class _Reader:
    """Compiles one value; collects faults and references on the way."""

    def __init__(self, faults: Faults, limits: Limits) -> None:
        self._faults = faults
        self._limits = limits
        self._chars_left = limits.total_expression_chars
        self.references: list[Reference] = []

    def value(self, value: object, path: str, depth: int) -> _Render | None:
        """Compile a value; None for one without expressions."""
        if isinstance(value, str):
            return self._text(value, path)
        if not isinstance(value, list | Mapping):
            return None
        if depth >= self._limits.depth:
            self._faults.add(path, "is nested too deep", f"at most {self._limits.depth} levels")
            return None
        if isinstance(value, list):
            return _make_list(value, [self.value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)])
        prefix = f"{path}." if path else ""
        return _make_table(
            value, {key: self.value(value[key], f"{prefix}{_shorten(str(key))}", depth + 1) for key in value}
        )

    def _text(self, text: str, path: str) -> _Render | None:
        if "{" not in text or _OPENING.search(text) is None:
            return None
        parts: list[str | _Expression] = []
        place = 0
        while opening := _OPENING.search(text, place):
            parts.append(text[place : opening.start()])
            raw = _RAW.match(text, opening.start())
            if raw is not None:
                parts.append(raw[1])
                place = raw.end()
                continue
            end = self._expression_end(text, opening, path)
            if end is None:
                return None
            parts.append(self._expression(text[opening.end() : end], path, opening.start()))
            place = end + 2
        parts.append(text[place:])
        return _join([part for part in parts if part != ""])

    def _expression_end(self, text: str, opening: re.Match[str], path: str) -> int | None:
        """Find the braces that close an expression; None after noting why there are none."""
        start = opening.start()
        if opening[0] != "{{":
            kind = "statement" if opening[0] == "{%" else "comment"
            self._fault(path, start, f"`{opening[0]}` begins a {kind}, and only expressions exist here")
            return None
        limit = opening.end() + self._limits.expression_chars
        expected: list[str] = []
        for token in _IN_EXPRESSION.finditer(text, opening.end(), min(len(text), limit + 2)):
            if token[0] == "}" and not expected and text.startswith("}}", token.start()):
                return token.start()
            if token[0] in _QUOTES and len(text) > limit:
                break  # the text in quotes may be closed beyond the limit
            found = _take_token(token[0], expected)
            if found is not None:
                self._fault(path, token.start(), found)
                return None
        if len(text) > limit:
            found = f"`{{{{` begins an expression of more than {self._limits.expression_chars} characters"
        else:
            found = "`{{` is never closed"
        self._fault(path, start, found)
        return None

    def _expression(self, source: str, path: str, start: int) -> _Expression:
        """Compile what stands between braces; note a fault and give a stand-in where that fails."""
        self._chars_left -= len(source) + EXPRESSION_OVERHEAD_CHARS
        try:
            if self._chars_left < 0:
                total = self._limits.total_expression_chars
                raise ExpressionSyntaxError(
                    f"is beyond {total} characters of expressions in one value", "fewer or shorter"
                )
            _check_ends(source)
            evaluate, found = compile_expression(source, field=path, limits=self._limits)
        except ExpressionSyntaxError as error:
            self._fault(path, start, f"`{{{{{_shorten(source)}}}}}` {error.message}", accepted=error.accepted)
            return _Expression(path, source, strict)
        self.references.extend(found)
        return _Expression(path, source, evaluate)

    def _fault(self, path: str, place: int, message: str, *, accepted: str = _BRACES) -> None:
        self._faults.add(path, f"at character {place + 1}: {message}", accepted)


def _take_token(mark: str, expected: list[str]) -> str | None:
    """Follow one bracket or text of an expression; say what is wrong with it, if anything."""
    if mark in _CLOSED_BY:
        expected.append(_CLOSED_BY[mark])
        return None if len(expected) <= MAX_BRACKETS else f"more than {MAX_BRACKETS} brackets are open"
    if mark in ")]}":
        return None if expected and expected.pop() == mark else f"`{mark}` closes nothing"
    if mark in _QUOTES:
        return "a text in quotes is never closed"
    unknown = next((found[0] for found in _ESCAPE.finditer(mark[1:-1]) if found[1] not in _ESCAPES), None)
    return None if unknown is None else f"`{_shorten(unknown)}` is no escape; a backslash is written `\\\\`"


def _check_ends(source: str) -> None:
    """Refuse `{{-` and `-}}`: in a template they strip spaces, here they would silently change a sign."""
    if source[:1] in ("-", "+") or source[-1:] in ("-", "+"):
        raise ExpressionSyntaxError("has a sign at its braces", "a space between the braces and a sign")


def _shorten(text: str) -> str:
    shown = text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
    return shown.encode(errors="replace").decode()


class _Expression:
    """One expression and where it stands. Calling it gives its value."""

    __slots__ = ("_evaluate", "_path", "_source")

    def __init__(self, path: str, source: str, evaluate: Evaluate) -> None:
        self._path = path
        self._source = source
        self._evaluate = evaluate

    def __call__(self, work: Work) -> object:
        return self._finish(work, _as_value)

    def insert(self, work: Work) -> str:
        """Evaluate, and give what is inserted into a text."""
        return self._finish(work, to_text)

    def _finish(self, work: Work, finish: Callable[[Work, object], T]) -> T:
        try:
            value = self._evaluate(work)
            work.spend_result(weigh(work, value))
            return finish(work, value)
        except EvaluationError as error:
            raise ExpressionError(self._path, self._source, error.message) from None
        except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
            # what our own checks let through; its text may hold a value, so only its kind is told
            raise ExpressionError(self._path, self._source, f"cannot be evaluated ({type(error).__name__})") from None


def _as_value(_work: Work, value: object) -> object:
    return dict(value) if isinstance(value, Mapping) and type(value) is not dict else value


def _join(parts: list[str | _Expression]) -> _Render:
    """Make a string of its parts: one expression alone keeps its type."""
    if len(parts) == 1 and isinstance(parts[0], _Expression):
        return parts[0]
    return lambda work: "".join([part if isinstance(part, str) else part.insert(work) for part in parts])


def _make_list(value: list[object], items: list[_Render | None]) -> _Render | None:
    if not any(items):
        return None
    pairs = list(zip(value, items, strict=True))
    return lambda work: [item if make is None else make(work) for item, make in pairs]


def _make_table(value: Mapping[str, object], items: dict[str, _Render | None]) -> _Render | None:
    if not any(items.values()):
        return None
    rows = [(key, value[key], make) for key, make in items.items()]
    return lambda work: {key: item if make is None else make(work) for key, item, make in rows}
