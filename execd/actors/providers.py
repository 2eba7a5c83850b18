"""The models' providers that this installation is configured with: where a call goes that names one, and with which key.

The key is added here, after the journal was written and before the request is made, so it stands in no spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from execd.core.calls import CallEnd, LlmCall, failed

ANY = "any"
"""Means the first provider that has a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One of them."""

    base_url: str
    """Of its OpenAI-compatible API."""
    model: str
    """Asked where a call names none."""
    api_key: str | None = None
    """None: it cannot be asked, unless a call brings a key of its own."""

    def __repr__(self) -> str:
        return f"Provider({self.base_url!r})"


def complete_call(call: LlmCall, providers: Mapping[str, Provider]) -> LlmCall | CallEnd:
    """Add what a call leaves to its provider; or give its end, when that is not configured."""
    if call.provider is None:
        return call
    provider = providers.get(call.provider)
    if call.provider == ANY:
        provider = next((one for one in providers.values() if one.api_key), None)
    if provider is None or not (call.api_key or provider.api_key):
        return failed("llm", "not_configured", _advice(call.provider, providers), is_final=True)
    return msgspec.structs.replace(
        call,
        base_url=provider.base_url,
        api_key=call.api_key or provider.api_key,
        model=call.model or provider.model,
    )


def _advice(name: str, providers: Mapping[str, Provider]) -> str:
    if name != ANY and name not in providers:
        return f"There is no provider {name[:64]!r}; there are {', '.join(providers) or 'none'}."
    wanted = " or ".join(f"providers.{one}.api_key" for one in ([name] if name != ANY else providers))
    return (
        f"No key for a model: set {wanted or 'a provider'} in the settings of execd, or `api_key` in the node's config."
    )
