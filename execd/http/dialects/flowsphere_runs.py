"""Running flows in the FlowSphere dialect: `/api/execute-stream`, `/api/execute`, and what speaks to a run by its id.

A run is an execution like any other: journaled, listed, followed by the native stream too. It belongs to whoever waits for it:
when they go away, it is interrupted, unless they asked to detach.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import trio
from quart import Quart, Response, request

from execd.core.codec import decode_event
from execd.core.errors import (
    ConflictError,
    ExecdError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    StoreUnavailableError,
)
from execd.core.events import ExecutionId, InputRequired
from execd.core.flows.configs import prompts_of, rows_of, table_of
from execd.core.flows.js_values import is_truthy, js_text
from execd.core.flows.sizes import MAX_NODES
from execd.core.flows.specs import FlowSpec
from execd.core.flows.validator import validate
from execd.core.http_answers import MAX_JSON_DEPTH, depth_fits
from execd.core.script_fields import MAX_NAME_CHARS
from execd.core.workflows import decode_spec
from execd.http.access import Identity, Role
from execd.http.answers import JSON_TYPE, empty_response
from execd.http.beside import read_beside
from execd.http.boundary import resources_of
from execd.http.cursors import MAX_SEQ_DIGITS
from execd.http.dialects.flowsphere import CONTENT_TYPE, HEADERS, Drawing, Teller
from execd.http.dialects.flowsphere_door import (
    admit,
    answer_json,
    config_of,
    in_flowsphere_shape,
    is_without_credential,
    read_table,
    refuse,
)
from execd.http.dialects.flowsphere_feed import FlowFeed
from execd.http.dialects.flowsphere_steps import cli_step
from execd.http.executions import find_visible
from execd.http.front import Front
from execd.http.sse import EventStreamBody, Pace
from execd.http.streams import check_place, pace_of, stream_response
from execd.ports import Cancel, EvictedError, ExecutionRecord, Interrupt, ProvideInput, Submission, Subscription

NAME = "FlowSphere"
"""Of a run whose config has none."""
NO_INPUT = "No pending input request found"
MISSING_PLACE = "Missing executionId or stepIndex"
NOT_VALID = "Config validation failed. Please fix the errors above and try again."
MAX_ANSWER_BYTES = 256 * 1024
"""Of everything a person says at one time: it stands in the journal twice."""
SUBMIT_DEADLINE_S = 15.0
"""Longer than the engine takes to say that it cannot say."""
ASK_AGAIN_S = 0.05


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to run and show a flow; all but the first are execd's own."""

    start_step: int = 0
    detach: bool = False
    """Whether it goes on when its client goes away."""
    has_log: bool = True
    """Whether the last frame repeats the steps."""
    beats: bool = False
    """Whether silence is broken by comments. Not for FlowSphere's page."""
    input: Mapping[str, Any] = {}
    """Answers to prompts, where nobody can be asked."""


def parse_options(body: Mapping[str, Any]) -> RunOptions:
    """Read `options`; what cannot be read is as if it were not there."""
    options = table_of(body.get("options"))
    return RunOptions(
        start_step=_start_step(options.get("startStep")),
        detach=options.get("detach") is True,
        has_log=options.get("executionLog") is not False,
        beats=options.get("heartbeats") is True,
        input=table_of(options.get("userInput")),
    )


