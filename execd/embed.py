"""execd as a library: the same wiring the server uses, inside a trio program.

Example:
    async with execd.open_engine() as engine:
        run = await engine.submit("print(6 * 7)")
        async for event in run.events():
            ...
        result = await run.result()
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import structlog
import trio

from execd.bootstrap import now_utc, open_local_engine
from execd.core.again import FAILED, READ_TYPES, START, nodes_of, spec_from, spec_until
from execd.core.codec import decode_event
from execd.core.errors import ConflictError, FieldFault, InvalidRequestError, NotFoundError
from execd.core.events import Event, ExecutionId, ResultStored, WorkspaceId
from execd.core.requests import digest_of, parse_request
from execd.core.runtimes import Runtimes
from execd.core.script_fields import ScriptTools
from execd.core.secret_names import check_secret
from execd.core.workflows import decode_spec
from execd.embed_definitions import EmbeddedDefinitions
from execd.library import Library
from execd.ports import (
    Cancel,
    Engine,
    ExecutionRecord,
    Interrupt,
    Pause,
    ProvideInput,
    Resume,
    SecretHead,
    SendStdin,
    Submission,
)
from execd.settings import Settings, load_runtimes
from execd.telemetry import configure_logging

JOURNAL_PAGE_BYTES = 1024 * 1024
"""Of the events read at one time for a retry."""


class Run:
    """One execution, followed from inside the process."""

    def __init__(self, engine: Engine, execution_id: ExecutionId, *, workspace: WorkspaceId, user: str) -> None:
        self.id = execution_id
        self._engine = engine
        self._workspace = workspace
        self._user = user

    async def events(self, after_seq: int = 0) -> AsyncGenerator[Event, None]:
        """Give every event after `after_seq`, as it is stored, up to and with `result_stored`.

        Raises:
            EvictedError: the caller was too slow, or the engine is closing; go on after `error.last_seq`.
        """
        async with self._engine.subscribe(self.id, workspace=self._workspace, after_seq=after_seq) as subscription:
            while True:
                try:
                    batch = await subscription.receive()
                except trio.EndOfChannel:
                    return
                for streamed in batch:
                    yield decode_event(streamed.body)

    async def result(self) -> ResultStored:
        """Wait until the result is stored, and give it."""
        record = await self._engine.find(self.id)
        after_seq = record.head_seq - 1 if record is not None and record.status.is_final else 0
        async with aclosing(self.events(after_seq)) as events:
            async for event in events:
                if isinstance(event.data, ResultStored):
                    return event.data
        raise NotFoundError(f"there is no result of {self.id}")

    async def cancel(self) -> None:
        """Kill it now. Raises ConflictError when it is over."""
        await self._engine.command(self.id, Cancel(by=self._user))

    async def interrupt(self) -> None:
        """Let what runs finish and start nothing more. Raises ConflictError when it is over."""
        await self._engine.command(self.id, Interrupt(by=self._user))

    async def pause(self) -> None:
        """Start no further node. Raises ConflictError when it does not run."""
        await self._engine.command(self.id, Pause(by=self._user))

    async def resume(self) -> None:
        """Go on after a pause. Raises ConflictError when it is not paused."""
        await self._engine.command(self.id, Resume(by=self._user))

    async def answer(self, prompt_id: str, values: Mapping[str, str]) -> None:
        """Answer what an `input` node asks.

        Args:
            prompt_id: from the event `input_required`.
            values: the answers by key; keys with a default may be left out.

        Raises:
            ConflictError: it was answered, has expired or never asked.
            InvalidRequestError: an answer is missing or is none of the choices.
        """
        await self._engine.command(self.id, ProvideInput(by=self._user, prompt_id=prompt_id, values=values))

    async def retry(self, begin: str = START, *, until: str | None = None) -> Run:
        """Run it again, as an execution of its own.

        Args:
            begin: `start`; `failed`: what did not succeed and all that comes after it; or a node: it and all that comes
                after it. What comes before keeps what it gave.
            until: run only this node and what it needs; None: everything.

        Raises:
            ConflictError: it is not over, or `failed` was asked for and nothing has failed.
            InvalidRequestError: there is no such node, or `until` does not come after `begin`.
        """
        record = await self._engine.find(self.id)
        if record is None:
            raise NotFoundError(f"there is no execution {self.id}")
        if not record.status.is_final:
            raise ConflictError(f"{self.id} is {record.status}; only one that has ended can be run again")
        spec = decode_spec(record.spec, kind=record.kind)
        _check_begin(begin, nodes_of(spec))
        again = spec_from(spec, begin, await self._read_node_ends(record))
        again = spec_until(again, until, begin=begin)
        accepted = await self._engine.submit(
            Submission(
                workspace=self._workspace,
                user=self._user,
                name=record.name,
                spec=again,
                priority=record.priority,
                attempt_of=record.id,
            )
        )
        return Run(self._engine, accepted.id, workspace=self._workspace, user=self._user)

    async def _read_node_ends(self, record: ExecutionRecord) -> list[Event]:
        events: list[Event] = []
        after = 0
        while page := await self._engine.store.read_events(
            record.id, after_seq=after, limit_bytes=JOURNAL_PAGE_BYTES, types=READ_TYPES
        ):
            events.extend(decode_event(stored.body) for stored in page)
            after = page[-1].seq
        return events

    async def send_stdin(self, data: bytes, *, close: bool = False) -> None:
        """Write to its stdin. Raises OverloadedError when it does not read, ConflictError when it cannot."""
        await self._engine.command(self.id, SendStdin(data=data, close=close))


class EmbeddedEngine:
    """What `open_engine` gives. `definitions` has what is saved."""

    def __init__(self, engine: Engine, runtimes: Runtimes, settings: Settings) -> None:
        self.port = engine
        self._runtimes = runtimes
        self._settings = settings
        library = Library(engine.definitions, tools=self._tools, limits=settings.definitions.limits, now=now_utc)
        self.definitions = EmbeddedDefinitions(engine, library, self._run)

    @property
    def _tools(self) -> ScriptTools:
        sandbox = self._settings.sandbox
        names = frozenset(self._settings.expressions.env)
        return ScriptTools(runtimes=self._runtimes, defaults=sandbox.defaults, caps=sandbox.caps, env_names=names)

    async def submit(
        self,
        source: str,
        *,
        workspace: str = "default",
        user: str = "local",
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Run:
        """Run a script.

        Args:
            source: the program.
            options: every other field of `POST /api/v1/executions`: `language` (default `python`), `name`, `args`,
                `env`, `secrets`, `stdin`, `stdin_open`, `files`, `limits`, `priority`, `retries`.

        Raises:
            InvalidRequestError: its `faults` name each field.
            OverloadedError: the queue is full.
        """
        body = {"kind": "script", "language": "python", "source": source, **_without_none(options)}
        return await self._submit(body, workspace=workspace, user=user, idempotency_key=idempotency_key)

    async def submit_workflow(
        self,
        workflow: Mapping[str, Any],
        *,
        workspace: str = "default",
        user: str = "local",
        idempotency_key: str | None = None,
    ) -> Run:
        """Run a workflow.

        Args:
            workflow: the body of `POST /api/v1/executions` with `kind: workflow`; the kind may be left out.

        Raises: as `submit`.
        """
        body = {**workflow, "kind": "workflow"}
        return await self._submit(body, workspace=workspace, user=user, idempotency_key=idempotency_key)

    async def submit_request(
        self,
        body: Mapping[str, Any],
        *,
        workspace: str = "default",
        user: str = "local",
        idempotency_key: str | None = None,
    ) -> Run:
        """Run what the body of `POST /api/v1/executions` says, of whatever kind. Raises: as `submit`."""
        return await self._submit(body, workspace=workspace, user=user, idempotency_key=idempotency_key)

    async def _submit(self, body: Mapping[str, Any], *, workspace: str, user: str, idempotency_key: str | None) -> Run:
        request = parse_request(body, self._tools)
        submission = Submission(
            workspace=WorkspaceId(workspace),
            user=user,
            name=request.name,
            spec=request.spec,
            priority=request.priority,
            idempotency_key=idempotency_key,
            request_sha256=None if idempotency_key is None else digest_of(request),
        )
        accepted = await self.port.submit(submission)
        return self._run(accepted.id, workspace=workspace, user=user)

    async def set_secret(self, name: str, value: str, *, workspace: str = "default", user: str = "local") -> None:
        """Set a secret, new or not, for what runs in this workspace.

        Raises:
            InvalidRequestError: the name is none, or the value is too short or too long to be kept.
            ConflictError: it comes from the settings.
        """
        check_secret(name, value)
        await self.port.vault.put(WorkspaceId(workspace), name, value, by=user, at=now_utc())

    async def list_secrets(self, *, workspace: str = "default") -> Sequence[SecretHead]:
        """Give the secrets of a workspace, by name and without their values."""
        return await self.port.vault.list(WorkspaceId(workspace))

    async def delete_secret(self, name: str, *, workspace: str = "default") -> None:
        """Delete a secret. Raises NotFoundError when there is none, ConflictError when it comes from the settings."""
        if not await self.port.vault.delete(WorkspaceId(workspace), name):
            raise NotFoundError("there is no such secret in this workspace")

    async def open_run(self, execution_id: str, *, workspace: str = "default", user: str = "local") -> Run:
        """Take up an execution by its id.

        Raises:
            NotFoundError: there is none, or it is another workspace's.
        """
        record = await self.port.find(ExecutionId(execution_id))
        if record is None or record.workspace != workspace:
            raise NotFoundError(f"there is no execution {execution_id}")
        return self._run(record.id, workspace=workspace, user=user)

    def _run(self, execution_id: ExecutionId, *, workspace: str, user: str) -> Run:
        return Run(self.port, execution_id, workspace=WorkspaceId(workspace), user=user)


@asynccontextmanager
async def open_engine(settings: Settings | None = None) -> AsyncIterator[EmbeddedEngine]:
    """Run execd inside this trio program until the block is left.

    Args:
        settings: None takes every default, with the data directory of this user.

    Raises:
        StoreLockedError: another process uses the same data directory.

    Logs: through structlog, as the program has configured it; warnings on stderr where it has not.

    Resources: leaving the block gives what runs its grace time, then removes every sandbox and closes the store.
    """
    if not structlog.is_configured():
        configure_logging(level="warning", style="auto")
    chosen = settings or Settings()
    async with open_local_engine(chosen) as engine:
        yield EmbeddedEngine(engine, load_runtimes(chosen), chosen)


def _check_begin(begin: str, nodes: Sequence[str]) -> None:
    places = (START, FAILED, *nodes)
    if begin not in places:
        fault = FieldFault(path="from", message=f"is {begin[:64]!r}", accepted=", ".join(places[:50]))
        raise InvalidRequestError(f"from {fault.message}; accepted: {fault.accepted}", faults=(fault,))


def _without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if _is_sequence(value) else value for name, value in options.items() if value is not None}


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
