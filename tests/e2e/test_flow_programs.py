"""Flows with real programs in real sandboxes, and real requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

import execd
from execd.core.events import ResultStored
from execd.embed import EmbeddedEngine
from execd.settings import Settings
from tests.support.flows import TRIGGER, drawn
from tests.support.wild_server import always, answer, open_server

pytestmark = pytest.mark.slow


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with execd.open_engine(Settings(data_dir=tmp_path)) as opened:
        yield opened


async def finish(engine: EmbeddedEngine, flow: dict[str, Any], given: Any = None) -> ResultStored:
    run = await engine.submit_request({"kind": "reactflow", **flow, "input": given})
    with trio.fail_after(60):
        async for event in run.events():
            last = event
    assert isinstance(last.data, ResultStored)
    return last.data


async def run_code(engine: EmbeddedEngine, code: str, language: str = "python") -> ResultStored:
    flow = drawn(TRIGGER, ("c", "action-code", {"code": code, "language": language}))
    return await finish(engine, flow, {"n": 21})


@pytest.mark.parametrize(
    ("language", "code", "result"),
    [
        ("python", "print('not the result')\nresult = input['trigger_1']['n'] * 2", 42),
        ("python", "import datetime\nresult = {'at': datetime.date(2026, 1, 1), 'nan': [1.5]}", {"at": "2026-01-01", "nan": [1.5]}),
        ("python", "def f(x):\n    return f(x - 1) + 1 if x else 0\nresult = f(5)", 5),
        ("python", "result = 'ü' * 3 + chr(0)", "üüü\0"),
        ("python", "result = 'a' + chr(0xd800)", "a?"),
        ("python", "pass", None),
        ("javascript", "console.log('not the result'); return input.trigger_1.n * 2", 42),
        ("javascript", "const x = await Promise.resolve([1, 'ü']); return { x }", {"x": [1, "ü"]}),
        ("javascript", "input.n", None),
        ("javascript", "return 'a\\ud800'", "a\ufffd"),
    ],
)  # fmt: skip
async def test_a_program_gives_its_result(engine: EmbeddedEngine, language: str, code: str, result: Any) -> None:
    """Python sets `result`, JavaScript returns it; what is printed is not taken for it."""
    ended = await run_code(engine, code, language)
    assert ended.error is None
    assert ended.outputs["c"]["result"] == result
    assert ended.outputs["c"]["executed"] is True


@pytest.mark.parametrize(
    ("language", "code", "words"),
    [
        ("python", "x = 1\n1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("python", "x = (", "SyntaxError"),
        ("python", "import os\nos._exit(0)", "ended by itself"),
        ("python", "import sys\nsys.exit(3)", "3"),
        ("python", "result = 'x' * 400_000", "larger than"),
        ("python", "result = []\nfor _ in range(300):\n    result = [result]", "nested more than 100"),
        ("javascript", "throw new TypeError('no')", "TypeError: no"),
        ("javascript", "return 1n", "BigInt"),
        ("python", "import socket\nsocket.create_connection(('1.1.1.1', 53), 1)", "Error"),
        ("python", "open('/etc/passwd', 'w')", "Error"),
    ],
)
async def test_a_program_that_fails_says_why(engine: EmbeddedEngine, language: str, code: str, words: str) -> None:
    """The exception's own words; no result is invented, and the sandbox holds."""
    ended = await run_code(engine, code, language)
    assert ended.error is not None
    assert words in ended.error.message


async def test_a_request_is_made_and_its_answer_read_by_what_follows(engine: EmbeddedEngine) -> None:
    """`{{http.got}}` finds the field of the body; a program gets the whole as data."""
    replied = answer(b'{"got": [1, "two"]}', headers=("Content-Type: application/json",))
    async with open_server(always(replied)) as server:
        flow = drawn(
            TRIGGER,
            ("http_1", "action-http", {"url": server.url("/a"), "method": "POST", "body": {"q": "{{trigger.q}}"}}),
            ("c", "action-code", {"code": "result = input['http_1']['status']"}),
            ("r", "response-data", {"body": {"code": "{{c.result}}", "got": "{{http.got}}"}}),
        )
        ended = await finish(engine, flow, {"q": "ü"})

    assert ended.error is None
    assert ended.outputs["r"]["body"] == {"code": 200, "got": [1, "two"]}
    assert (server.requests[0].method, server.requests[0].body) == ("POST", '{"q":"ü"}'.encode())
    assert server.requests[0].headers["content-type"] == "application/json"


async def test_a_message_is_really_delivered_or_the_node_fails(engine: EmbeddedEngine) -> None:
    """A webhook that refuses is a failure of the node."""
    flow = drawn(("m", "action-send-message", {"message": "hi", "webhook_url": "?"}))
    for reply, delivered in ((answer(b"ok"), True), (answer(b"no", status="500 No"), False)):
        async with open_server(always(reply)) as server:
            flow["data"]["nodes"][0]["data"]["config"]["webhook_url"] = server.url("/hook")
            ended = await finish(engine, flow)
        assert b'"message":"hi"' in server.requests[0].body
        assert (ended.error is None) is delivered
