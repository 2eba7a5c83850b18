"""What every route may use, and the register of open streams that shutdown waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import trio

from execd.core.errors import StoreUnavailableError, UnauthenticatedError
from execd.core.runtimes import Runtimes
from execd.core.script_fields import ScriptTools
from execd.http.access import Access, Identity
from execd.http.config import HttpConfig
from execd.library import Library
from execd.ports import Engine
from execd.telemetry import Counters


class OpenStreams:
    """The live streams of this process, SSE and WebSocket. Plain calls only, so nothing here can wait for a viewer."""

    def __init__(self) -> None:
        self.draining = trio.Event()
        """Set once, when the server begins to go down: every stream ends by itself."""
        self._open_count = 0
        self._is_empty = trio.Event()
        self._is_empty.set()

    @property
    def open_count(self) -> int:
        return self._open_count

    @property
    def is_draining(self) -> bool:
        return self.draining.is_set()

    @contextmanager
    def count(self) -> Iterator[None]:
        """Count a stream as open while the block runs."""
        if not self._open_count:
            self._is_empty = trio.Event()
        self._open_count += 1
        try:
            yield
        finally:
            self._open_count -= 1
            if not self._open_count:
                self._is_empty.set()

    async def wait_empty(self) -> None:
        """Wait until no stream is open."""
        await self._is_empty.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The routes' shared record. Nothing in it belongs to one request."""

    engine: Engine
    runtimes: Runtimes
    config: HttpConfig
    access: Access
    streams: OpenStreams
    counters: Counters
    now: Callable[[], datetime]
    """The wall clock, aware and in UTC."""
    uniform: Callable[[float, float], float]
    """Where jitter comes from, like `random.uniform`."""

    @property
    def script_tools(self) -> ScriptTools:
        """What requests are read against."""
        config = self.config
        return ScriptTools(
            runtimes=self.runtimes, defaults=config.defaults, caps=config.caps, env_names=config.env_names
        )

    async def may_stay(self, identity: Identity) -> bool:
        """Whether a stream of theirs may go on. A store that is away takes nobody's access; the next look asks again."""
        try:
            await self.access.check(identity)
        except UnauthenticatedError:
            return False
        except StoreUnavailableError:
            return True
        return True

    @property
    def library(self) -> Library:
        """The saved definitions."""
        config = self.config
        return Library(self.engine.definitions, tools=self.script_tools, limits=config.definition_limits, now=self.now)
