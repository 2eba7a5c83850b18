"""`action-http`: sends one request and gives its answer, whatever its status is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from execd.core.calls import MAX_OUTPUT_BYTES, HttpCall
from execd.core.errors import ExecdError
from execd.core.nodes.http_call import METHOD, NEVER, make_pairs, make_url
from execd.core.nodes.kinds import Beginning, Calls, Done, as_text, failure
from execd.core.nodes.n8n.kinds import ConfigError, FlowSpec, FlowType, Values, parse_json_text, table_in, text_in

TIMEOUT_S = 30.0
MAX_REDIRECTS = 10
ANY_STATUS = ("1xx", "2xx", "3xx", "4xx", "5xx")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class FetchSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    pass


class FetchType(FlowType[FetchSpec]):
    name = "action-http"
    spec_type = FetchSpec
    takes_place = True
    json_texts = frozenset({"headers", "body"})

    def begin(self, spec: FetchSpec, values: Values, at: datetime) -> Beginning:
        try:
            return Calls(make_call(values.config))
        except ConfigError:
            raise
        except ExecdError as error:
            return failure("http:request", error.message)

    def finish(self, spec: FetchSpec, gave: Any, values: Callable[[], Any]) -> Done:
        kept = {name: gave[name] for name in ("body_encoding",) if name in gave}
        cut = {"truncated": True} if gave["truncated"] else {}
        return Done({"executed": True, "status": gave["status"], "data": gave["body"], **kept, **cut})


def make_call(config: Mapping[str, Any]) -> HttpCall:
    """Make the request that a config says.

    Raises:
        ExecdError: a value is nothing a request can be made of.
    """
    method = text_in(config, "method", default="GET").upper()
    if not METHOD.fullmatch(method) or method in NEVER:
        raise ConfigError("`config.method` is no method for a request")
    headers = make_pairs("config.headers", table_in(config, "headers"))
    body, media_type = _body(config.get("body")) if method in _WITH_BODY else (None, "")
    if body is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers = (*headers, ("Content-Type", media_type))
    return HttpCall(
        method=method,
        url=make_url("config.url", config.get("url")),
        headers=headers,
        body=body,
        timeout_s=TIMEOUT_S,
        max_redirects=MAX_REDIRECTS,
        max_response_bytes=MAX_OUTPUT_BYTES,
        expect=() if config.get("fail_on_error_status") in (True, "true") else ANY_STATUS,
    )


def _body(value: Any) -> tuple[bytes | None, str]:
    """Give the body and its media type: JSON, written out or as text; any other text as it is."""
    if value is None or value == "":
        return None, ""
    parsed = parse_json_text(value)
    if isinstance(value, str) and parsed is value:
        return as_text(value).encode(errors="replace"), "text/plain; charset=utf-8"
    return msgspec.json.encode(parsed), "application/json"
