"""The edges' side of the actors: turns calls into questions with deadlines. Implements `ports.Engine`.

Rank 0. Asks the coordinator without waiting for room in its mailbox (a full one is an `OverloadedError`), waits for the
router's under a deadline, and reads the store directly, because reading harms nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import trio

from execd.actors.messages import CoordinatorMessage, RouterMessage, SendCommand, SubmitExecution, Subscribe
from execd.actors.requesting import make_call
from execd.core.calls import CallEnd, ReadCall
from execd.core.errors import (
    ConflictError,
    ExecdError,
    IdempotencyConflictError,
    NotFoundError,
    OverloadedError,
    StoreUnavailableError,
)
from execd.core.events import ExecutionId, Status, WorkspaceId
from execd.core.fields import check_names
from execd.core.ids import TAILS, spell_tail
from execd.core.secret_names import check_known
from execd.core.state import State, new_state
from execd.core.workflows import graph_of
from execd.mailbox import Mailbox, Reply
from execd.ports import (
    Accepted,
    Command,
    DefinitionStore,
    Duplicate,
    ExecutionRecord,
    HttpCaller,
    Runner,
    Store,
    Stored,
    Submission,
    Subscription,
    TokenStore,
    Vault,
    WriteOutcome,
)

T = TypeVar("T")

ASK_DEADLINE_S = 10.0
"""How long an edge waits for an answer: longer than any healthy store takes, shorter than a person's patience."""
MAX_CALLS = 64
"""Calls of no execution at one time: a quarter of the connections there may be (`outbound.in_use`)."""
CHECK_DEADLINE_S = 2.0
"""How long a part may take to say that it is well."""


@dataclass(frozen=True, slots=True)
class Levers:
    """What the engine pulls besides sending messages; none of them can wait."""

    drain: tuple[Callable[[], None], ...]
    statistics: tuple[Callable[[], Mapping[str, float]], ...]
    troubles: Mapping[str, str]
    """What hinders a part at this moment, by its name in `readiness`."""


