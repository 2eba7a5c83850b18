"""What a config says of each step once its defaults are put in, and what it says of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from execd.core.flows.hiding import looks_secret
from execd.core.flows.js_values import is_truthy, js_text

_MERGED = ("timeout", "headers", "validations", "auth")
"""What a node without them gets from the defaults, after its own keys."""


def table_of(value: Any) -> Mapping[str, Any]:
    """Give an object; of anything else an empty one, because what runs need not have been validated."""
    if type(value) is dict:  # what JSON gives; asking for a mapping takes five times as long, and this is asked often
        return value
    return value if isinstance(value, Mapping) else {}


def rows_of(value: Any) -> Sequence[Any]:
    """Give a list; of anything else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def variables_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the variables, those of the chosen environment among them as far as the config has no own of that name."""
    return table_of(config.get("variables"))


def environment_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the names and values of the chosen environment, with those of `_common` below them."""
    environments = table_of(config.get("environments"))
    chosen = config.get("environment")
    own = table_of(environments.get(chosen)) if isinstance(chosen, str) else {}
    return {**table_of(environments.get("_common")), **own}


def merge_node(node: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Put the defaults into a node: its own keys in their order, then those it lacked."""
    defaults = table_of(config.get("defaults"))
    if config.get("honorLegacyKeys") is True and node.get("skipDefaultHeaders") is True:
        defaults = {key: value for key, value in defaults.items() if key != "headers"}
    merged = dict(node)
    url = node.get("url")
    if isinstance(url, str) and url.startswith("/") and defaults.get("baseUrl"):
        merged["url"] = js_text(defaults["baseUrl"]) + url
    found = (
        node.get("timeout") or defaults.get("timeout"),
        _merge_headers(node, defaults),
        merge_validations(node, defaults),
        node["auth"] if "auth" in node else config.get("auth", defaults.get("auth")),
    )
    for name, value in zip(_MERGED, found, strict=True):
        if value is not None:
            merged[name] = value
    return merged


def _merge_headers(node: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any] | None:
    """None where neither has any: what is added to a request then stays out of what is shown of it."""
    own, default = node.get("headers"), defaults.get("headers")
    if own is None and default is None:
        return None
    if not isinstance(own, Mapping) and not isinstance(default, Mapping):
        return None
    return {**table_of(default), **table_of(own)}


def merge_validations(node: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Any] | None:
    """Put the rules of the defaults before those of the node, unless it says no; None where there are none at all."""
    own = list(rows_of(node.get("validations")))
    if node.get("skipDefaultValidations") is not True:
        own = [*rows_of(defaults.get("validations")), *own]
    return own or None


def prompts_of(node: Mapping[str, Any]) -> dict[str, str]:
    """Give what a step asks people before it begins, by key."""
    return {key: js_text(text) for key, text in table_of(node.get("userPrompts")).items()}


def secret_prompts_of(node: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the answers of a step that nobody may see: those it names, and where `maskSecrets` asks for it those whose key looks
    like one."""
    named = rows_of(node.get("secretPrompts"))
    by_name = config.get("maskSecrets") is True
    return tuple(key for key in prompts_of(node) if key in named or (by_name and looks_secret(key)))


def title_of(node: Mapping[str, Any]) -> str:
    """Name a step for people: `name`, or what it requests."""
    name = node.get("name")
    return js_text(name) if is_truthy(name) else f"{js_text(node.get('method'))} {js_text(node.get('url'))}"


def with_condition(node: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give a node with the `condition` that the original ignores among its conditions; `response: <index>` names a node."""
    honored = dict(node)
    condition = node.get("condition")
    if isinstance(condition, Mapping):
        condition = dict(condition)
        place = condition.pop("response", None)
        if isinstance(place, int) and 0 <= place < len(listed):
            condition["node"] = listed[place].get("id")
        honored["conditions"] = [*rows_of(node.get("conditions")), condition]
    return honored
