"""The page when the server goes away: killed in the middle of what is watched, started again, and gone for good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_page import browser as browser
from tests.browser.test_page import node, run, sign_in
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

WAITING = json.dumps(
    {
        "kind": "workflow",
        "name": "outlives",
        "nodes": [
            {"id": "first", "type": "set", "values": "kept"},
            {"id": "ask", "type": "input", "needs": ["first"], "prompts": [{"key": "who", "label": "Who?"}]},
            {"id": "last", "type": "set", "needs": ["ask"], "values": "Hello {{ nodes.ask.output.who }}"},
        ],
    }
)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1100, "height": 760}) as context:
        yield context.new_page()


def test_a_killed_server_is_waited_for_and_nothing_shows_twice(page: Page, tmp_path: Path) -> None:
    """kill -9 in the middle: the page says so, comes back by itself, and goes on where it was, with what was asked."""
    first = ServerProcess(tmp_path)
    page.goto(first.url)
    sign_in(page, first.token)
    run(page, WAITING)
    expect(node(page, "ask")).to_have_attribute("data-status", "asking")

    first.kill()
    expect(page.locator("#link")).to_contain_text("reconnecting")
    page.get_by_label("Who?").fill("Ada")
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_role("alert").last).to_contain_text("The server does not answer")
    second = ServerProcess(tmp_path, port=first.port)

    expect(page.locator("#link")).to_be_hidden(timeout=20_000)
    expect(node(page, "ask")).to_have_count(1)
    expect(page.get_by_label("Who?")).to_have_value("Ada")
    page.get_by_role("button", name="Answer").click()
    expect(page.locator("#badge")).to_have_text("completed")
    expect(page.locator("#nodes > li .node-name")).to_have_text(["first", "ask", "last"])
    expect(node(page, "last")).to_contain_text("Hello Ada")
    expect(page.locator("#problem")).to_be_hidden()
    second.stop()