def _start_step(value: Any) -> int:
    """Steps whose place is less are skipped, also of 1.5."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:6])
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return 0
    return max(0, math.ceil(min(value, MAX_NODES)))


def name_of(config: Mapping[str, Any]) -> str:
    """Give a name for lists, from a config that may have any."""
    name = config.get("name")
    shown = "".join(char for char in name if char.isprintable()).strip() if isinstance(name, str) else ""
    return shown[:MAX_NAME_CHARS] or NAME


@dataclass(frozen=True, slots=True)
class FlowRun:
    """A run that somebody waits for."""

    front: Front
    id: ExecutionId
    identity: Identity
    drawing: Drawing

    async def subscribe(self, after_seq: int) -> Subscription:
        """Follow its journal until the request is over."""
        following = self.front.engine.subscribe(self.id, workspace=self.identity.workspace, after_seq=after_seq)
        return await resources_of(request.scope).enter_async_context(following)

    async def interrupt(self) -> None:
        """Let the step in flight finish, and start nothing after it. What is over already is left as it is."""
        while True:
            try:
                await self.front.engine.command(self.id, Interrupt(by=self.identity.user))
            except OverloadedError:
                await trio.sleep(ASK_AGAIN_S)
            except ExecdError:
                return
            else:
                return


async def begin_run(front: Front, identity: Identity, config: dict[str, Any], start_step: int) -> FlowRun:
    """Submit a flow, valid or not.

    Raises:
        DataError: its rows of data cannot be read.
        ExecdError: as `Engine.submit`.
    """
    spec = FlowSpec(config=config, start_step=start_step)
    drawing = await read_beside(lambda: Drawing(spec))
    submission = Submission(workspace=identity.workspace, user=identity.user, name=name_of(config), spec=spec)
    accepted = await front.engine.submit(submission)
    return FlowRun(front, accepted.id, identity, drawing)


class FlowsphereRuns:
    """`/api/execute-stream`, `/api/execute`, `/api/provide-input`, `/api/stop`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        routes = {
            "execute-stream": self.stream,
            "execute": self.execute,
            "provide-input": self.provide_input,
            "stop": self.stop,
        }
        for path, handler in routes.items():
            name = f"flowsphere_{path.replace('-', '_')}"
            app.add_url_rule(f"/api/{path}", name, in_flowsphere_shape(handler), methods=["POST"])
        again = in_flowsphere_shape(self.stream_again)
        app.add_url_rule("/api/execute-stream/<execution_id>", "flowsphere_stream_again", again, methods=["GET"])

    async def stream(self) -> Response:
        """Nothing is refused once the run has begun: what goes wrong then is told in the stream."""
        identity = await admit(self._front, request, Role.RUNNER)
        body = await read_table(request)
        config, options = await read_beside(lambda: config_of(body)), parse_options(body)
        await check_place(self._front, identity)
        run, attention = await self._begin(identity, config, options)
        teller = Teller(run.id, run.drawing, has_log=options.has_log)
        feed = FlowFeed(await run.subscribe(0), teller, subscribe=run.subscribe, beats=options.beats)
        attention.feed = feed
        return self._respond(run, feed)

    async def stream_again(self, execution_id: str) -> Response:
        """Three cases: nothing follows the cursor; only the headers are asked for; the frames after it."""
        identity = await admit(self._front, request, Role.VIEWER)
        record, spec = await self._find(identity, execution_id)
        after_seq = _read_cursor(record)
        if record.status.is_final and after_seq == record.head_seq:
            return empty_response(204)
        if request.method == "HEAD":
            return Response(b"", headers=HEADERS, content_type=CONTENT_TYPE)
        run = FlowRun(self._front, record.id, identity, await read_beside(lambda: Drawing(spec)))
        feed = FlowFeed(
            await run.subscribe(0),
            Teller(run.id, run.drawing),
            subscribe=run.subscribe,
            after_seq=after_seq,
            beats=True,
        )
        return self._respond(run, feed)

    async def _begin(
        self, identity: Identity, config: dict[str, Any], options: RunOptions
    ) -> tuple[FlowRun, _Attention]:
        """Begin a run that has an owner from the first moment, also if its client goes away in it."""
        stack = resources_of(request.scope)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + SUBMIT_DEADLINE_S):
            run = await begin_run(self._front, identity, config, options.start_step)
            return run, _Attention(run, stack, is_detached=options.detach)
        raise StoreUnavailableError(f"no answer within {SUBMIT_DEADLINE_S:.0f} s; whether it was begun is not known")

    def _respond(self, run: FlowRun, feed: FlowFeed) -> Response:
        body = EventStreamBody(feed, self._pace(run.identity))
        headers = HEADERS | {"X-Execution-Id": run.id}
        return stream_response(self._front, body, headers=headers, content_type=CONTENT_TYPE)

    def _pace(self, identity: Identity) -> Pace:
        """As any stream's, but for its age: a reader that cannot come back is not asked to."""
        pace = pace_of(self._front, identity)
        lifetime_s = math.inf if pace.lifetime_reason == "lifetime" else pace.lifetime_s
        may_stay = _always if is_without_credential(identity) else pace.may_stay
        return replace(pace, retry_ms=None, lifetime_s=lifetime_s, may_stay=may_stay)

    async def execute(self) -> Response:
        """Run a flow, wait, and answer with its log as the command line has it."""
        identity = await admit(self._front, request, Role.RUNNER)
        body = await read_table(request)
        config, options = await read_beside(lambda: config_of(body)), parse_options(body)
        errors = await read_beside(lambda: validate(config))
        if errors:
            return answer_json({"success": False, "error": NOT_VALID, "errors": errors}, status=400)
        asked = _unanswered(config, options)
        if asked:
            return refuse(f"Nobody can be asked here: give options.userInput with {', '.join(asked)[:500]}")
        await check_place(self._front, identity)
        run, attention = await self._begin(identity, config, options)
        attention.answer = await self._wait_for(run, options)
        return Response(attention.answer, content_type=JSON_TYPE, headers={"X-Execution-Id": run.id})

    async def _wait_for(self, run: FlowRun, options: RunOptions) -> bytes:
        teller = Teller(run.id, run.drawing, has_log=options.has_log, shape=cli_step)
        subscription = await run.subscribe(0)
        data = b""
        while True:
            try:
                events = await subscription.receive()
            except trio.EndOfChannel:
                return data
            except EvictedError as error:
                if error.reason == "draining":
                    raise OverloadedError(f"execd is going down; the run is {run.id}", retry_after_s=5) from None
                subscription = await run.subscribe(error.last_seq)
                continue
            for event in events:
                frames = teller.tell(event)
                data = frames[-1].data if frames else data
                if event.type == "input_required":
                    await self._answer_for(run, event.body, options.input)

    async def _answer_for(self, run: FlowRun, body: bytes, answers: Mapping[str, Any]) -> None:
        asked = decode_event(body).data
        assert isinstance(asked, InputRequired)
        values = {prompt.key: answers[prompt.key] for prompt in asked.prompts if prompt.key in answers}
        command = ProvideInput(by=run.identity.user, prompt_id=asked.prompt_id, values=values)
        await self._front.engine.command(run.id, command)

    async def provide_input(self) -> Response:
        identity = await admit(self._front, request, Role.RUNNER)
        body = await read_table(request)
        if not is_truthy(body.get("executionId")) or "stepIndex" not in body:
            return refuse(MISSING_PLACE)
        values = _parse_answers(body.get("userInput"))
        try:
            record, spec = await self._find(identity, js_text(body["executionId"]))
            drawing = await read_beside(lambda: Drawing(spec))
            prompt_id = drawing.prompt_of(_parse_index(body["stepIndex"]))
            if prompt_id is None:
                raise NotFoundError(NO_INPUT)
            await self._front.engine.command(
                record.id, ProvideInput(by=identity.user, prompt_id=prompt_id, values=values)
            )
        except (NotFoundError, ConflictError):
            return refuse(NO_INPUT, status=404)
        return answer_json({"success": True})

    async def stop(self) -> Response:
        """Interrupt a run: the step in flight finishes. With `mode: "cancel"` it is broken off."""
        identity = await admit(self._front, request, Role.RUNNER)
        body = await read_table(request)
        mode = body.get("mode", "interrupt")
        if not isinstance(body.get("executionId"), str) or mode not in ("interrupt", "cancel"):
            return refuse("Missing executionId, or a mode that is neither interrupt nor cancel")
        try:
            record = await find_visible(self._front, identity, body["executionId"])
            stop = Cancel if mode == "cancel" else Interrupt
            await self._front.engine.command(record.id, stop(by=identity.user))
        except NotFoundError:
            return refuse("Execution not found", status=404)
        except ConflictError:
            return refuse("Execution is over", status=409)
        return answer_json({"success": True})

    async def _find(self, identity: Identity, execution_id: str) -> tuple[ExecutionRecord, FlowSpec]:
        record = await find_visible(self._front, identity, execution_id)
        if record.kind != "flow":
            raise NotFoundError("Execution is no flow")
        spec = decode_spec(record.spec, kind=record.kind)
        assert isinstance(spec, FlowSpec)
        return record, spec


