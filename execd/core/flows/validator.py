"""The validator: everything that is wrong with a config, in the words and the order clients of FlowSphere know.

It says more than the original where that answered with an error of its own (a null node, a text for `nodes`), and takes
conditions on the status alone. What it does not notice is listed by `warnings`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from msgspec import UNSET

from execd.core.flows.configs import rows_of, table_of
from execd.core.flows.faults import STRUCTURE, VALUE, ConfigErrors, EnoughError, Place, ids_suggestion, shown
from execd.core.flows.js_values import is_number, is_truthy, js_text, kind_of
from execd.core.flows.placeholders import MAX_PLACEHOLDERS, TOO_MANY
from execd.core.flows.sizes import size_fault
from execd.core.flows.trees import below
from execd.core.flows.validator_own import check_own_keys
from execd.core.flows.validator_rules import check_condition, check_validations

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_SPECIAL = frozenset({"http", "https", "ws", "wss", "ftp"})
_BAD_HOST = re.compile(r"[\s<>^|%\x00-\x1f\x7f]")
_DYNAMIC = frozenset({"$guid", "$timestamp"})
_STARTS = (".responses.", ".vars.", ".input.", ".env.", ".secrets.")
_FORMATS = (
    "Valid formats: {{ .responses.nodeId.field }}, {{ .vars.name }}, {{ .input.name }}, {{ $guid }}, {{ $timestamp }}"
)
_JSON_BODY = 'Use an object like {"key": "value"} or an array [1, 2, 3] for JSON requests'
_MANY_CONDITIONS = 'Use an array for multiple conditions: [{"node": "...", ...}]'


def validate(config: Any, *, takes_json_text: bool = False) -> list[dict[str, Any]]:
    """Give every error of a config, in order; empty if it may run.

    Args:
        takes_json_text: whether a body under a JSON type may be a text, a number or a boolean. FlowSphere runs such steps,
            and refuses to begin.
    """
    errors = ConfigErrors()
    if not isinstance(config, Mapping | list):
        errors.add("root", "Config must be a valid object", STRUCTURE, category=STRUCTURE)
        return errors.found
    nodes = config.get("nodes") if isinstance(config, Mapping) else None
    if not isinstance(nodes, list) or not isinstance(config, Mapping):
        errors.add("nodes", 'Config must have a "nodes" array', STRUCTURE, category=STRUCTURE)
        return errors.found
    if not nodes:
        errors.add("nodes", "Config must have at least one node", STRUCTURE, category=STRUCTURE)
        return errors.found
    if too_large := size_fault(config):
        errors.add(*too_large, STRUCTURE, category=STRUCTURE)
        return errors.found
    with suppress(EnoughError):
        _check_all(config, errors, takes_json_text=takes_json_text)
    return errors.found


def _check_all(config: Mapping[str, Any], errors: ConfigErrors, *, takes_json_text: bool) -> None:
    _check_variables(config, errors)
    _check_defaults(config, errors)
    places = list(_places(config))
    ids = _check_ids(places, errors)
    defaults = table_of(config.get("defaults"))
    for place, node in places:
        _check_request(node, place, errors)
        if not takes_json_text:
            _check_body(node, defaults, place, errors)
        _check_rules(node, place, ids, errors)
    check_own_keys(config, errors)
    if sum(text.count("{{") for _, text in _texts_in(config, "")) > MAX_PLACEHOLDERS:
        errors.add("nodes", TOO_MANY, STRUCTURE, category=STRUCTURE)


def _places(config: Mapping[str, Any]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Give every node, those of `finally` after the others and numbered on."""
    index = 0
    for key in ("nodes", "finally"):
        for offset, value in enumerate(rows_of(config.get(key))):
            node = table_of(value)
            yield Place(f"{key}[{offset}]", index=index, node=node), node
            index += 1


def _check_variables(config: Mapping[str, Any], errors: ConfigErrors) -> None:
    variables = config.get("variables", UNSET)
    if variables is UNSET:
        return
    if not isinstance(variables, Mapping):
        errors.add("variables", 'The "variables" field must be an object', STRUCTURE)
        return
    for name, value in variables.items():
        if not isinstance(value, str | int | float):
            name = shown(name)
            errors.add(
                f"variables.{name}",
                f'Variable "{name}" must be a string, number, or boolean',
                "type",
                suggestion="Variables should be simple values, not objects or arrays",
            )


