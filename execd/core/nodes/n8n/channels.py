"""Messages, posts and uploads: delivered for real, or a failure that says what is missing; never a pretence.

A message or post goes to the node's own `webhook_url`, as JSON. There is no store for files yet, so an upload fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from execd.core.calls import MAX_OUTPUT_BYTES, HttpCall
from execd.core.errors import ExecdError
from execd.core.fields import Fields
from execd.core.nodes.http_call import make_url
from execd.core.nodes.kinds import Beginning, Calls, Done, Reading, as_text, failure
from execd.core.nodes.n8n.calling import TIMEOUT_S
from execd.core.nodes.n8n.kinds import FlowSpec, FlowType, Values, text_in

NOT_CONFIGURED = "channel:not_configured"
SENT = ("recipient", "message", "content", "media_url", "channel_ids")
"""Config that goes to the webhook."""


class DeliverySpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    type: str = ""


class DeliveryType(FlowType[DeliverySpec]):
    name = "action-send-message, action-post-social, send-*"
    spec_type = DeliverySpec
    takes_place = True

    def read(self, fields: Fields, reading: Reading) -> DeliverySpec:
        return msgspec.structs.replace(super().read(fields, reading), type=str(fields.raw("type")))

    def begin(self, spec: DeliverySpec, values: Values, at: datetime) -> Beginning:
        webhook = text_in(values.config, "webhook_url")
        if not webhook:
            message = (
                f"Nothing was sent: {spec.type} has no channel. Set `config.webhook_url`; it is sent there as JSON."
            )
            return failure(NOT_CONFIGURED, message)
        try:
            return Calls(_delivery(spec, webhook, values.config))
        except ExecdError as error:
            return failure("http:request", error.message)

    def finish(self, spec: DeliverySpec, gave: Any, values: Callable[[], Any]) -> Done:
        sent, many = ("posted", "posts") if spec.type == "action-post-social" else ("sent", "messages")
        told = {"channel": "webhook", "status": gave["status"], "answer": gave["body"]}
        return Done({sent: True, many: [told], "total_channels": 1, "successful": 1, "failed": 0})


def _delivery(spec: DeliverySpec, webhook: str, config: Mapping[str, Any]) -> HttpCall:
    told = {"type": spec.type, "node": spec.node} | {name: config[name] for name in SENT if name in config}
    return HttpCall(
        method="POST",
        url=make_url("config.webhook_url", webhook),
        headers=(("Content-Type", "application/json"),),
        body=as_text(told).encode(),
        timeout_s=TIMEOUT_S,
        max_redirects=0,
        max_response_bytes=MAX_OUTPUT_BYTES,
        expect=("2xx",),
    )


class UploadSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    type: str = ""


class UploadType(FlowType[UploadSpec]):
    name = "action-upload-image, action-upload-video, media-*"
    spec_type = UploadSpec

    def read(self, fields: Fields, reading: Reading) -> UploadSpec:
        return msgspec.structs.replace(super().read(fields, reading), type=str(fields.raw("type")))

    def begin(self, spec: UploadSpec, values: Values, at: datetime) -> Beginning:
        text = f"Nothing was stored: this execd has no store for files, which {spec.type} needs."
        return failure("storage:not_configured", text)
