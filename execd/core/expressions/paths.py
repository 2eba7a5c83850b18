"""The paths of expressions, `nodes.fetch.output.id`: what can be seen of them before anything runs, and the fast way along them.

*Never* tells a key below a secret, nor a key that was computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec
from jinja2 import nodes

from execd.core.expressions.values import Missing, Work, lookup

Key: TypeAlias = str | int

SECRETS = "secrets"
"""The root whose values are never told in a message, nor the keys within them."""


class Reference(msgspec.Struct, frozen=True, order=True):
    """What an expression reads, as far as it can be seen without evaluating it."""

    root: str
    """The first name: `nodes`, `input`, `vars`, `env`, `secrets`, or what a node adds."""
    path: tuple[Key, ...]
    """The constant keys after it; a computed key ends it, so an empty path reads the whole root or anything in it."""
    field: str
    """The JSON path of the string that holds the expression."""

    def __str__(self) -> str:
        return _spell(self.root, self.path)


def static_path(node: nodes.Node) -> tuple[str, tuple[Key, ...]] | None:
    """Give the root and the keys of `a.b['c'][0]`; None where a key is computed or the base is no name."""
    keys: list[Key] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            keys.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and type(node.arg.value) in (str, int):
            keys.append(node.arg.value)
        else:
            return None
        node = node.node
    return (node.name, tuple(reversed(keys))) if isinstance(node, nodes.Name) else None


def walk(root: str, keys: tuple[Key, ...]) -> Callable[[Work], object]:
    """Look a constant path up: the commonest expression, so it is one loop."""
    path = (root, *keys)

    def evaluate(work: Work) -> object:
        value: object = work.scope
        for key in path:
            if type(value) is dict and key in value:
                value = value[key]
            else:
                return _walk_carefully(work.scope, root, keys)
        return value

    return evaluate


def _walk_carefully(scope: Mapping[str, object], root: str, keys: tuple[Key, ...]) -> object:
    if root not in scope:
        return Missing(f"there is no '{root[:40]}'; there is: {', '.join(sorted(scope))}")
    value = scope[root]
    for place, key in enumerate(keys):
        hides_keys = root == SECRETS and place > 0
        value = lookup(value, key, _spell(root, keys[:place]), hides_keys=hides_keys)
        if type(value) is Missing:
            break
    return value


def _spell(root: str, keys: Sequence[Key]) -> str:
    parts = [f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]" for key in keys]
    return root + "".join(parts)


def describe_path(node: nodes.Node) -> str:
    """Name a base for a message, without anything that was computed."""
    if isinstance(node, nodes.Getattr):
        return f"{describe_path(node.node)}.{node.attr}"
    if isinstance(node, nodes.Getitem):
        key = repr(node.arg.value) if isinstance(node.arg, nodes.Const) else "…"
        return f"{describe_path(node.node)}[{key}]"
    return node.name if isinstance(node, nodes.Name) else "the value before it"


def reads_secret(tree: nodes.Expr) -> bool:
    """Whether a secret takes part anywhere in an expression: then no key is told of what was computed in it."""
    names = [tree] if isinstance(tree, nodes.Name) else tree.find_all(nodes.Name)
    return any(name.name == SECRETS for name in names)
