"""The client's part for secrets: set, list, delete; no answer of a server holds a value."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol
from urllib.parse import quote

import httpx2

from execd.client_errors import decode_answer
from execd.client_records import SecretList

ATTEMPTS = 3
"""Setting the same twice is setting it once."""


class Send(Protocol):
    """Sends a request, and again where that is safe; see `Client`."""

    def __call__(
        self, method: str, path: str, *, attempts: int = 1, **arguments: Any
    ) -> Awaitable[httpx2.Response]: ...


class RemoteSecrets:
    """The secrets of the credential's workspace. Every method raises as those of `Client`."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def set(self, name: str, value: str) -> None:
        """Set a secret, new or not."""
        await self._send("PUT", _path(name), json={"value": value}, attempts=ATTEMPTS)

    async def list(self) -> SecretList:
        """List all, without their values."""
        return decode_answer((await self._send("GET", "/secrets", attempts=ATTEMPTS)).content, SecretList)

    async def delete(self, name: str) -> None:
        """Delete a secret."""
        await self._send("DELETE", _path(name))


def _path(name: str) -> str:
    return f"/secrets/{quote(name, safe='')}"
