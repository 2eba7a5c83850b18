"""The settings of dialects: sections of `execd/settings.py`, which reads them with all others."""

from __future__ import annotations

from pathlib import Path

import msgspec

MIB = 1024 * 1024


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider of models, for nodes that name one instead of an address."""

    api_key: str | None = None
    """None: nodes that name this provider fail, and say so."""
    base_url: str
    """Of its OpenAI-compatible API."""
    model: str
    """Asked where a node names none."""

    def __repr__(self) -> str:
        return f"ProviderSettings(base_url={self.base_url!r}, api_key={'***' if self.api_key else None!r})"


class OpenAiSettings(ProviderSettings, frozen=True, kw_only=True):
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-4o"


class GeminiSettings(ProviderSettings, frozen=True, kw_only=True):
    base_url: str = "https://generativelanguage.googleapis.com/v1beta/openai"
    model: str = "gemini-2.5-flash"


class ProvidersSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `ai-…` nodes of flows ask; of several with a key, the first is asked where a node names none."""

    openai: OpenAiSettings = OpenAiSettings()
    gemini: GeminiSettings = GeminiSettings()


class FlowsphereSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """FlowSphere's page and clients, which send no credential."""

    open: bool = False
    """Whether `/api/execute-stream` and its siblings take callers of this machine without a credential. Only on loopback and
    without `http.public_url`; whoever can open a connection to it, every user of this machine among them, may then run flows,
    and see the answers, in `workspace`. Pages of other origins and what came through a proxy are refused all the same."""
    workspace: str = "default"
    """Where the runs of such callers are; `default` is that of whoever started the server."""
    page_dir: Path | None = None
    """FlowSphere's `studio` folder, to be served at `/flowsphere/`. It loads styles and fonts from public servers."""
    body_limit_bytes: int = 10 * MIB
    """Of a request of this dialect: a step's has all answers before it, a log to be saved comes twice."""
