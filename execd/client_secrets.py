"""The client's part for secrets: set, list, delete; no answer of a server holds a value."""

from __future__ import annotations

from urllib.parse import quote

from execd.client_errors import decode_answer
from execd.client_records import SecretList
from execd.client_sending import ATTEMPTS, Send


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
