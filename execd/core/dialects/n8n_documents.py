"""Saved flows: how the documents of the n8n-pattern dialect are kept as definitions and shown again.

A flow's id is the number that its definition's id spells in base 36, so both name the same and none has to be stored:
`def-000000007` is flow 7. What an author drew is kept as it is; a draft may be unfinished, any other flow must run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from execd.core.definitions import Draft
from execd.core.dialects.n8n_flows import DRAWING_KIND, FlowWarning, parse_drawing
from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.fields import Faults, Fields, describe, summarise
from execd.core.ids import DEFINITION_ID, TAILS, spell_tail
from execd.core.parsing import read_name
from execd.core.script_fields import ScriptTools

DRAFT = "draft"
ARCHIVED = "archived"
KEPT = ("description", "status", "template_id", "channel_id", "data")
"""What a flow has besides its name; anything else that comes with one is ignored."""
MAX_DESCRIPTION_CHARS = 10_000
MAX_ID_CHARS = 200


class Checked(msgspec.Struct, frozen=True):
    """Whether a flow could run, and what is odd about it."""

    problems: tuple[FieldFault, ...] = ()
    warnings: tuple[FlowWarning, ...] = ()


class FlowDraft(msgspec.Struct, frozen=True):
    """A flow that may be saved."""

    draft: Draft
    checked: Checked


def definition_of(flow_id: int | str) -> str:
    """Give the id, or else the name, of the definition that a flow id means: a number, as text too, or the id itself."""
    text = str(flow_id)
    # Python reads no number of thousands of digits
    is_number = text.isascii() and text.isdigit() and len(text) <= MAX_ID_CHARS
    if not is_number or int(text) >= TAILS:
        return text
    return f"def-{spell_tail(int(text))}"


def flow_id_of(definition: str) -> int | str:
    """Give the flow id of a definition: its number; of an id that spells none, the id."""
    found = DEFINITION_ID.fullmatch(definition)
    return int(found[1], 36) if found else definition


def parse_flow_id(value: object, faults: Faults, *, path: str = "flow_id") -> str:
    """Read a flow id, and give what `definition_of` gives."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if is_number or (isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS):
        return definition_of(value if isinstance(value, int | str) else "")
    faults.add(path, "is missing" if value is None else describe(value), "the id of a flow: a number or text")
    return ""


def parse_new_flow(body: object, tools: ScriptTools) -> FlowDraft:
    """Read `{name, description, status, data, …}`.

    Raises:
        InvalidRequestError: a field is wrong, or a flow that is no draft could not run.
    """
    return _parse(body, {}, tools)


def parse_change(body: object, saved: Mapping[str, Any], tools: ScriptTools) -> FlowDraft:
    """Read the fields of a flow that change.

    Args:
        saved: the newest version, as `document_of_flow` gives it.

    Raises: as `parse_new_flow`.
    """
    return _parse(body, saved, tools)


def _parse(body: object, saved: Mapping[str, Any], tools: ScriptTools) -> FlowDraft:
    faults = Faults()
    fields = Fields(body, faults, known=tuple(body) if isinstance(body, Mapping) else ())
    changes = body if isinstance(body, Mapping) else {}
    whole = {**saved, **{name: changes[name] for name in ("name", *KEPT) if name in changes}}
    if not whole.get("name") and not faults.found:
        faults.add("name", "is missing", "one line of text")
    if DEFINITION_ID.fullmatch(str(whole.get("name"))):
        faults.add("name", "looks like an id", "one line of text that is no id")
    read_name(fields)
    fields.text("description", max_chars=MAX_DESCRIPTION_CHARS, accepted="text")
    status = fields.text("status", max_chars=64, accepted="draft, published or archived")
    whole["status"] = status or whole.get("status") or DRAFT
    if whole.get("data") is not None and not isinstance(whole["data"], Mapping):
        faults.add("data", describe(whole["data"]), "an object: {nodes, edges}")
    faults.raise_if_any()
    return _to_draft(whole, tools)


def _to_draft(whole: Mapping[str, Any], tools: ScriptTools) -> FlowDraft:
    checked = check(whole, tools)
    if checked.problems and whole["status"] not in {DRAFT, ARCHIVED}:
        raise InvalidRequestError(summarise(checked.problems), faults=checked.problems)
    kept = {name: whole[name] for name in KEPT if whole.get(name) is not None}
    try:
        body = msgspec.json.encode({"data": {}, **kept})
    except RecursionError:
        fault = FieldFault(path="data", message="is nested too deeply", accepted="JSON nested less than 500 deep")
        raise InvalidRequestError(summarise((fault,)), faults=(fault,)) from None
    draft = Draft(name=whole["name"], kind=DRAWING_KIND, body=body, sha256=hashlib.sha256(body).hexdigest())
    return FlowDraft(draft, checked)


def check(whole: Mapping[str, Any], tools: ScriptTools) -> Checked:
    """Find everything that is wrong or odd with a flow."""
    try:
        return Checked(warnings=parse_drawing({"data": whole.get("data") or {}}, tools).warnings)
    except InvalidRequestError as error:
        return Checked(problems=error.faults)


def document_of_flow(*, name: str, body: bytes) -> dict[str, Any]:
    """Put a saved flow together again."""
    saved: dict[str, Any] = msgspec.json.decode(body)
    return {
        "name": name,
        "description": None,
        "status": DRAFT,
        "template_id": None,
        "channel_id": None,
        "data": {},
    } | saved
