"""Port `LlmClient`: a language model behind an OpenAI-compatible `POST {base_url}/chat/completions`.

The key appears in no `repr`, error or log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from execd.core.errors import ExecdError
from execd.ports.http_caller import MIB, HttpFault

OnDelta = Callable[[str], Awaitable[None]]
"""Takes each new piece of text, in order. While it waits, nothing more is read, and that counts as nobody's silence."""

LlmFault = (
    Literal["auth", "rate_limited", "overloaded", "bad_request", "timeout", "protocol", "cut_off", "too_large"]
    | HttpFault
)
"""Why there is no complete answer. `auth`: the key is wrong or may not; `rate_limited`: wait `retry_after_s`;
`overloaded`: the provider failed; `bad_request`: it will never like this; `cut_off`: the text ended without an end."""


class LlmRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask."""

    base_url: str
    """Like `https://api.openai.com/v1`."""
    api_key: str | None = None
    """Sent as a bearer token; None for servers that want none."""
    model: str
    messages: tuple[Mapping[str, Any], ...]
    """As the protocol has them: `role`, `content`."""
    temperature: float | None = None
    max_tokens: int | None = None
    response_format: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = {}
    """Further fields of the body, like `tools` or `max_completion_tokens`; they win over all but `stream`."""
    connect_s: float = 10.0
    read_s: float = 60.0
    """The longest silence: models think before the first word."""
    total_s: float = 600.0
    max_response_bytes: int = 16 * MIB
    """Of the answer as it arrives; more is `too_large`."""
    verify_tls: bool = True

    def __repr__(self) -> str:
        return f"LlmRequest(model={self.model!r}, {len(self.messages)} messages)"


class LlmUsage(msgspec.Struct, frozen=True):
    """Tokens as the provider counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class LlmAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer."""

    text: str
    """All that `on_delta` got, joined."""
    finish_reason: str | None
    """`stop`, `length`, `tool_calls` ... as given; None when the server ended the stream properly and gave none."""
    model: str | None
    """The model that answered, as it says itself."""
    usage: LlmUsage | None
    """None when the server gave none; never estimated."""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    """As the protocol has them, put together from their pieces."""
    refusal: str | None = None


class LlmError(ExecdError):
    """There is no complete answer. What came before was given to `on_delta`; repeat it if `retryable`."""

    status = 502
    code: LlmFault

    def __init__(
        self, message: str, *, code: LlmFault, retryable: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        """How long the provider asks to wait; None when it says nothing."""


class LlmClient(Protocol):
    """Asks a model."""

    async def complete(self, request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        """Ask, hand on the text as it comes, and give the whole.

        A server that does not stream gives its text in one piece.

        Raises:
            LlmError: see its `code`.

        Cancellation: closes the connection at once, which ends the model's work and its cost at most providers.
        """