def _check_defaults(config: Mapping[str, Any], errors: ConfigErrors) -> None:
    defaults = config.get("defaults")
    if not is_truthy(defaults):
        return
    if not isinstance(defaults, Mapping):
        errors.add("defaults", 'The "defaults" field must be an object', STRUCTURE)
        return
    place = Place("defaults")
    base = defaults.get("baseUrl", UNSET)
    if base is not UNSET and not isinstance(base, str):
        errors.add("defaults.baseUrl", "baseUrl must be a string", "type")
    elif isinstance(base, str) and not is_url(base):
        hint = "baseUrl must be a valid URL (e.g., https://api.example.com)"
        errors.add("defaults.baseUrl", f'Invalid baseUrl: "{shown(base)}"', "format", suggestion=hint)
    _check_timeout(defaults, place, errors)
    _check_headers(defaults, place, errors)
    check_validations(defaults, place, errors)


def is_url(text: str) -> bool:
    """Whether `new URL(text)` takes it, as far as that can be said without being a browser."""
    found = _SCHEME.fullmatch(text.strip())
    if found is None:
        return False
    if found[1].lower() not in _SPECIAL:
        return True
    try:
        parts = urlsplit(f"http://{found[2].lstrip('/' + chr(92))}")
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.hostname) and _BAD_HOST.search(parts.netloc) is None


def _check_ids(places: list[tuple[Place, Mapping[str, Any]]], errors: ConfigErrors) -> Collection[str]:
    """Check the ids of all nodes, and give those there are: in their order, and quick to look one up in."""
    seen: dict[str, None] = {}
    for place, node in places:
        identifier = node.get("id", UNSET)
        field = f"{place.path}.id"
        if not is_truthy(identifier):
            number = place.keys["nodeIndex"]
            name = node["name"] if is_truthy(node.get("name")) else f"Node {number}"
            keys = {"nodeIndex": number, "nodeName": name}
            errors.add(place.path, 'Each node must have an "id" field', STRUCTURE, category=STRUCTURE, keys=keys)
        elif not isinstance(identifier, str):
            errors.add(field, 'Node "id" must be a string', STRUCTURE, category=STRUCTURE, keys=place.keys)
        elif identifier in seen:
            text = f'Duplicate node ID: "{shown(identifier)}"'
            hint = "Each node must have a unique ID"
            errors.add(field, text, "duplicate", category=VALUE, keys=place.keys, suggestion=hint)
        else:
            seen[identifier] = None
    return seen.keys()


