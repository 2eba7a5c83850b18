"""One step of a flow, compiled: whether it runs, what it requests, and what came of it.

Made once for each node of a config and shared by all its runs. It holds no state: what it sees comes with the moment, and
what it gives is a beginning, then the end of a call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from execd.core.calls import MAX_OUTPUT_BYTES, CallEnd, CallFailure, HttpCall, HttpResult, ReadCall
from execd.core.flows.bodies import Encoded, encode_body
from execd.core.flows.checks import Checks
from execd.core.flows.conditions import Condition, compile_conditions, skip_reason, start_step_reason
from execd.core.flows.configs import merge_node, rows_of, table_of
from execd.core.flows.cookies import Told, cookies_for
from execd.core.flows.credentials import Proof, prove
from execd.core.flows.endings import Keeping, Sent, conclude_step, describe_failure
from execd.core.flows.error_texts import url_fault
from execd.core.flows.js_values import is_truthy, js_text, leading_number
from execd.core.flows.moments import Moment, StepError
from execd.core.flows.placeholders import Notes, Reader
from execd.core.flows.retries import read_rule
from execd.core.flows.trees import compile_tree

DEFAULT_TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 3600.0
TOTAL_TIMES = 10
"""A body may take so many times as long as a silence: trickling for ever is no answer."""
MAX_REDIRECTS = 21
"""As the original's client has it."""
ACCEPT = "application/json, text/plain, */*"


class StepOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a config says of all its steps."""

    typed: bool = False
    """Whether a field of a body that is one placeholder keeps its type."""
    strict: bool = False
    """Whether a placeholder that names nothing fails the step."""
    keeping: Keeping = Keeping()
    start_step: int = 0
    """The steps before it are skipped; from 0."""


class SkipStep(msgspec.Struct, frozen=True):
    """It does not run."""

    reason: str


class FailStep(msgspec.Struct, frozen=True):
    """It cannot run."""

    message: str
    details: dict[str, Any]


class Step:
    """One node of a config. Immutable."""

    def __init__(
        self, node: Mapping[str, Any], config: Mapping[str, Any], reader: Reader, *, index: int, options: StepOptions
    ) -> None:
        merged = merge_node(node, config)
        self.id = js_text(node.get("id", UNSET))
        self._merged = merged
        self._is_before_start = index < options.start_step
        self._options = options
        self._conditions: Sequence[Condition] = compile_conditions(
            node.get("conditions"), reader, table_of(config.get("variables"))
        )
        self._renders = [
            (key, render)
            for key, value in merged.items()
            if (render := compile_tree(value, key, reader, keeps_types=options.typed and key == "body")) is not None
        ]
        self.checks = Checks(rows_of(merged.get("validations")))
        self.retry = read_rule(node.get("retry"))

    def begin(self, moment: Moment, told: Sequence[Told], at: datetime) -> ReadCall | SkipStep | FailStep:
        """Say whether and how the step begins.

        Args:
            told: the cookies of earlier steps; looked at only where the config keeps them.
        """
        notes = Notes()
        fields = dict(self._merged)
        try:
            reason = self.skip_reason(moment)
            if reason is not None:
                return SkipStep(reason)
            self._render(fields, moment, notes)
            return self._call(fields, notes, told, at)
        except StepError as error:
            return FailStep(error.message, describe_failure(fields, notes, self._options.keeping))

    def skip_reason(self, moment: Moment) -> str | None:
        """Give why the step is skipped; None if it runs. Raises StepError."""
        if self._is_before_start:
            return start_step_reason(self._options.start_step)
        return skip_reason(self._conditions, moment)

    def _render(self, fields: dict[str, Any], moment: Moment, notes: Notes) -> None:
        """Replace every placeholder of the node, also in keys that nothing reads: a bad reference fails the step."""
        for key, render in self._renders:
            fields[key] = render(moment, notes)
        if notes.unknown and self._options.strict:
            raise StepError(f"Unknown placeholder: {notes.unknown[0]}")

    def _call(self, fields: Mapping[str, Any], notes: Notes, told: Sequence[Told], at: datetime) -> ReadCall:
        method, url = js_text(fields.get("method", "GET")), js_text(fields.get("url", ""))
        fault = url_fault(url)
        if fault is not None:
            raise StepError(fault)
        proof = prove(fields.get("auth"))
        headers = _header_texts(fields.get("headers"))
        body = encode_body(method, fields.get("body"), _content_type(headers))
        timeout_s = _timeout_s(fields.get("timeout"))
        sent = Sent(
            request=_shown_request(method, url, fields, body, proof),
            substitutions=notes.made,
            unknown=notes.unknown,
            method=method.upper(),
            timeout_s=timeout_s,
            secrets=tuple(each.value for each in notes.made if each.type == "secret" and isinstance(each.value, str)),
        )
        cookies = cookies_for(url, told, now=at.timestamp()) if self._options.keeping.keeps_cookies else ()
        call = HttpCall(
            method=method.upper(),
            url=_with_query(url, proof.query),
            headers=_wire_headers(headers, body, proof),
            body=body.data,
            auth=proof.credentials,
            cookies=cookies,
            keeps_cookies=self._options.keeping.keeps_cookies,
            timeout_s=timeout_s,
            total_s=min(timeout_s * TOTAL_TIMES, MAX_TIMEOUT_S),
            max_redirects=MAX_REDIRECTS,
            max_response_bytes=MAX_OUTPUT_BYTES,
        )

        def conclude(result: HttpResult | CallFailure, now: datetime) -> CallEnd:
            return conclude_step(result, sent, self.checks, self.retry, keeping=self._options.keeping, at=now)

        return ReadCall(http=call, conclude=conclude, is_costly=self.checks.has_schema)


def _timeout_s(value: Any) -> float:
    """0, and what is no number, counts as none."""
    found = leading_number(value)
    if found is None or found <= 0 or math.isinf(found):
        return DEFAULT_TIMEOUT_S
    return min(found, MAX_TIMEOUT_S)


def _header_texts(value: Any) -> dict[str, str]:
    """Give headers as texts of one line; null is not sent."""
    return {
        name: js_text(text).replace("\r", "").replace("\n", "")
        for name, text in table_of(value).items()
        if text is not None
    }


def _content_type(headers: Mapping[str, str]) -> str | None:
    return next((text for name, text in headers.items() if name.lower() == "content-type"), None)


def _wire_headers(headers: Mapping[str, str], body: Encoded, proof: Proof) -> tuple[tuple[str, str], ...]:
    """Of two that differ only in case the later one wins."""
    table = {name.lower(): (name, text) for name, text in headers.items()}
    if body.content_type is not None:
        table["content-type"] = ("Content-Type", body.content_type)
    table |= {name.lower(): (name, text) for name, text in proof.headers}
    table.setdefault("accept", ("Accept", ACCEPT))
    return tuple(table.values())


def _shown_request(method: str, url: str, fields: Mapping[str, Any], body: Encoded, proof: Proof) -> dict[str, Any]:
    """Show what is sent as its author sees it: with the type that was added for a body that is no text, if there are
    headers at all."""
    headers = dict(table_of(fields.get("headers")))
    value = fields.get("body", UNSET)
    has_own = isinstance(fields.get("headers"), Mapping)
    if (
        has_own
        and body.data is not None
        and not isinstance(value, str)
        and _content_type(_header_texts(headers)) is None
    ):
        headers["Content-Type"] = body.content_type
    headers |= proof.shown
    return {"method": method, "url": url, "headers": headers, "body": value if is_truthy(value) else {}}


def _with_query(url: str, added: str) -> str:
    if not added:
        return url
    bare, mark, fragment = url.partition("#")
    return f"{bare}{'&' if '?' in bare else '?'}{added}{mark}{fragment}"
