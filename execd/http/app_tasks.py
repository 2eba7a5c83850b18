"""The tasks of one connection: what hypercorn runs an application in, made to let go of one that has ended.

Hypercorn hands messages over a bounded channel that it never closes. Once the application has ended, the first message that
finds it full waits for ever, with the connection, its descriptor and the news that the client has left behind it (0.18.0).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope


class AppTasks(TaskGroup):
    """Hypercorn's task group; what is said to an application that has ended is dropped."""

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application and give what hands messages to it."""

        async def run(scope: Scope, receive: Any, *others: Any) -> None:
            try:
                await app(scope, receive, *others)
            finally:
                receive.__self__.close()

        put = await super().spawn_app(run, config, scope, send)  # type: ignore[arg-type] # called like one

        async def put_while_it_runs(event: ASGIReceiveEvent) -> None:
            with suppress(trio.BrokenResourceError):
                await put(event)

        return put_while_it_runs
