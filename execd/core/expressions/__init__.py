"""Expressions in the fields of a workflow: `{{ nodes.fetch.output.id }}`.

A field holds any JSON value; each string in it may hold expressions of Jinja's expression language. A string that is
exactly one expression gives the value itself, number or object; in other strings numbers and texts are inserted as text,
and everything else as compact JSON. What data brought in is never read as an expression again. Keys of objects are left
as they are.

Literal braces are written `{{ '{{' }}`, or a whole piece of text `{% raw %} … {% endraw %}`. Other statements, comments
and whitespace control do not exist.

A value is compiled once, with all its faults at once, and rendered any number of times. Rendering is pure, and its work
and its result are bounded by `Limits`.
"""

from __future__ import annotations

from execd.core.expressions.paths import SECRETS, Reference
from execd.core.expressions.rendering import (
    DEFAULT_LIMITS,
    Compiled,
    ExpressionError,
    compile_value,
    references,
    render,
)
from execd.core.expressions.values import Limits, Work

__all__ = [
    "DEFAULT_LIMITS",
    "SECRETS",
    "Compiled",
    "ExpressionError",
    "Limits",
    "Reference",
    "Work",
    "compile_value",
    "references",
    "render",
]
