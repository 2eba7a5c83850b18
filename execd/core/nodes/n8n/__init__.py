"""The node types of flows, as the n8n-pattern dialect names them: a new one is a file beside this and a line in `_NAMED`.

They are the types of a React Flow graph (execd/core/dialects/n8n_flows.py compiles it); a workflow of execd's own has
its own types.
"""

from __future__ import annotations

from typing import Any

from execd.core.nodes.n8n.asking import AskType, ClassifyType, WriteType
from execd.core.nodes.n8n.calling import FetchType
from execd.core.nodes.n8n.channels import DeliveryType, UploadType
from execd.core.nodes.n8n.code import CodeType
from execd.core.nodes.n8n.kinds import FlowType
from execd.core.nodes.n8n.logic import ConditionType, TransformType
from execd.core.nodes.n8n.responses import ResponseType
from execd.core.nodes.n8n.triggers import TriggerType

_ASK, _DELIVERY, _UPLOAD, _RESPONSE, _TRIGGER = AskType(), DeliveryType(), UploadType(), ResponseType(), TriggerType()

_NAMED: dict[str, FlowType[Any]] = {
    "ai-openai": _ASK,
    "ai-gemini": _ASK,
    "ai-classify": ClassifyType(),
    "ai-content-writer": WriteType(),
    "action-http": FetchType(),
    "action-code": CodeType(),
    "action-send-message": _DELIVERY,
    "action-post-social": _DELIVERY,
    "action-upload-image": _UPLOAD,
    "action-upload-video": _UPLOAD,
    "logic-condition": ConditionType(),
    "logic-transform": TransformType(),
    "response-data": _RESPONSE,
    "response-webhook": _RESPONSE,
}
_BY_PREFIX: dict[str, FlowType[Any]] = {"trigger-": _TRIGGER, "send-": _DELIVERY, "media-": _UPLOAD}
"""Families whose members differ in name only."""

DRAWING_TYPES: tuple[FlowType[Any], ...] = tuple(dict.fromkeys((*_NAMED.values(), *_BY_PREFIX.values())))
DRAWING_TYPE_WORDS = ", ".join((*_NAMED, *(f"{prefix}*" for prefix in _BY_PREFIX)))
"""For messages: every name there is."""


def find_flow_type(name: str) -> FlowType[Any] | None:
    """Find a type by the name a flow gives it."""
    found = _NAMED.get(name)
    return found or next((kind for prefix, kind in _BY_PREFIX.items() if name.startswith(prefix)), None)
