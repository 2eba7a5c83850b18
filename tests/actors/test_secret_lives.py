"""Secrets through the real actors: read when they are needed, hidden in every stream, and known again after a crash."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from execd.adapters.aes_cipher import AesCipher
from execd.adapters.memory_store import MemoryStore
from execd.adapters.secret_vault import SecretVault
from execd.core.capture import output_bytes
from execd.core.codec import decode_event
from execd.core.errors import InvalidRequestError, StoreUnavailableError
from execd.core.events import Event, ExecutionId, NodeOutput, Output, OutputTruncated, ResultStored, Status, Stream
from execd.core.requests import parse_request
from execd.core.script_fields import ScriptTools
from execd.core.specs import Limits
from execd.core.workflows import ExecutionSpec
from execd.ports import HttpAnswer, HttpRequest, LlmAnswer, LlmRequest, OnDelta, ProvideInput, StoredSecret
from execd.settings import Settings, load_runtimes
from tests.support.engines import EPOCH, W, World, open_world
from tests.support.scripted_callers import ScriptedCallers, ok, said
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore

TOOLS = ScriptTools(runtimes=load_runtimes(Settings()), defaults=Limits(), caps=Limits())
KEY = "sk-live-very-secret"
BASH = {"type": "script", "language": "bash", "source": "true"}


def workflow(*nodes: dict[str, Any]) -> ExecutionSpec:
    numbered = [{"id": f"n{number}", **node} for number, node in enumerate(nodes)]
    return parse_request({"kind": "workflow", "nodes": numbered}, TOOLS).spec


async def quiet(pod: ScriptedPod) -> None:
    await pod.exit(0)


async def set_key(world: World, value: str = KEY) -> None:
    await world.engine.vault.put(W, "KEY", value, by="u", at=EPOCH)


def result_of(events: list[Event]) -> ResultStored:
    assert isinstance(events[-1].data, ResultStored)
    return events[-1].data


def check_silent(store: MemoryStore, *secrets: str) -> None:
    """Nothing that is kept has them: records, journals, sealed rows."""
    kept = b"".join(event.body for journal in store.journals.values() for event in journal)
    kept += b"".join(record.spec for record in store.records.values())
    for secret in secrets:
        assert secret.encode() not in kept
        assert base64.b64encode(secret.encode()) not in kept


async def test_a_secret_that_is_not_there_is_refused_at_submit(autojump_clock: trio.testing.MockClock) -> None:
    """With the path, and before anything is stored; of another workspace it is not there either."""
    async with open_world(quiet) as world:
        await world.engine.vault.put("other", "KEY", KEY, by="u", at=EPOCH)  # type: ignore[arg-type] # a workspace
        with pytest.raises(InvalidRequestError) as caught:
            await world.submit(spec=workflow({"type": "set", "values": ["{{ secrets.KEY }}"]}))

        assert [fault.path for fault in caught.value.faults] == ["nodes[0].values[0]"]
        assert not world.store.records


async def test_programs_get_secrets_and_their_streams_are_masked(autojump_clock: trio.testing.MockClock) -> None:
    """However the pipe cuts it; the head of the stream in the result, and the counts, are of what was told."""

    async def echo(pod: ScriptedPod) -> None:
        key = pod.request.spec.env["TOKEN"].encode()
        for piece in (b"it is ", key[:7], key[7:], b"\n", base64.b64encode(b"u:" + key), b"\n", key[:-1]):
            await pod.write(piece)
        await pod.write(key, Stream.STDERR)
        await pod.exit(0)

    script = parse_request({"language": "bash", "source": "true", "secrets": {"TOKEN": "KEY"}}, TOOLS).spec
    async with open_world(echo) as world:
        await set_key(world)
        events = await world.watch(await world.submit(spec=script))

        result = result_of(events)
        told = [event.data for event in events if isinstance(event.data, Output)]
        stdout = b"".join(output_bytes(output) for output in told if output.stream is Stream.STDOUT)
        assert stdout.decode() == result.stdout
        assert stdout.startswith(b"it is ***\n")
        assert result.stdout is not None
        assert result.stdout.endswith(f"\n{KEY[:-1]}")
        assert result.stderr == "***"
        assert result.streams[Stream.STDOUT].total_bytes == len(stdout)
        offsets = [(output.offset, len(output_bytes(output))) for output in told if output.stream is Stream.STDOUT]
        assert all(first[0] + first[1] == second[0] for first, second in pairwise(offsets))
        check_silent(world.store, KEY)


async def test_what_a_limit_cut_in_a_secret_counts_as_dropped(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is lost silently, and most of a key is not told."""

    async def cut_off(pod: ScriptedPod) -> None:
        await pod.write(b"it is " + KEY.encode()[:-2])
        await pod.drop(2)
        await pod.exit(0)

    script = parse_request({"language": "bash", "source": "true", "secrets": {"TOKEN": "KEY"}}, TOOLS).spec
    async with open_world(cut_off) as world:
        await set_key(world)
        events = await world.watch(await world.submit(spec=script))

        (truncated,) = [event.data for event in events if isinstance(event.data, OutputTruncated)]
        assert truncated.dropped_bytes == len(KEY)
        assert result_of(events).stdout == "it is "
        assert result_of(events).streams[Stream.STDOUT].total_bytes == len("it is ") + len(KEY)


