"""From the text of one expression to a function that evaluates it.

Jinja reads the text and gives a syntax tree; its templates, filters and generated code are not used. Each kind of node
that is known here becomes a closure over our own operations; every other kind is refused. So what an expression can do
is what these modules do, and an attribute of Python is not among it.

*Owns* nothing. *Never* evaluates anything while compiling.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Never, TypeAlias

from jinja2 import Environment, TemplateError, nodes
from jinja2.parser import Parser

from execd.core.expressions.operators import ARITHMETIC, COMPARISONS, concatenate, negate, take_slice
from execd.core.expressions.paths import Reference, describe_path, reads_secret, static_path, walk
from execd.core.expressions.selection import FILTERS, FUNCTIONS, NAMED_ARGUMENT, SEES_MISSING, TESTS
from execd.core.expressions.values import INT_BITS, EvaluationError, Limits, Work, lookup, strict

Evaluate: TypeAlias = Callable[[Work], object]
_MAYBE_MISSING = (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.CondExpr, nodes.And, nodes.Or)
_SURROGATE = re.compile("[\ud800-\udfff]")
_environment = Environment(autoescape=False)  # noqa: S701 - it only reads syntax, and gives JSON, not HTML


class ExpressionSyntaxError(Exception):
    """An expression cannot be compiled: what was found, and what would be accepted."""

    def __init__(self, message: str, accepted: str) -> None:
        super().__init__(message)
        self.message = message
        self.accepted = accepted


def compile_expression(text: str, *, field: str, limits: Limits) -> tuple[Evaluate, list[Reference]]:
    """Compile what stands between the braces.

    Returns:
        A function that gives the value (or `Missing`), and what it reads.

    Raises:
        ExpressionSyntaxError: Jinja cannot read it, or it uses what does not exist here.
    """
    tree = _parse(text)
    _check_depth(tree, limits.depth)
    compiler = _Compiler(field, hides_keys=reads_secret(tree))
    return compiler.loose(tree), compiler.references


def _parse(text: str) -> nodes.Expr:
    try:
        body = Parser(_environment, "{{ " + text + " }}").parse().body
    except TemplateError as error:
        raise ExpressionSyntaxError(_shorten(error.message or "cannot be read"), "a Jinja expression") from None
    except (ValueError, RecursionError):
        raise ExpressionSyntaxError(
            "is nested too deep, or has a number that is too long", "a Jinja expression"
        ) from None
    output = body[0] if len(body) == 1 else None
    if (
        not isinstance(output, nodes.Output) or len(output.nodes) != 1
    ):  # pragma: no cover - callers cut at the same braces
        raise ExpressionSyntaxError("is not one expression", "a Jinja expression")
    return output.nodes[0]


def _check_depth(tree: nodes.Expr, allowed: int) -> None:
    """Refuse a tree so deep that walking it could exhaust the stack; this walk itself does not recurse."""
    level: list[nodes.Node] = [tree]
    for _ in range(allowed):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    _refuse(f"has operations nested more than {allowed} deep", "a shallower expression")


def _shorten(message: str) -> str:
    message = message.replace("'end of print statement'", "the end").replace("end of print statement", "the end")
    message = re.sub(r" at \d+$", "", message)  # a place in our own copy of the text
    return message[:200].encode(errors="replace").decode()


def _refuse(message: str, accepted: str) -> Never:
    raise ExpressionSyntaxError(message[:200], accepted)


class _Compiler:
    """Compiles one expression, and notes what it reads."""

    def __init__(self, field: str, *, hides_keys: bool) -> None:
        self._field = field
        self._hides_keys = hides_keys
        self.references: list[Reference] = []

    def strict(self, node: nodes.Node) -> Evaluate:
        """Compile what must have a value."""
        evaluate = self.loose(node)
        if not isinstance(node, _MAYBE_MISSING):
            return evaluate
        return lambda work: strict(evaluate(work))

    def loose(self, node: nodes.Node) -> Evaluate:
        """Compile what may be missing, for `default` and `defined`."""
        if isinstance(node, nodes.BinExpr) and type(node).__name__ in ARITHMETIC:
            return self._arithmetic(node)
        compile_node = _COMPILERS.get(type(node))
        if compile_node is None:
            _refuse(f"uses {type(node).__name__}, which does not exist here", "a Jinja expression")
        return compile_node(self, node)

    def all(self, parts: Sequence[nodes.Node]) -> list[Evaluate]:
        return [self.strict(part) for part in parts]

    def _arithmetic(self, node: nodes.BinExpr) -> Evaluate:
        apply = ARITHMETIC[type(node).__name__]
        left, right = self.strict(node.left), self.strict(node.right)
        return lambda work: apply(work, left(work), right(work))

    def constant(self, node: nodes.Const) -> Evaluate:
        value = node.value
        if isinstance(value, int) and value.bit_length() > INT_BITS:
            _refuse(f"has a whole number of more than {INT_BITS} bits", "a smaller number")
        if isinstance(value, str) and _SURROGATE.search(value):
            _refuse("has a text with a lone surrogate", "whole characters: `\\U0001f600`, not two halves")
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            _refuse("has a number too large for JSON", "a smaller number")
        return lambda _work: value

    def path(self, node: nodes.Name | nodes.Getattr | nodes.Getitem) -> Evaluate:
        static = static_path(node)
        if static is not None:
            root, keys = static
            self.references.append(Reference(root=root, path=keys, field=self._field))
            return walk(root, keys)
        assert not isinstance(node, nodes.Name)
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            return self._slice(node.node, node.arg)
        where = describe_path(node.node)
        base = self.loose(node.node)
        hides_keys = self._hides_keys
        if isinstance(node, nodes.Getattr):
            name = node.attr
            return lambda work: lookup(base(work), name, where, hides_keys=hides_keys)
        key = self.strict(node.arg)
        hides_key = not isinstance(node.arg, nodes.Const)
        return lambda work: lookup(base(work), key(work), where, hides_keys=hides_keys, hides_key=hides_key)

    def _slice(self, node: nodes.Node, bounds: nodes.Slice) -> Evaluate:
        base = self.strict(node)
        ends = [None if end is None else self.strict(end) for end in (bounds.start, bounds.stop, bounds.step)]

        def evaluate(work: Work) -> object:
            start, stop, step = (None if end is None else end(work) for end in ends)
            return take_slice(work, base(work), (start, stop, step))

        return evaluate

    def list(self, node: nodes.List | nodes.Tuple) -> Evaluate:
        items = self.all(node.items)
        return lambda work: [item(work) for item in items]

    def table(self, node: nodes.Dict) -> Evaluate:
        pairs = [(self.strict(pair.key), self.strict(pair.value)) for pair in node.items]

        def evaluate(work: Work) -> object:
            table: dict[str, object] = {}
            for key, item in pairs:
                name = key(work)
                if not isinstance(name, str):
                    raise EvaluationError("makes an object with a key that is no text")
                table[name] = item(work)
            return table

        return evaluate

    def concat(self, node: nodes.Concat) -> Evaluate:
        parts = self.all(node.nodes)
        return lambda work: concatenate(work, [part(work) for part in parts])

    def compare(self, node: nodes.Compare) -> Evaluate:
        first = self.strict(node.expr)
        steps = [(COMPARISONS[operand.op], self.strict(operand.expr)) for operand in node.ops]

        def evaluate(work: Work) -> object:
            left = first(work)
            for holds, side in steps:
                right = side(work)
                if not holds(work, left, right):
                    return False
                left = right
            return True

        return evaluate

    def both(self, node: nodes.And) -> Evaluate:
        left, right = self.strict(node.left), self.loose(node.right)
        return lambda work: left(work) and right(work)

    def either(self, node: nodes.Or) -> Evaluate:
        left, right = self.strict(node.left), self.loose(node.right)
        return lambda work: left(work) or right(work)

    def invert(self, node: nodes.Not) -> Evaluate:
        inner = self.strict(node.node)
        return lambda work: not inner(work)

    def negative(self, node: nodes.Neg) -> Evaluate:
        inner = self.strict(node.node)
        return lambda work: negate(work, inner(work))

    def positive(self, node: nodes.Pos) -> Evaluate:
        inner = self.strict(node.node)
        return lambda work: negate(work, negate(work, inner(work)))

    def choice(self, node: nodes.CondExpr) -> Evaluate:
        if node.expr2 is None:
            _refuse("has an `if` without its `else`", "`a if b else c`")
        test = self.strict(node.test)
        yes, no = self.loose(node.expr1), self.loose(node.expr2)
        return lambda work: yes(work) if test(work) else no(work)

    def filter(self, node: nodes.Filter) -> Evaluate:
        apply = _named(FILTERS, node.name, "filter")
        if node.name in NAMED_ARGUMENT:
            _check_named_argument(node.name, node.args)
        assert node.node is not None
        return self._application(apply, node, node.node)

    def test(self, node: nodes.Test) -> Evaluate:
        return self._application(_named(TESTS, node.name, "test"), node, node.node)

    def _application(
        self, apply: Callable[..., object], node: nodes.Filter | nodes.Test, subject: nodes.Node
    ) -> Evaluate:
        name = node.name
        compile_one = self.loose if name in SEES_MISSING else self.strict
        _check_arguments(apply, name, 2, node)
        value = compile_one(subject)
        args = [compile_one(arg) for arg in node.args]
        kwargs = [(pair.key, compile_one(pair.value)) for pair in _keywords(node)]

        def evaluate(work: Work) -> object:
            operand = value(work)
            given = [arg(work) for arg in args]
            named = {key: argument(work) for key, argument in kwargs}
            try:
                return apply(work, operand, *given, **named)
            except EvaluationError as error:
                raise EvaluationError(f"{name} {error.message}") from None

        return evaluate

    def call(self, node: nodes.Call) -> Evaluate:
        name = node.node.name if isinstance(node.node, nodes.Name) else ""
        if name not in FUNCTIONS:
            _refuse(
                "calls what is no function; values have no methods",
                f"the functions {', '.join(FUNCTIONS)}, or a filter",
            )
        function = FUNCTIONS[name]
        _check_arguments(function, name, 1, node)
        args = self.all(node.args)
        return lambda work: function(work, *[arg(work) for arg in args])


_COMPILERS: Mapping[type[nodes.Node], Callable[..., Evaluate]] = {
    nodes.And: _Compiler.both,
    nodes.Call: _Compiler.call,
    nodes.Compare: _Compiler.compare,
    nodes.Concat: _Compiler.concat,
    nodes.CondExpr: _Compiler.choice,
    nodes.Const: _Compiler.constant,
    nodes.Dict: _Compiler.table,
    nodes.Filter: _Compiler.filter,
    nodes.Getattr: _Compiler.path,
    nodes.Getitem: _Compiler.path,
    nodes.List: _Compiler.list,
    nodes.Name: _Compiler.path,
    nodes.Neg: _Compiler.negative,
    nodes.Not: _Compiler.invert,
    nodes.Or: _Compiler.either,
    nodes.Pos: _Compiler.positive,
    nodes.Test: _Compiler.test,
    nodes.Tuple: _Compiler.list,
}
"""Every kind of node that exists here, besides the arithmetic ones."""


def _named(table: Mapping[str, Callable[..., object]], name: str, kind: str) -> Callable[..., object]:
    if name not in table:
        _refuse(f"uses the {kind} '{name[:40]}', which does not exist here", ", ".join(sorted(table)))
    return table[name]


def _keywords(node: nodes.Filter | nodes.Test | nodes.Call) -> list[nodes.Keyword]:
    return [pair for pair in node.kwargs if isinstance(pair, nodes.Keyword)]


@cache
def _signature(function: Callable[..., object]) -> inspect.Signature:
    return inspect.signature(function)


def _check_arguments(
    function: Callable[..., object], name: str, own: int, node: nodes.Filter | nodes.Test | nodes.Call
) -> None:
    """Refuse arguments the function does not take; the first `own` are given by us."""
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        _refuse(f"unpacks arguments of {name}", "arguments one by one")
    keywords = [pair.key for pair in _keywords(node)]
    _bind(function, name, own + len(node.args), keywords)


def _bind(function: Callable[..., object], name: str, count: int, keywords: list[str]) -> None:
    try:
        _signature(function).bind(*[None] * count, **dict.fromkeys(keywords))
    except TypeError as error:
        _refuse(f"gives {name} wrong arguments: {error}", f"the arguments of {name}")


def _check_named_argument(name: str, args: Sequence[nodes.Node]) -> None:
    """Check `map('upper')` and its like as if the filter or test stood there itself."""
    while name in NAMED_ARGUMENT:
        place, table = NAMED_ARGUMENT[name]
        if len(args) <= place:
            return
        given = args[place]
        if not isinstance(given, nodes.Const) or not isinstance(given.value, str):
            _refuse(f"gives {name} a computed name of a filter or test", "its name as a literal text")
        found = _named(table, given.value, "filter" if table is FILTERS else "test")
        name, args = given.value, args[place + 1 :]
        _bind(found, name, 2 + len(args), [])
