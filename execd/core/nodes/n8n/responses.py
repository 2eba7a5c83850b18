"""`response-*`: what a flow answers; the last of them that ran is the result of the execution."""

from __future__ import annotations

from datetime import datetime

from execd.core.nodes.kinds import Done
from execd.core.nodes.n8n.kinds import ConfigError, FlowSpec, FlowType, Values, number_in, parse_json_text

RESPONSE = "response-"
"""What the names of these types begin with."""
OK = 200


class ResponseSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    pass


class ResponseType(FlowType[ResponseSpec]):
    name = "response-data, response-webhook"
    spec_type = ResponseSpec
    json_texts = frozenset({"body"})

    def begin(self, spec: ResponseSpec, values: Values, at: datetime) -> Done:
        status = number_in(values.config, "status")
        if status is not None and not (status.is_integer() and 100 <= status <= 599):
            raise ConfigError("`config.status` must be a status from 100 to 599")
        body = parse_json_text(values.config.get("body"))
        return Done({"responded": True, "status": OK if status is None else int(status), "body": body})