async def test_calls_send_secrets_and_tell_none(autojump_clock: trio.testing.MockClock) -> None:
    """The request has it, the words of the model that come in pieces have not."""

    async def serve(request: HttpRequest) -> HttpAnswer:
        await trio.lowlevel.checkpoint()
        return ok(f"you said {request.url} {KEY}".encode())

    async def speak(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        for piece in ("it is ", KEY[:5], KEY[5:], "!"):
            await on_delta(piece)
            await trio.sleep(1)
        return said(f"it is {KEY}!")

    callers = ScriptedCallers(serve=serve, speak=speak)
    spec = workflow(
        {"type": "http", "url": "https://x.example/{{ secrets.KEY }}"},
        {"type": "llm", "base_url": "https://x.example", "model": "m", "prompt": "{{ secrets.KEY }}"},
    )
    async with open_world(quiet, callers=callers.callers) as world:
        await set_key(world)
        events = await world.watch(await world.submit(spec=spec))

        assert KEY in str([made.request.url for made in callers.made if isinstance(made.request, HttpRequest)])
        assert result_of(events).status is Status.COMPLETED
        assert result_of(events).outputs["n1"]["text"] == "it is ***!"
        assert "".join(event.data.delta for event in events if isinstance(event.data, NodeOutput)) == "it is ***!"
        check_silent(world.store, KEY)


async def test_a_secret_deleted_after_submit_fails_what_needs_it(autojump_clock: trio.testing.MockClock) -> None:
    """Also when it runs already: what comes later reads what there is then, and the rest is not touched."""
    spec = workflow(
        {"type": "set", "values": "{{ secrets.KEY | length }}"},
        {"type": "wait", "needs": ["n0"], "seconds": 10},
        BASH | {"needs": ["n1"], "secrets": {"TOKEN": "KEY"}},
    )
    async with open_world(quiet) as world:
        await set_key(world)
        execution_id = await world.submit(spec=spec)
        await trio.sleep(5)
        await world.engine.vault.delete(W, "KEY")
        result = result_of(await world.watch(execution_id))

        assert [node.status for node in result.nodes] == ["completed", "completed", "failed"]
        assert result.error is not None
        assert (result.error.code, "'KEY'" in result.error.message) == ("secret_missing", True)
        assert not world.runner.started


async def test_a_flow_never_sends_a_placeholder_in_place_of_a_secret(autojump_clock: trio.testing.MockClock) -> None:
    """The name was known at submit, so a value that has gone since is a failure, and no text like any other."""
    step = {"id": "a", "method": "GET", "url": "https://x.example/{{ .secrets.KEY }}"}
    asking = {**step, "userPrompts": {"go": "Go on?"}}
    spec = parse_request({"kind": "flow", "name": "f", "secrets": ["KEY"], "nodes": [asking]}, TOOLS).spec
    callers = ScriptedCallers()
    async with open_world(quiet, callers=callers.callers) as world:
        await set_key(world)
        execution_id = await world.submit(spec=spec)
        await trio.sleep(5)
        await world.engine.vault.delete(W, "KEY")
        await world.engine.command(execution_id, ProvideInput(by="u", prompt_id="a.prompts.1", values={"go": "yes"}))
        result = result_of(await world.watch(execution_id))

        assert result.status is Status.FAILED
        assert result.error is not None
        assert "'KEY'" in result.error.message
        assert not callers.made


async def test_a_secret_deleted_in_the_queue_fails_a_script_before_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The place that was chosen for it is given back."""
    script = parse_request({"language": "bash", "source": "true", "secrets": {"TOKEN": "KEY"}}, TOOLS).spec

    async def long(pod: ScriptedPod) -> None:
        await trio.sleep(10)
        await pod.exit(0)

    async with open_world(long) as world:
        await set_key(world)
        for _ in range(4):
            await world.submit()
        execution_id = await world.submit(spec=script)
        await world.engine.vault.delete(W, "KEY")
        result = result_of(await world.watch(execution_id))

        assert result.status is Status.FAILED
        assert result.error is not None
        assert result.error.code == "secret_missing"
        assert len(world.runner.started) == 4


async def test_a_changed_secret_is_used_from_the_next_step_on(autojump_clock: trio.testing.MockClock) -> None:
    """A key that was replaced while a workflow waited; and the former one stays hidden."""
    seen: list[str] = []

    async def note(pod: ScriptedPod) -> None:
        seen.append(pod.request.spec.env["TOKEN"])
        await pod.write(f"{KEY} and {seen[-1]}".encode())
        await pod.exit(0)

    uses = BASH | {"secrets": {"TOKEN": "KEY"}}
    spec = workflow(uses, {"type": "wait", "needs": ["n0"], "seconds": 10}, uses | {"needs": ["n1"]})
    async with open_world(note) as world:
        await set_key(world)
        execution_id = await world.submit(spec=spec)
        await trio.sleep(5)
        await set_key(world, "sk-the-newer-one")
        result = result_of(await world.watch(execution_id))

        assert seen == [KEY, "sk-the-newer-one"]
        assert result.outputs["n2"]["stdout"] == "*** and ***"
        check_silent(world.store, KEY, "sk-the-newer-one")


class _AwayVault(SecretVault):
    """A vault whose store is away for the first readings."""

    failures = 3

    async def read(self, *arguments: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("the disk is full")
        return await super().read(*arguments)


async def test_a_store_that_is_away_at_the_start_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    """A node would fail for a secret that is there."""
    store = MemoryStore()
    vault = _AwayVault(store.secrets, AesCipher([b"k" * 32]))
    async with open_world(quiet, store=store, vault=vault) as world:
        await set_key(world)
        result = result_of(
            await world.watch(
                await world.submit(spec=workflow({"type": "set", "values": "{{ secrets.KEY | length }}"}))
            )
        )

        assert result.outputs == {"n0": len(KEY)}


# --- answers


async def live(store: MemoryStore, script: Any, deed: Any) -> None:
    """Run execd on these contents until the deed is done, and kill it."""
    store.leases.clear()
    troubled = TroubledStore(store)
    with trio.CancelScope() as killed:
        async with open_world(script, store=troubled) as world:
            await deed(world)
            troubled.dies_at = 0
            killed.cancel()


async def test_a_secret_answer_survives_a_crash_and_is_told_to_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """It was typed in the first life and is used in the third; records have it sealed only."""
    spec = workflow(
        {
            "type": "input",
            "prompts": [{"key": "user", "label": "User"}, {"key": "pass", "label": "Pass", "secret": True}],
        },
        {"type": "wait", "needs": ["n0"], "seconds": 20},
        BASH | {"needs": ["n1"], "env": {"TOKEN": "{{ nodes.n0.output.pass }}", "KEY": "{{ secrets.KEY }}"}},
    )
    contents = MemoryStore()
    seen: list[str] = []

    async def echo(pod: ScriptedPod) -> None:
        seen.extend((pod.request.spec.env["TOKEN"], pod.request.spec.env["KEY"]))
        await pod.write(" ".join(seen).encode())
        await pod.exit(0)

    async def begin(world: World) -> None:
        await set_key(world)
        execution_id = await world.submit(spec=spec)
        await trio.sleep(1)
        values = {"user": "ada", "pass": "typed-in-secret"}
        await world.engine.command(execution_id, ProvideInput(by="u", prompt_id="n0.1", values=values))

    async def wait(world: World) -> None:
        await trio.sleep(2)

    await live(contents, echo, begin)
    await live(contents, echo, wait)
    contents.leases.clear()
    async with open_world(echo, store=contents) as world:
        (execution_id,) = contents.records
        result = result_of(await world.watch(ExecutionId(execution_id)))

    assert seen == ["typed-in-secret", KEY]
    assert result.outputs["n0"] == {"user": "ada", "pass": "***"}
    assert result.outputs["n2"]["stdout"] == "*** ***"
    check_silent(contents, KEY, "typed-in-secret")
    (received,) = [event for event in contents.journals[execution_id] if event.type == "input_received"]
    assert list(decode_event(received.body).data.sealed) == ["pass"]  # type: ignore[attr-defined] # by its type


async def test_a_refused_answer_may_be_given_again(autojump_clock: trio.testing.MockClock) -> None:
    """A typing error must not cost the workflow, and what was typed wrongly is told to nobody either."""
    spec = workflow(
        {"type": "input", "prompts": [{"key": "pass", "label": "Pass", "secret": True}]},
        BASH | {"needs": ["n0"], "env": {"TOKEN": "{{ nodes.n0.output.pass }}"}},
    )
    async with open_world(quiet) as world:
        execution_id = await world.submit(spec=spec)
        await trio.sleep(1)
        for values in ({"pass": "abc"}, {}, {"pass": "typed-wrong", "other": "x"}):
            with pytest.raises(InvalidRequestError):
                await world.engine.command(execution_id, ProvideInput(by="u", prompt_id="n0.1", values=values))
        right = ProvideInput(by="u", prompt_id="n0.1", values={"pass": "typed-right"})
        await world.engine.command(execution_id, right)
        await world.watch(execution_id)

        assert world.runner.started[0].spec.env == {"TOKEN": "typed-right"}
        check_silent(world.store, "typed-right", "typed-wrong")


async def test_secrets_are_kept_encrypted(autojump_clock: trio.testing.MockClock) -> None:
    """What the store is given to keep is not the value."""
    async with open_world(quiet) as world:
        await set_key(world)
        (stored,) = await world.store.secrets.all_secrets()

        assert isinstance(stored, StoredSecret)
        assert KEY not in stored.sealed
