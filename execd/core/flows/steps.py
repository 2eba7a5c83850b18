"""One step of a flow, compiled: whether it runs, what it requests, and what came of it.

Made once for each node of a config and shared by all its runs. It holds no state: what it sees comes with the moment, and
what it gives is a beginning, then the end of a call.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from execd.core.calls import CallEnd, CallFailure, HttpCall, HttpResult, ReadCall
from execd.core.flows.bodies import BODY_METHODS, JSON, Encoded, encode_body
from execd.core.flows.checks import MAX_RULES, Checks
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
from execd.core.flows.trees import Render, compile_tree
from execd.core.flows.wire_urls import wire_url
from execd.core.masking import Mask

DEFAULT_TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 3600.0
TOTAL_TIMES = 10
"""A body may take so many times as long as a silence: trickling for ever is no answer."""
MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of an answer, as checks see it. Less is kept of it, and what later steps read."""
MAX_REDIRECTS = 21
"""As the original's client has it."""
MAX_REASON_CHARS = 10_000
"""Of why a step is skipped, which quotes what was compared."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
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
    unseen: frozenset[str] = frozenset()
    """Answers that nobody may see, where no journal's own mask hides them."""


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
        self,
        node: Mapping[str, Any],
        config: Mapping[str, Any],
        reader: Reader,
        *,
        index: int,
        options: StepOptions,
        wanted: Sequence[str] = (),
    ) -> None:
        """Args:
        wanted: the paths that other steps read of its answer.
        """
        merged = merge_node(node, config)
        self.id = js_text(node.get("id", UNSET))
        self._merged = merged
        self._is_before_start = index < options.start_step
        self._options = options
        self._wanted = wanted
        self._fault: StepError | None = None
        """Why it can never be made."""
        self._conditions: Sequence[Condition] = ()
        self._renders: list[tuple[str, Render]] = []
        try:
            self._compile(node, reader, table_of(config.get("variables")))
        except StepError as error:
            self._fault = error
        self.checks = Checks(rows_of(merged.get("validations"))[:MAX_RULES])
        self.retry = read_rule(node.get("retry"))

    def _compile(self, node: Mapping[str, Any], reader: Reader, variables: Mapping[str, Any]) -> None:
        for name in ("conditions", "validations"):
            if len(rows_of(self._merged.get(name))) > MAX_RULES:
                raise StepError(f"A step must have at most {MAX_RULES} {name}")
        self._conditions = compile_conditions(node.get("conditions"), reader, variables)
        typed = self._options.typed
        for key, value in self._merged.items():
            render = compile_tree(value, key, reader, keeps_types=typed and key == "body")
            if render is not None:
                self._renders.append((key, render))

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
                unseen = self._unseen(moment)
                return SkipStep((Mask(unseen).text(reason) if unseen else reason)[:MAX_REASON_CHARS])
            self._render(fields, moment, notes)
            return self._call(fields, notes, told, at, unseen=self._unseen(moment))
        except StepError as error:
            return FailStep(
                error.message,
                describe_failure(fields, notes, self._options.keeping, unseen=self._unseen(moment)),
            )

    def _unseen(self, moment: Moment) -> tuple[str, ...]:
        return tuple(js_text(moment.input[key]) for key in self._options.unseen if key in moment.input)

    def skip_reason(self, moment: Moment) -> str | None:
        """Give why the step is skipped; None if it runs. Raises StepError."""
        if self._is_before_start:
            return start_step_reason(self._options.start_step)
        if self._fault is not None:
            raise self._fault
        return skip_reason(self._conditions, moment)

    def _render(self, fields: dict[str, Any], moment: Moment, notes: Notes) -> None:
        """Replace every placeholder of the node, also in keys that nothing reads: a bad reference fails the step."""
        for key, render in self._renders:
            fields[key] = render(moment, notes)
        if notes.unknown and self._options.strict:
            raise StepError(f"Unknown placeholder: {notes.unknown[0]}")

    def _call(
        self, fields: Mapping[str, Any], notes: Notes, told: Sequence[Told], at: datetime, *, unseen: tuple[str, ...]
    ) -> ReadCall:
        method, shown_url = js_text(fields.get("method", "GET")), js_text(fields.get("url", ""))
        url = wire_url(shown_url)
        fault = url_fault(url)
        if fault is not None:
            raise StepError(fault)
        proof = prove(fields.get("auth"))
        meant = _with_type(method, fields)
        headers = _header_lines(meant)
        body = encode_body(method, fields.get("body"), _content_type(meant, headers))
        timeout_s = _timeout_s(fields.get("timeout"))
        sent = Sent(
            request=_shown_request(method, shown_url, fields, meant, proof),
            substitutions=notes.made,
            unknown=notes.unknown,
            method=method.upper(),
            timeout_s=timeout_s,
            secrets=tuple(each.value for each in notes.made if each.type == "secret" and isinstance(each.value, str)),
            unseen=unseen,
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
            max_response_bytes=MAX_BODY_BYTES,
        )

        def conclude(result: HttpResult | CallFailure, now: datetime) -> CallEnd:
            return conclude_step(
                result, sent, self.checks, self.retry, keeping=self._options.keeping, at=now, wanted=self._wanted
            )

        return ReadCall(http=call, conclude=conclude, is_costly=self.checks.has_schema)


