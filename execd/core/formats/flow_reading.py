"""A flow's config read for exporters: each step as it will be sent, with what the root says merged in.

Exporters take any config that is one by its shape. What a step may hold besides is the flow's parser to check.
"""

from __future__ import annotations

from typing import Any

import msgspec

from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.fields import Faults, describe, is_nested_deeper, summarise, text_fault
from execd.core.flows.bodies import BODY_METHODS
from execd.core.formats.drafting import MAX_DEPTH, MAX_INPUT_CHARS, Json, map_texts
from execd.core.formats.loose_json import table, write_scalar
from execd.core.formats.placeholders import Reference, split_text

MAX_EXPORTED_STEPS = 10_000
METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
"""That a flow may use."""


class FlowStep(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a flow, with the defaults in it."""

    id: str
    name: str
    method: str
    url: str
    headers: dict[str, str]
    body: Any
    """As the config has it, whatever the method."""
    auth: Json | None
    timeout: float | None
    validations: list[Json]
    is_finally: bool
    path: str
    """Where it stands: `nodes[2]`."""
    raw: Json

    @property
    def sends_body(self) -> bool:
        """Whether a flow sends its body: with POST, PUT and PATCH, and only what JavaScript calls true."""
        has_body = isinstance(self.body, dict | list) or bool(self.body)
        return has_body and self.method.upper() in BODY_METHODS

    def header(self, name: str) -> str:
        """Give a header's value whatever the case of its name; `` if there is none."""
        return next((value for key, value in self.headers.items() if key.lower() == name), "")


def read_steps(config: object) -> list[FlowStep]:
    """Give the steps of a flow, those of `finally` last.

    Raises:
        InvalidRequestError: it is no flow; `faults` names each field that cannot be read.
    """
    faults = Faults()
    if not isinstance(config, dict) or is_nested_deeper(config, MAX_DEPTH):
        fault = FieldFault(path="", message=describe(config), accepted=f"a flow's config, at most {MAX_DEPTH} deep")
        raise InvalidRequestError(summarise((fault,)), faults=(fault,))
    defaults = table(config.get("defaults"))
    steps = [
        _read_step(node, config, defaults, path=f"{part}[{index}]", faults=faults)
        for part in ("nodes", "finally")
        for index, node in enumerate(_read_nodes(config, part, faults))
    ]
    faults.raise_if_any()
    return steps


def _read_nodes(config: Json, part: str, faults: Faults) -> list[Any]:
    nodes = config.get(part, [] if part == "finally" else None)
    if not isinstance(nodes, list) or len(nodes) > MAX_EXPORTED_STEPS or (part == "nodes" and not nodes):
        faults.add(part, describe(nodes), f"a list of 1 to {MAX_EXPORTED_STEPS} steps")
        return []
    return nodes


def _read_step(node: Any, config: Json, defaults: Json, *, path: str, faults: Faults) -> FlowStep:
    if not isinstance(node, dict):
        faults.add(path, describe(node), "a step: an object")
        node = {}
    _check_texts(node, path, faults)
    for key in ("id", "method", "url"):
        if not isinstance(node.get(key), str) or not node[key]:
            faults.add(f"{path}.{key}", describe(node.get(key)), "a text that is not empty")
    own_rules = _rules_of(node)
    rules = own_rules if node.get("skipDefaultValidations") is True else [*_rules_of(defaults), *own_rules]
    timeout = node.get("timeout") or defaults.get("timeout")
    auth = node.get("auth", config.get("auth", defaults.get("auth")))
    return FlowStep(
        id=str(node.get("id")),
        name=str(node.get("name") or node.get("id")),
        method=str(node.get("method")),
        url=_url_of(str(node.get("url")), defaults),
        headers=_headers_of(defaults, node),
        body=node.get("body"),
        auth=auth if isinstance(auth, dict) and auth else None,
        timeout=timeout if isinstance(timeout, int | float) and not isinstance(timeout, bool) else None,
        validations=rules,
        is_finally=path.startswith("finally"),
        path=path,
        raw=node,
    )


def _check_texts(node: Json, path: str, faults: Faults) -> None:
    def check(text: str) -> str:
        fault = text_fault(text, max_chars=MAX_INPUT_CHARS)
        if fault is not None:
            faults.add(path, fault, "texts of Unicode without NUL")
        return text

    map_texts(node, check)


def _rules_of(node: Json) -> list[Json]:
    rules = node.get("validations")
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def _url_of(url: str, defaults: Json) -> str:
    base = defaults.get("baseUrl")
    return base + url if url.startswith("/") and isinstance(base, str) else url


def _headers_of(defaults: Json, node: Json) -> dict[str, str]:
    """Null and false are how a step takes back a header of the defaults."""
    merged = {**table(defaults.get("headers")), **table(node.get("headers"))}
    return {key: write_scalar(value) for key, value in merged.items() if value is not None and value is not False}


def form_pairs(body: Json) -> list[tuple[str, str]]:
    """Give the fields of a form: `a[b]` in objects, `c[]` of plain lists, `c[0][d]` of others; null is left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in body.items():
        if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
            name = key.strip().removesuffix("[]")
            pairs += [(f"{name}[]", write_scalar(item)) for item in value if item is not None]
        else:
            _add_pairs(pairs, key.strip(), value)
    return pairs


def _add_pairs(pairs: list[tuple[str, str]], name: str, value: Any) -> None:
    match value:
        case None:
            return
        case dict():
            for key, inner in value.items():
                _add_pairs(pairs, f"{name}[{key.strip().removesuffix('[]')}]", inner)
        case list():
            for index, inner in enumerate(value):
                _add_pairs(pairs, f"{name}[{index}]", inner)
        case _:
            pairs.append((name, write_scalar(value)))


def resolve_variables(step: FlowStep, config: Json) -> FlowStep:
    """Give the step with its variables written out, as the flow would before it sends it; unknown ones stay."""
    known = {"vars": table(config.get("variables")), "env": environment_of(config)}

    def resolve(value: Any, *, is_typed: bool = False) -> Any:
        match value:
            case list():
                return [resolve(item, is_typed=is_typed) for item in value]
            case dict():
                return {key: resolve(item, is_typed=is_typed) for key, item in value.items()}
            case str() if "{{" in value:
                return _resolved_text(value, known, is_typed=is_typed)
        return value

    changed = {key: resolve(getattr(step, key)) for key in ("url", "headers", "auth")}
    changed["body"] = resolve(step.body, is_typed=config.get("typed") is True)
    changed["url"] = write_scalar(changed["url"])
    changed["headers"] = {name: write_scalar(value) for name, value in changed["headers"].items()}
    return msgspec.structs.replace(step, **changed)


def _resolved_text(text: str, known: dict[str, Json], *, is_typed: bool) -> Any:
    values = [
        known.get(part.kind, {}).get(part.name, part) if isinstance(part, Reference) else part
        for part in split_text(text)
    ]
    if is_typed and len(values) == 1 and not isinstance(values[0], Reference):
        return values[0]
    return "".join(value.text if isinstance(value, Reference) else write_scalar(value) for value in values)


def environment_of(config: Json) -> Json:
    """Give what `.env` reads: the values of the chosen environment, those of `_common` below them."""
    environments, chosen = table(config.get("environments")), config.get("environment")
    return table(environments.get("_common")) | (table(environments.get(chosen)) if isinstance(chosen, str) else {})
