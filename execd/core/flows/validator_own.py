"""The validator's part on execd's own keys: environments, secrets, data, auth, retries and switches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from execd.core.flows.checks import MAX_RULES
from execd.core.flows.configs import environment_of, rows_of, table_of
from execd.core.flows.credentials import PLACES, TYPES
from execd.core.flows.data_rows import DataError, read_rows
from execd.core.flows.faults import STRUCTURE, ConfigErrors, Place, shown
from execd.core.flows.js_values import is_number
from execd.core.flows.retries import BACKOFFS, LOST, MAX_ATTEMPTS, MAX_DELAY_S, NETWORK, TIMEOUT

SWITCHES = ("typed", "strict", "cookies", "maskSecrets", "honorLegacyKeys")
_REASONS = (NETWORK, TIMEOUT, LOST)
_AUTH_FIELDS = {"basic": ("username", "password"), "bearer": ("token",), "api_key": ("name", "value", "in")}


def check_own_keys(config: Mapping[str, Any], errors: ConfigErrors) -> None:
    """Check what the original does not know; all of it comes after its own errors."""
    for name in SWITCHES:
        if name in config and not isinstance(config[name], bool):
            errors.add(name, f"{name} must be true or false", "type")
    _check_environments(config, errors)
    _check_secrets(config, errors)
    _check_data(config, errors)
    final = config.get("finally", UNSET)
    if final is not UNSET and not isinstance(final, list):
        errors.add("finally", "finally must be an array of nodes", "type")
    if "promptTimeout" in config and not _is_positive(config["promptTimeout"]):
        errors.add("promptTimeout", "promptTimeout must be a positive number (seconds)", "type")
    _check_auth(config, "auth", {}, errors)
    _check_auth(table_of(config.get("defaults")), "defaults.auth", {}, errors)
    index = 0
    for key in ("nodes", "finally"):
        for offset, value in enumerate(rows_of(config.get(key))):
            node = table_of(value)
            _check_node(node, Place(f"{key}[{offset}]", index=index, node=node), errors)
            index += 1


def _is_positive(value: Any) -> bool:
    return is_number(value) and value > 0


def _check_node(node: Mapping[str, Any], place: Place, errors: ConfigErrors) -> None:
    _check_auth(node, f"{place.path}.auth", place.keys, errors)
    if "continueOnError" in node and not isinstance(node["continueOnError"], bool):
        field = f"{place.path}.continueOnError"
        errors.add(field, "continueOnError must be true or false", "type", keys=place.keys)
    for name in ("conditions", "validations"):
        if len(rows_of(node.get(name))) > MAX_RULES:
            text = f"A step must have at most {MAX_RULES} {name}"
            errors.add(f"{place.path}.{name}", text, STRUCTURE, keys=place.keys)
    unseen = node.get("secretPrompts", [])
    if not isinstance(unseen, list) or not set(map(str, unseen)) <= set(table_of(node.get("userPrompts"))):
        field = f"{place.path}.secretPrompts"
        errors.add(field, "secretPrompts must be an array of keys of userPrompts", "type", keys=place.keys)
    if "retry" in node:
        _check_retry(node["retry"], place, errors)


def _check_environments(config: Mapping[str, Any], errors: ConfigErrors) -> None:
    environments = config.get("environments", UNSET)
    chosen = config.get("environment")
    if environments is not UNSET and not isinstance(environments, Mapping):
        errors.add("environments", "environments must be an object of objects", "type")
        return
    for name, values in table_of(environments).items():
        if not isinstance(values, Mapping):
            errors.add(f"environments.{shown(name)}", "An environment must be an object of values", "type")
    if chosen is None:
        return
    if not isinstance(chosen, str) or chosen not in table_of(environments):
        there = ", ".join(list(table_of(environments))[:50]) or "none"
        errors.add("environment", "environment must name one of the environments", "reference", suggestion=there)
    for name, value in environment_of(config).items():
        if not isinstance(value, str | int | float):
            text = f'Value "{shown(name)}" of the environment must be a string, number, or boolean'
            errors.add(f"environments.{shown(name)}", text, "type")


def _check_secrets(config: Mapping[str, Any], errors: ConfigErrors) -> None:
    secrets = config.get("secrets", UNSET)
    if secrets is UNSET:
        return
    if not isinstance(secrets, list) or not all(isinstance(name, str) for name in secrets):
        hint = "Their values are kept apart from the flow"
        errors.add("secrets", "secrets must be an array of names", "type", suggestion=hint)


def _check_data(config: Mapping[str, Any], errors: ConfigErrors) -> None:
    try:
        read_rows(config.get("data"))
    except DataError as error:
        errors.add("data", error.message, "type", suggestion='[{"name": "Ada"}] or {"csv": "name\\nAda"}')


def _check_auth(table: Mapping[str, Any], field: str, keys: Mapping[str, Any], errors: ConfigErrors) -> None:
    auth = table.get("auth")
    if auth is None:
        return
    kind = auth.get("type") if isinstance(auth, Mapping) else None
    if not isinstance(auth, Mapping) or kind not in TYPES:
        errors.add(field, "auth must be an object with a known type", "value", keys=keys, suggestion=", ".join(TYPES))
        return
    for name in _AUTH_FIELDS.get(str(kind), ()):
        value = auth.get(name, "" if name in {"in", "name"} else UNSET)
        if not isinstance(value, str):
            errors.add(f"{field}.{name}", f'auth of type "{kind}" must have "{name}" as a string', "type", keys=keys)
    if kind == "api_key" and auth.get("in", PLACES[0]) not in PLACES:
        errors.add(f"{field}.in", "in must be one of the places", "value", keys=keys, suggestion=", ".join(PLACES))


def _check_retry(retry: Any, place: Place, errors: ConfigErrors) -> None:
    field = f"{place.path}.retry"
    if not isinstance(retry, Mapping):
        errors.add(field, "retry must be an object", "type", keys=place.keys)
        return
    limits = {"attempts": (1, MAX_ATTEMPTS), "delay_s": (0, MAX_DELAY_S), "max_delay_s": (0, MAX_DELAY_S)}
    for name, (low, high) in limits.items():
        value = retry.get(name, low)
        if not is_number(value) or not low <= value <= high:
            text = f"{name} must be a number from {low} to {high:g}"
            errors.add(f"{field}.{name}", text, "type", keys=place.keys)
    backoff = retry.get("backoff", 1)
    if backoff not in BACKOFFS if isinstance(backoff, str) else not (is_number(backoff) and 1 <= backoff <= 10):
        text = "backoff must be a number from 1 to 10"
        errors.add(f"{field}.backoff", text, "value", keys=place.keys, suggestion=", ".join(BACKOFFS))
    reasons = retry.get("on", [])
    if not isinstance(reasons, list) or not all(map(_is_reason, reasons)):
        text = "on must be an array of statuses and reasons"
        hint = f'503, "5xx", {", ".join(_REASONS)}'
        errors.add(f"{field}.on", text, "value", keys=place.keys, suggestion=hint)


def _is_reason(reason: Any) -> bool:
    if is_number(reason):
        return bool(100 <= reason <= 599)
    return isinstance(reason, str) and reason in {*_REASONS, "4xx", "5xx"}
