"""A flow of GETs, each journaled on disk and streamed, against the same requests in bare loops of the same process.

The floor is execd's own HTTP caller in a loop with a check of the status: what is above it is the engine's. Beside it stand
the least there is, h11 on a kept connection, and what people use: httpx2, and Node's own client (a process of its own, as the
server is one). All of them take turns, so that whatever else the machine does hits them alike.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h11
import httpx2
import trio

from execd.adapters.address_policy import AddressPolicy
from execd.adapters.http_caller import PooledHttpCaller, open_http_caller
from execd.core.codec import decode_event
from execd.core.events import ResultStored, Status, WorkspaceId
from execd.embed import EmbeddedEngine, open_engine
from execd.ports import HttpRequest
from execd.settings import QueueSettings, SandboxSettings, Settings, StreamSettings

W = WorkspaceId("default")
SERVER = Path(__file__).with_name("flow_server.mjs")
CLIENT = Path(__file__).with_name("flow_client.mjs")
HTTPX2 = "httpx2 in a loop"
AT_ONCE = 20

Loop = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class FlowCost:
    """One way to make the requests."""

    name: str
    ms_per_request: float
    ratio: float
    """Over the floor."""
    over_httpx2: float


def measure(count: int, rounds: int) -> list[FlowCost]:
    """Measure every way with so many requests."""
    with tempfile.TemporaryDirectory() as folder, _server() as url, _node_client() as ask_node:
        return trio.run(partial(_measure, Path(folder), url, ask_node, count, rounds))


@contextmanager
def _server() -> Iterator[str]:
    process = subprocess.Popen(["node", str(SERVER)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def _node_client() -> Iterator[Callable[[int, str], None]]:
    """Give what has a Node program make its requests, and waits for it."""
    process = subprocess.Popen(
        ["node", str(CLIENT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    asking, answering = process.stdin, process.stdout
    assert asking is not None
    assert answering is not None

    def ask(count: int, url: str) -> None:
        asking.write(f"{count} {url}\n")
        if not answering.readline():
            raise RuntimeError("the Node client ended")

    try:
        yield ask
    finally:
        process.kill()
        process.wait(10)


async def _measure(
    folder: Path, url: str, ask_node: Callable[[int, str], None], count: int, rounds: int
) -> list[FlowCost]:
    settings = Settings(
        data_dir=folder,
        sandbox=SandboxSettings(sandbox="none", warm_slots=0),
        queue=QueueSettings(slots=AT_ONCE),
        stream=StreamSettings(per_workspace=2 * AT_ONCE),
    )
    async with (
        open_http_caller(AddressPolicy(allow_private=True)) as caller,
        httpx2.AsyncClient() as client,
        open_engine(settings) as engine,
    ):
        ways: dict[str, tuple[int, Loop]] = {
            "execd's HTTP caller in a loop": (count, partial(_call_all, caller, url, count)),
            "bare h11 on a kept connection": (count, partial(_h11_all, url, count)),
            HTTPX2: (count, partial(_httpx_all, client, url, count)),
            "Node's own client in a loop": (count, partial(_node_all, ask_node, url, count)),
            "a flow": (count, partial(_flow, engine, _config(url, count, chained=False))),
            "a flow, each step using the answer before": (
                count,
                partial(_flow, engine, _config(url, count, chained=True)),
            ),
            f"{AT_ONCE} such flows at once": (
                count * AT_ONCE,
                partial(_flows_at_once, engine, _config(url, count, chained=False)),
            ),
        }
        times = await _take_turns(ways, rounds)
    floor = times["execd's HTTP caller in a loop"]
    return [FlowCost(name, ms, ms / floor, ms / times[HTTPX2]) for name, ms in times.items()]


async def _take_turns(ways: dict[str, tuple[int, Loop]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (requests, run) in ways.items():
            began = time.perf_counter()
            await run()
            if number:  # the first turn opens connections and warms caches
                taken[name].append((time.perf_counter() - began) * 1000 / requests)
    return {name: statistics.median(each) for name, each in taken.items()}


async def _call_all(caller: PooledHttpCaller, url: str, count: int) -> None:
    for number in range(count):
        answer = await caller.call(HttpRequest(method="GET", url=f"{url}/{number}"))
        if answer.status != 200:
            raise RuntimeError(f"answered with {answer.status}")


async def _h11_all(url: str, count: int) -> None:
    host, port = url.removeprefix("http://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        connection = h11.Connection(h11.CLIENT)
        for number in range(count):
            request = h11.Request(method="GET", target=f"/{number}", headers=[("Host", f"{host}:{port}")])
            data = (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
            await stream.send_all(data)
            await _h11_answer(connection, stream)
            connection.start_next_cycle()


async def _h11_answer(connection: h11.Connection, stream: trio.abc.Stream) -> None:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Response) and event.status_code != 200:
            raise RuntimeError(f"answered with {event.status_code}")
        elif isinstance(event, h11.EndOfMessage):
            return


async def _httpx_all(client: httpx2.AsyncClient, url: str, count: int) -> None:
    for number in range(count):
        (await client.get(f"{url}/{number}")).raise_for_status()


async def _node_all(ask: Callable[[int, str], None], url: str, count: int) -> None:
    """Blocks this process, which has nothing else to do meanwhile."""
    ask(count, url)


def _config(url: str, count: int, *, chained: bool) -> dict[str, Any]:
    nodes = [{"id": f"n{number}", "method": "GET", "url": f"/{number}"} for number in range(count)]
    if chained:
        for number in range(1, count):
            nodes[number]["url"] = f"/{{{{ .responses.n{number - 1}.id }}}}"
    return {"kind": "flow", "defaults": {"baseUrl": url}, "nodes": nodes}


async def _flow(engine: EmbeddedEngine, config: dict[str, Any]) -> None:
    """Run one, from the submit to the stored result in the hands of a viewer that follows all along."""
    run = await engine.submit_request(config)
    async with engine.port.subscribe(run.id, workspace=W, after_seq=0) as subscription:
        last = None
        while last is None or last.type != "result_stored":
            last = (await subscription.receive())[-1]
    result = decode_event(last.body).data
    assert isinstance(result, ResultStored)
    if result.status is not Status.COMPLETED:
        raise RuntimeError(str(result.error))


async def _flows_at_once(engine: EmbeddedEngine, config: dict[str, Any]) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(_flow, engine, config)