class _Attention:
    """Whether somebody still waits for a run. Given back with its request: a run that is not over then is interrupted.

    A server that goes down interrupts nothing: the run is found by its id.
    """

    def __init__(self, run: FlowRun, stack: AsyncExitStack, *, is_detached: bool) -> None:
        self.feed: FlowFeed | None = None
        self.answer: bytes | None = None
        self._run = run
        self._is_detached = is_detached
        stack.push_async_callback(self._leave)

    async def _leave(self) -> None:
        is_over = self.answer is not None or (self.feed is not None and self.feed.is_complete)
        if not (is_over or self._is_detached or self._run.front.streams.is_draining):
            await self._run.interrupt()


async def _always() -> bool:
    return True


def _read_cursor(record: ExecutionRecord) -> int:
    """What is no seq of this journal is no cursor."""
    text = request.headers.get("Last-Event-ID") or request.args.get("after") or ""
    is_seq = text.isascii() and text.isdigit() and len(text) <= MAX_SEQ_DIGITS
    return int(text) if is_seq and int(text) <= record.head_seq else 0


def _parse_index(value: Any) -> int:
    """`"0"` is 0; what is no place is that of no step."""
    text = js_text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_SEQ_DIGITS else -1


def _parse_answers(value: Any) -> dict[str, Any]:
    """Read `userInput`; what JavaScript takes for false is no answer. Raises InvalidRequestError."""
    if not is_truthy(value):
        return {}
    if not isinstance(value, dict):
        raise InvalidRequestError("userInput must be an object of answers")
    if not depth_fits(value, MAX_JSON_DEPTH) or len(msgspec.json.encode(value)) > MAX_ANSWER_BYTES:
        raise InvalidRequestError(f"userInput is over {MAX_ANSWER_BYTES} bytes, or deeper than {MAX_JSON_DEPTH} levels")
    return value


def _unanswered(config: Mapping[str, Any], options: RunOptions) -> list[str]:
    """Name what would be asked and has no answer, each once."""
    found: dict[str, None] = {}
    for key, first in (("nodes", options.start_step), ("finally", 0)):
        for node in rows_of(config.get(key))[first:]:
            found |= dict.fromkeys(name for name in prompts_of(table_of(node)) if name not in options.input)
    return list(found)
