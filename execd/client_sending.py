"""How the parts of a client send: by the one method of `Client` that knows the server, the credential and when to try again."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

import httpx2

ATTEMPTS = 3
"""How often a request that may be repeated safely is sent before its error is shown."""


class Send(Protocol):
    """Sends a request, and again while `attempts` allows it and the error says it may help."""

    def __call__(
        self, method: str, path: str, *, attempts: int = 1, **arguments: Any
    ) -> Awaitable[httpx2.Response]: ...