def _timeout_s(value: Any) -> float:
    """0, and what is no number, counts as none."""
    found = leading_number(value)
    if found is None or found <= 0 or math.isinf(found):
        return DEFAULT_TIMEOUT_S
    return min(found, MAX_TIMEOUT_S)


def _with_type(method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give the headers as they are meant, with the type of a body that is no text. In another case than these two it is not
    seen, and then the one that is added wins, as in FlowSphere."""
    headers = dict(table_of(fields.get("headers")))
    body = fields.get("body")
    has_parts = method.upper() in BODY_METHODS and is_truthy(body) and not isinstance(body, str)
    if has_parts and not any(is_truthy(headers.get(name)) for name in ("Content-Type", "content-type")):
        headers["Content-Type"] = JSON
    return headers


def _header_lines(meant: Mapping[str, Any]) -> dict[str, list[str]]:
    """Give headers as texts of one line each, a list as several. Of names that differ only in case the last one counts; null and
    false are not sent."""
    table = {name.strip().lower(): (name, value) for name, value in meant.items()}
    return {
        name: _lines(value) for key, (name, value) in table.items() if key and value is not None and value is not False
    }


def _lines(value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    return [_CONTROL.sub("", js_text(item)) for item in items]


def _content_type(meant: Mapping[str, Any], headers: Mapping[str, list[str]]) -> str | None:
    """None where nothing is said of it; empty where it is not to be sent."""
    if not any(name.lower() == "content-type" for name in meant):
        return None
    return next((lines[0] for name, lines in headers.items() if name.lower() == "content-type" and lines), "")


def _wire_headers(headers: Mapping[str, list[str]], body: Encoded, proof: Proof) -> tuple[tuple[str, str], ...]:
    table = {name.lower(): (name, lines) for name, lines in headers.items()}
    if body.content_type:
        table["content-type"] = ("Content-Type", [body.content_type])
    table |= {name.lower(): (name, [text]) for name, text in proof.headers}
    table.setdefault("accept", ("Accept", [ACCEPT]))
    return tuple((name, text) for name, lines in table.values() for text in lines)


def _shown_request(
    method: str, url: str, fields: Mapping[str, Any], meant: Mapping[str, Any], proof: Proof
) -> dict[str, Any]:
    """Show what is sent as its author sees it: with the type that was added for a body that is no text, if there are
    headers at all."""
    value = fields.get("body", UNSET)
    headers = meant if isinstance(fields.get("headers"), Mapping) else {}
    return {
        "method": method,
        "url": url,
        "headers": {**headers, **proof.shown},
        "body": value if is_truthy(value) else {},
    }


def _with_query(url: str, added: str) -> str:
    if not added:
        return url
    bare, mark, fragment = url.partition("#")
    return f"{bare}{'&' if '?' in bare else '?'}{added}{mark}{fragment}"