class LocalEngine:
    """The engine of this process."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: TokenStore,
        definitions: DefinitionStore,
        vault: Vault,
        runner: Runner,
        http: HttpCaller,
        to_coordinator: Mailbox[CoordinatorMessage],
        to_router: Mailbox[RouterMessage],
        levers: Levers,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._definitions = definitions
        self._vault = vault
        self._runner = runner
        self._http = http
        self._calls = trio.Semaphore(MAX_CALLS)
        self._to_coordinator = to_coordinator
        self._to_router = to_router
        self._levers = levers
        self._now = now
        self._is_draining = False

    @property
    def store(self) -> Store:
        return self._store

    @property
    def tokens(self) -> TokenStore:
        return self._tokens

    @property
    def definitions(self) -> DefinitionStore:
        return self._definitions

    @property
    def vault(self) -> Vault:
        return self._vault

    async def submit(self, submission: Submission) -> Accepted:
        check_names(
            workspace=submission.workspace,
            user=submission.user,
            name=submission.name,
            idempotency_key=submission.idempotency_key,
        )
        repeated = await self._find_repeated(submission)
        if repeated is not None:
            return repeated
        execution_id = new_execution_id(self._now())
        reply: Reply[WriteOutcome] = Reply()
        state = await _compile(submission, execution_id=execution_id)
        await self._check_secrets(submission, state.root.plan.secrets)
        self._to_coordinator.post_nowait(
            SubmitExecution(execution_id=execution_id, submission=submission, state=state, reply=reply)
        )
        match await _answer(reply):
            case Stored():
                return Accepted(id=execution_id, status=Status.QUEUED)
            case Duplicate(existing=existing, same_request=True):
                return Accepted(id=existing, status=Status.QUEUED, is_repeat=True)
            case Duplicate():
                raise IdempotencyConflictError(KEY_CONFLICT)
            case refused:
                raise ExecdError(f"a new execution was refused: {refused.why}")

    async def command(self, execution_id: ExecutionId, command: Command) -> None:
        reply: Reply[bool] = Reply()
        self._to_coordinator.post_nowait(SendCommand(execution_id=execution_id, command=command, reply=reply))
        if await _answer(reply):
            return
        record = await self._store.find_execution(execution_id)
        if record is None:
            raise NotFoundError(f"there is no execution {execution_id}")
        if not record.status.is_final:
            raise OverloadedError(
                f"the execution is {record.status}, but not in the hands of this execd now; ask again"
            )
        raise ConflictError(f"the execution is {record.status}: it takes no commands any more")

    async def find(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        return await self._store.find_execution(execution_id)

    async def make_call(self, call: ReadCall) -> CallEnd:
        async with self._calls:
            return await make_call(self._http, call, now=self._now)

    @asynccontextmanager
    async def subscribe(
        self, execution_id: ExecutionId, *, workspace: WorkspaceId, after_seq: int
    ) -> AsyncIterator[Subscription]:
        reply: Reply[Subscription] = Reply()
        question = Subscribe(execution_id=execution_id, workspace=workspace, after_seq=after_seq, reply=reply)
        try:
            subscription = await self._ask_router(question)
        except BaseException:
            # The router may still answer whom nobody hears any more: then the place is given back at once.
            reply.on_late_answer(lambda late: late.close())
            raise
        try:
            yield subscription
        finally:
            subscription.close()

    async def _ask_router(self, question: Subscribe) -> Subscription:
        """Wait for room too: a thousand viewers that come back at once are no reason to refuse one, and the router, which
        never waits for anybody, takes them as fast as it can."""
        with trio.move_on_after(ASK_DEADLINE_S):
            try:
                await self._to_router.tx.send(question)
            except trio.ClosedResourceError:
                raise OverloadedError("execd is shutting down", retry_after_s=5) from None
            return await question.reply.wait()
        raise OverloadedError(f"the stream router did not answer within {ASK_DEADLINE_S:.0f} s")

    async def readiness(self) -> Mapping[str, str]:
        report: dict[str, str] = {"engine": "draining" if self._is_draining else "ok"}
        report["store"] = await _health(self._store.check)
        report["sandbox"] = await _health(self._check_runner)
        # A small write of a check may pass while the writer's large one does not, as on a disk that is nearly full.
        return {**report, **self._levers.troubles}

    def statistics(self) -> Mapping[str, float]:
        merged: dict[str, float] = {}
        for read in self._levers.statistics:
            merged.update(read())
        merged["execd_coordinator_mailbox"] = self._to_coordinator.waiting_count
        merged["execd_router_mailbox"] = self._to_router.waiting_count
        return merged

    def drain(self) -> None:
        self._is_draining = True
        for lever in self._levers.drain:
            lever()

    async def _find_repeated(self, submission: Submission) -> Accepted | None:
        """Answer a repeated request from the store; two at one instant are told apart by the store's own index."""
        if submission.idempotency_key is None:
            return None
        earlier = await self._store.find_by_idempotency_key(submission.workspace, submission.idempotency_key)
        if earlier is None:
            return None
        if earlier.request_sha256 != submission.request_sha256:
            raise IdempotencyConflictError(KEY_CONFLICT)
        return Accepted(id=earlier.id, status=earlier.status, is_repeat=True)

    async def _check_secrets(self, submission: Submission, names: frozenset[str]) -> None:
        """Raises InvalidRequestError: it names one that is not there."""
        if names:
            known = {head.name for head in await self._vault.list(submission.workspace)}
            if not names <= known:
                check_known(submission.spec, known=known)

    async def _check_runner(self) -> None:
        report = await self._runner.report()
        broken = [check.found for check in report.checks if check.level == "fatal"]
        if not report.ready:
            raise ExecdError("; ".join(broken) or "no sandbox can be made")


async def _compile(submission: Submission, *, execution_id: ExecutionId) -> State:
    """Make the state before the first event; of a large graph beside the event loop, because it takes tens of milliseconds."""

    def make() -> State:
        return new_state(graph_of(submission.spec, name=submission.name), execution_id=execution_id)

    nodes = getattr(submission.spec, "nodes", ())
    return make() if len(nodes) <= LARGE_GRAPH_NODES else await trio.to_thread.run_sync(make)


LARGE_GRAPH_NODES = 500
"""A graph of so many is compiled in some 5 ms, as long as a thread may keep the interpreter to itself."""
KEY_CONFLICT = "this Idempotency-Key was used for another request; a new request needs a new key"


async def _answer(reply: Reply[T]) -> T:
    with trio.move_on_after(ASK_DEADLINE_S):
        return await reply.wait()
    raise StoreUnavailableError(f"no answer within {ASK_DEADLINE_S:.0f} s; whether it happened is not known")


async def _health(check: Callable[[], Awaitable[object]]) -> str:
    try:
        with trio.fail_after(CHECK_DEADLINE_S):
            await check()
    except ExecdError as error:
        return error.message
    except trio.TooSlowError:
        return f"no answer within {CHECK_DEADLINE_S:.0f} s"
    return "ok"


def new_execution_id(at: datetime) -> ExecutionId:
    """Give `exec-<unix ms>-<9 base36>`: sorts by time, and nobody guesses the rest."""
    return ExecutionId(f"exec-{round(at.timestamp() * 1000)}-{spell_tail(secrets.randbelow(TAILS))}")
