"""The wire of OpenAI-compatible chat completions: bodies out, pieces in, refusals into errors. No I/O.

Lenient where servers differ (missing fields, `null`, unknown fields), never where it would invent something.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from execd.ports.http_caller import Headers
from execd.ports.llm import LlmAnswer, LlmError, LlmFault, LlmRequest, LlmUsage

MAX_MESSAGE_CHARS = 500
"""Of a provider's words in an error."""
MAX_TOOL_CALLS = 256
"""In one answer; a larger index is a server's mistake."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCallPiece(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCallPiece] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """One event of a stream, or the whole of an answer that is not one."""

    choices: list[_Choice] | None = None
    model: str | None = None
    usage: LlmUsage | None = None
    error: Any = None


def encode_body(request: LlmRequest, *, with_usage: bool) -> bytes:
    """Make the body of a request.

    Args:
        with_usage: ask for token counts at the end of the stream, which some servers refuse to hear of.
    """
    body: dict[str, Any] = {"model": request.model, "messages": request.messages}
    optional = ("temperature", "max_tokens", "response_format")
    body |= {name: getattr(request, name) for name in optional if getattr(request, name) is not None}
    body |= {"stream_options": {"include_usage": True}} if with_usage else {}
    return msgspec.json.encode(body | dict(request.extra) | {"stream": True})


def decode_chunk(data: bytes) -> Chunk:
    """Read one event's data, or a whole answer.

    Raises:
        LlmError: `protocol`: it is something else.
    """
    try:
        return msgspec.json.decode(data, type=Chunk)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LlmError(f"the server sent what is no chat completion: {error}", code="protocol") from error


class AnswerBuilder:
    """Puts the pieces of one answer together."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.has_choice = False
        """Whether anything of an answer came at all."""
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._tool_calls: dict[int, dict[str, Any]] = {}
        self._model: str | None = None
        self._usage: LlmUsage | None = None

    def add(self, chunk: Chunk) -> str:
        """Take a piece; give the text in it. Of several choices only the first counts, as only one was asked for."""
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage
        text = ""
        for choice in chunk.choices or ():
            if choice.index != 0:
                continue
            self.has_choice = True
            self.finish_reason = choice.finish_reason or self.finish_reason
            text += self._add_message(choice.delta or choice.message or _Message())
        self._text.append(text)
        return text

    def answer(self) -> LlmAnswer:
        """Give the whole."""
        return LlmAnswer(
            text="".join(self._text),
            finish_reason=self.finish_reason,
            model=self._model,
            usage=self._usage,
            tool_calls=tuple(self._tool_calls[index] for index in sorted(self._tool_calls)),
            refusal="".join(self._refusal) or None,
        )

    def _add_message(self, message: _Message) -> str:
        self._refusal.append(message.refusal or "")
        for position, piece in enumerate(message.tool_calls or ()):
            self._add_tool_call(position if piece.index is None else piece.index, piece)
        if isinstance(message.content, list):
            return "".join(part["text"] for part in message.content if isinstance(part.get("text"), str))
        return message.content or ""

    def _add_tool_call(self, index: int, piece: _ToolCallPiece) -> None:
        """The first piece has id and name; `arguments` comes in pieces to be joined."""
        if not 0 <= index < MAX_TOOL_CALLS:
            raise LlmError(f"the server numbered a tool call {index}", code="protocol")
        fresh: dict[str, Any] = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        call = self._tool_calls.setdefault(index, fresh)
        call["id"] = piece.id or call["id"]
        call["type"] = piece.type or call["type"]
        if piece.function is not None:
            call["function"]["name"] = piece.function.name or call["function"]["name"]
            call["function"]["arguments"] += piece.function.arguments or ""


# --- refusals

_BY_STATUS: dict[int, LlmFault] = {401: "auth", 403: "auth", 408: "timeout", 429: "rate_limited"}
_RETRYABLE = frozenset({"timeout", "rate_limited", "overloaded"})
_SPENT = ("insufficient_quota", "billing")
"""429 as well, but waiting does not help."""
_BY_WORD: tuple[tuple[str, LlmFault], ...] = (
    ("rate_limit", "rate_limited"),
    ("insufficient_quota", "rate_limited"),
    ("overloaded", "overloaded"),
    ("server_error", "overloaded"),
    ("unavailable", "overloaded"),
    ("timeout", "timeout"),
    ("authentication", "auth"),
    ("invalid_api_key", "auth"),
    ("permission", "auth"),
)


def error_from_status(status: int, headers: Headers, body: bytes) -> LlmError:
    """Make an error of an answer that is none, with the provider's own words."""
    words = _provider_error(body)
    if status < 400:
        return LlmError(f"the server answered {status} instead of a completion", code="protocol")
    code: LlmFault = "overloaded" if status >= 500 else _BY_STATUS.get(status, "bad_request")
    return _error(code, f"{status}: {_message_of(words) or 'no reason given'}", words, _retry_after_s(headers))


def error_from_event(words: Any) -> LlmError:
    """Make an error of one that came inside a stream, after the 200."""
    kinds = " ".join(str(words.get(name)) for name in ("code", "type", "status")) if isinstance(words, Mapping) else ""
    number = words.get("code") if isinstance(words, Mapping) else None
    code: LlmFault = next((fault for word, fault in _BY_WORD if word in kinds.lower()), "bad_request")
    if isinstance(number, int) and not isinstance(number, bool) and number >= 400:
        code = "overloaded" if number >= 500 else _BY_STATUS.get(number, code)
    return _error(code, _message_of(words) or "the server broke off without a reason", words, None)


def _error(code: LlmFault, message: str, words: Any, retry_after_s: float | None) -> LlmError:
    is_spent = isinstance(words, Mapping) and any(
        word in str(words.get(name)) for word in _SPENT for name in ("code", "type")
    )
    return LlmError(message, code=code, retryable=code in _RETRYABLE and not is_spent, retry_after_s=retry_after_s)


def _provider_error(body: bytes) -> Any:
    """Find what providers put their words in: `{"error": {...}}`, `[{"error": ...}]`, `{"detail": ...}`, or plain text."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[: 4 * MAX_MESSAGE_CHARS].decode(errors="replace").strip()
        return "" if text.startswith("<") else text
    if isinstance(found, list) and found:
        found = found[0]
    return found.get("error") or found if isinstance(found, Mapping) else found


def _message_of(words: Any) -> str:
    if isinstance(words, Mapping):
        words = next((words[name] for name in ("message", "detail", "error", "code", "type") if words.get(name)), "")
    text = words if isinstance(words, str) else msgspec.json.encode(words).decode()
    return " ".join(text[:MAX_MESSAGE_CHARS].split())


def _retry_after_s(headers: Headers) -> float | None:
    """Read `Retry-After`, in seconds or as a date, or the finer `retry-after-ms`."""
    found = dict(headers)
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = found.get(name, "").strip()
        if value.replace(".", "", 1).isdecimal() and value.isascii():
            return float(value) * unit_s
    try:
        moment = parsedate_to_datetime(found["retry-after"])
    except (KeyError, ValueError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