def _check_request(node: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    _check_request_line(node, place, errors)
    _check_timeout(node, place, errors)
    _check_headers(node, place, errors)


def _check_rules(node: Mapping[str, Any], place: Place, ids: Collection[str], errors: ConfigErrors) -> None:
    _check_prompts(node, place, errors)
    _check_conditions(node, place, ids, errors)
    check_validations(node, place, errors)
    _check_browser(node, place, errors)
    texts = [(path, text) for path, text in _texts_in(node, "") if "{{" in text or "}}" in text]
    for path, text in texts:
        _check_braces(path, text, place, errors)
    for _, text in texts:
        _check_placeholders(text, place, ids, errors)


def _check_request_line(node: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    method = node.get("method", UNSET)
    if not is_truthy(method):
        text = 'Node must have a "method" field'
        errors.add(f"{place.path}.method", text, STRUCTURE, category=STRUCTURE, keys=place.keys)
    elif not isinstance(method, str) or method.upper() not in METHODS:
        text = f'Invalid HTTP method: "{shown(js_text(method))}"'
        hint = f"Valid methods: {', '.join(METHODS)}"
        errors.add(f"{place.path}.method", text, "value", category=STRUCTURE, keys=place.keys, suggestion=hint)
    if not is_truthy(node.get("url", UNSET)):
        text = 'Node must have a "url" field'
        errors.add(f"{place.path}.url", text, STRUCTURE, category=STRUCTURE, keys=place.keys)


def _check_timeout(table: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    timeout = table.get("timeout", UNSET)
    if timeout is not UNSET and not (is_number(timeout) and timeout > 0):
        text = "timeout must be a positive number (seconds)"
        errors.add(f"{place.path}.timeout", text, "type", keys=place.keys)


def _check_headers(table: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    headers = table.get("headers")
    if headers is not None and not isinstance(headers, Mapping):
        errors.add(f"{place.path}.headers", "headers must be an object", "type", keys=place.keys)


def _check_body(node: Mapping[str, Any], defaults: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    body = node.get("body", UNSET)
    if body is UNSET or isinstance(body, Mapping | list):
        return
    headers = {**table_of(defaults.get("headers")), **table_of(node.get("headers"))}
    content_type = next((text for name, text in headers.items() if name.lower() == "content-type"), None)
    if "application/json" not in js_text(content_type).lower():
        return
    text = f'Body must be an object or array when Content-Type is "application/json" (got {kind_of(body)})'
    errors.add(f"{place.path}.body", text, "value", category=VALUE, keys=place.keys, suggestion=_JSON_BODY)


def _check_prompts(node: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    prompts = node.get("userPrompts", UNSET)
    field = f"{place.path}.userPrompts"
    if prompts is UNSET:
        return
    if not isinstance(prompts, Mapping):
        errors.add(field, "userPrompts must be an object", "type", keys=place.keys)
        return
    for key, text in prompts.items():
        if not isinstance(text, str):
            name = shown(key)
            errors.add(f"{field}.{name}", f'Prompt for "{name}" must be a string', "type", keys=place.keys)


def _check_conditions(node: Mapping[str, Any], place: Place, ids: Collection[str], errors: ConfigErrors) -> None:
    conditions = node.get("conditions", UNSET)
    field = f"{place.path}.conditions"
    if isinstance(conditions, list):
        for index, condition in enumerate(conditions):
            check_condition(condition, f"{field}[{index}]", place, ids, errors)
    elif conditions is not UNSET:
        text = "conditions must be an array"
        errors.add(field, text, "type", keys=place.keys, suggestion=_MANY_CONDITIONS)
    if "condition" in node:
        check_condition(node["condition"], f"{place.path}.condition", place, ids, errors)


def _check_browser(node: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    path = node.get("launchBrowser", UNSET)
    field = f"{place.path}.launchBrowser"
    if path is UNSET:
        return
    if not isinstance(path, str):
        errors.add(field, "launchBrowser must be a string (jsonpath)", "type", keys=place.keys)
    elif not path.startswith("."):
        text = 'launchBrowser must be a valid jsonpath (e.g., ".url" or ".data.authUrl")'
        errors.add(field, text, "format", keys=place.keys, suggestion="Jsonpath must start with a dot (.)")


def _texts_in(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping) and depth < 100:
        for key, item in value.items():
            yield from _texts_in(item, below(path, shown(key)), depth + 1)
    elif isinstance(value, list) and depth < 100:
        for index, item in enumerate(value):
            yield from _texts_in(item, below(path, index), depth + 1)


def _check_braces(path: str, text: str, place: Place, errors: ConfigErrors) -> None:
    opened, closed = text.count("{{"), text.count("}}")
    if opened == closed:
        return
    message = f'Malformed placeholder: Found {opened} opening "{{{{" but {closed} closing "}}}}"'
    head = text[:60] + ("..." if len(text) > 60 else "")
    hint = f'Check: "{head}" - all placeholders need both {{{{ and }}}}'
    errors.add(f"{place.path}.{path}", message, "format", category=VALUE, keys=place.keys, suggestion=hint)


def _placeholders_in(text: str) -> Iterator[str]:
    """Give what stands between `{{` and the next brace that closes, if that is two of them. Without a regular expression, which
    would look for that brace again and again."""
    start = text.find("{{")
    while start >= 0 and (end := text.find("}", start + 2)) >= 0:
        if end > start + 2 and text.startswith("}}", end):
            yield text[start : end + 2]
            end += 2
        start = text.find("{{", end)


def _check_placeholders(text: str, place: Place, ids: Collection[str], errors: ConfigErrors) -> None:
    for written in _placeholders_in(text):
        content = written[2:-2].strip()
        if content.startswith(".responses."):
            name = content.split(".")[2]
            if name not in ids:
                message = f'Response placeholder references non-existent node: "{shown(name)}"'
                hint = ids_suggestion(ids)
                errors.add(place.path, message, "reference", category=VALUE, keys=place.keys, suggestion=hint)
        elif content.startswith("$") and content not in _DYNAMIC:
            message = f'Unknown dynamic placeholder: "{{{{ {shown(content)} }}}}"'
            hint = "Valid dynamic placeholders: {{ $guid }}, {{ $timestamp }}"
            errors.add(place.path, message, "format", category=STRUCTURE, keys=place.keys, suggestion=hint)
        elif not content.startswith(_STARTS) and content not in _DYNAMIC:
            message = f'Invalid placeholder syntax: "{{{{ {shown(content)} }}}}"'
            errors.add(place.path, message, "format", category=STRUCTURE, keys=place.keys, suggestion=_FORMATS)
