"""The page, in a real browser against a real server: paste, run, see it live, cancel, replay, and be told what is wrong.

Playwright's synchronous API runs an event loop of its own, so these tests are plain functions and trio stays out.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIVE = """
import sys
print("first line", flush=True)
name = input()
print("hello", name, flush=True)
print("a word on stderr", file=sys.stderr, flush=True)
sys.exit(3)
"""
"""Cannot end before somebody who saw its first line has answered: what shows before was shown live."""
ENDLESS = """
import time
print("here I am", flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give one server to all tests here: each looks at its own executions only."""
    running = ServerProcess(tmp_path_factory.mktemp("data"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give one Chromium to all tests here."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(server: ServerProcess, browser: Browser) -> Iterator[Page]:
    """Give the page to a visitor who has signed in; an error of the page fails the test."""
    with browser.new_context(viewport={"width": 1100, "height": 760}) as context:
        fresh = context.new_page()
        errors: list[str] = []
        fresh.on("pageerror", lambda error: errors.append(str(error)))
        fresh.goto(server.url)
        sign_in(fresh, server.token)
        yield fresh
        assert errors == []


def sign_in(page: Page, token: str) -> None:
    """Type the token and wait for the editor."""
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()


def run(page: Page, source: str) -> None:
    """Paste a script and run it with the keyboard."""
    page.get_by_label("Script source").fill(source)
    page.keyboard.press("Control+Enter")


def test_output_shows_before_the_script_ends(page: Page) -> None:
    """The point of it all: what a script writes is on the screen while it runs, and then its verdict."""
    run(page, LIVE)
    expect(page.locator("#output .stdout").first).to_contain_text("first line")
    expect(page.locator("#badge")).to_have_text("running")

    page.get_by_label("stdin").fill("Ada")
    page.keyboard.press("Enter")

    expect(page.locator("#badge")).to_have_text("failed")
    expect(page.locator("#output")).to_contain_text("hello Ada")
    expect(page.locator("#output .stderr")).to_contain_text("a word on stderr")
    expect(page.locator("#detail")).to_contain_text("exit 3")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_cancel_ends_a_script_that_would_not(page: Page) -> None:
    """One click ends what would run for ever, and the page says so."""
    run(page, ENDLESS)
    expect(page.locator("#output")).to_contain_text("here I am")

    page.get_by_role("button", name="Cancel").click()

    expect(page.locator("#badge")).to_have_text("cancelled")


def test_permalink_replays_an_execution(page: Page) -> None:
    """An address sent to a colleague shows the whole run, script and all, as does a click in the list."""
    run(page, "print('to be seen again')")
    expect(page.locator("#badge")).to_have_text("completed")
    address = page.url

    page.goto("about:blank")
    page.goto(address)

    expect(page.locator("#output")).to_contain_text("to be seen again")
    expect(page.locator("#badge")).to_have_text("completed")
    expect(page.locator("#recent a[aria-current=true]")).to_have_attribute("href", "#" + urlsplit(address).fragment)


def test_refusal_names_the_field(page: Page) -> None:
    """A request that cannot be run says which field was wrong and leaves the page usable."""
    run(page, "")

    expect(page.get_by_role("alert").locator("code")).to_contain_text("source")
    run(page, "print('fine now')")
    expect(page.locator("#output")).to_contain_text("fine now")


def test_output_is_never_markup(page: Page) -> None:
    """What a script writes is shown, not obeyed."""
    run(page, "print('<img src=x onerror=document.title=1><b>bold</b>')")

    expect(page.locator("#output")).to_contain_text("<b>bold</b>")
    expect(page.locator("#output img")).to_have_count(0)


def test_huge_output_keeps_a_bounded_tail(page: Page) -> None:
    """Megabytes do not freeze the page: it keeps the end and links to the whole."""
    run(page, "import sys\nfor n in range(6000): sys.stdout.write(f'{n:07d}' * 150 + '\\n')\nprint('the very end')")

    expect(page.locator("#output")).to_contain_text("the very end", timeout=30_000)
    expect(page.locator("#cut")).to_contain_text("all of stdout")
    shown = page.locator("#output").evaluate("element => element.textContent.length")
    assert shown <= 1_100_000


def test_wrong_token_is_refused_in_words(server: ServerProcess, browser: Browser) -> None:
    """A visitor without a token sees a box for one and nothing else."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)

        page.get_by_label("Token").fill("guess")
        page.get_by_role("button", name="Sign in").click()

        expect(page.locator("#sign-in-error")).to_contain_text("not valid")
        expect(page.get_by_role("button", name="Run", exact=True)).to_be_hidden()


def test_narrow_screen_needs_no_sideways_scrolling(page: Page) -> None:
    """At the width of a phone everything is still there."""
    page.set_viewport_size({"width": 400, "height": 800})
    run(page, "print('x' * 500)")
    expect(page.locator("#badge")).to_have_text("completed")

    assert page.locator("html").evaluate("element => element.scrollWidth <= element.clientWidth")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_in_viewport()


APPROVAL = """\
kind: workflow
name: approval
nodes:
  - {id: build, type: script, language: bash, source: echo building}
  - id: ask
    type: input
    needs: [build]
    prompts: [{key: decision, label: Release it?, choices: [approve, reject]}]
  - {id: approved, type: if, needs: [ask], condition: "{{ nodes.ask.output.decision == 'approve' }}"}
  - {id: release, type: set, needs: [approved.true], values: {released: true}}
  - {id: give_up, type: set, needs: [approved.false], values: {released: false}}
"""
FAILING = json.dumps(
    {
        "nodes": [
            {"id": "first", "type": "set", "values": 1},
            {
                "id": "breaks",
                "type": "script",
                "language": "bash",
                "source": "echo no luck >&2; exit 4",
                "needs": ["first"],
            },
            {"id": "after", "type": "set", "values": 2, "needs": ["breaks"]},
        ]
    }
)
FANNED = json.dumps(
    {
        "nodes": [
            {
                "id": "ask",
                "type": "input",
                "prompts": [{"key": "who", "label": "Who?"}, {"key": "how", "default": "well"}],
            },
            {
                "id": "each",
                "type": "map",
                "needs": ["ask"],
                "items": ["a", "b"],
                "nodes": [{"id": "say", "type": "set", "values": "{{ item }} {{ nodes.ask.output.who }}"}],
            },
        ]
    }
)


def node(page: Page, name: str) -> Locator:
    """Find a node of the shown workflow."""
    return page.locator(f'li[data-node="{name}"]')


def test_a_question_is_answered_from_the_page(page: Page) -> None:
    """A workflow pasted as YAML asks, a button answers, and what comes after runs: the other branch does not."""
    run(page, APPROVAL)
    expect(node(page, "ask")).to_contain_text("Release it?")
    expect(page.locator("#badge")).to_have_text("waiting input")

    page.get_by_role("button", name="approve").click()

    expect(page.locator("#badge")).to_have_text("completed")
    expect(node(page, "build")).to_have_attribute("data-status", "completed")
    expect(node(page, "release")).to_have_attribute("data-status", "completed")
    expect(node(page, "give_up")).to_have_attribute("data-status", "skipped")
    expect(page.get_by_role("button", name="approve")).to_have_count(0)


def test_a_failing_node_shows_its_reason(page: Page) -> None:
    """Which node, why, and what it wrote are all there without a click; what follows was not run."""
    run(page, FAILING)

    expect(page.locator("#badge")).to_have_text("failed")
    expect(node(page, "breaks").locator(".reason")).to_contain_text("exited with code 4")
    expect(node(page, "breaks").locator(".stderr")).to_contain_text("no luck")
    expect(node(page, "breaks").locator(".stderr")).to_be_visible()
    expect(node(page, "after")).to_have_attribute("data-status", "not_run")


def test_a_reload_in_the_middle_shows_the_same(page: Page) -> None:
    """What is asked is asked again after a reload, can be answered there, and inner nodes stand under their map."""
    run(page, FANNED)
    expect(node(page, "ask")).to_have_attribute("data-status", "asking")

    page.reload()

    expect(node(page, "ask")).to_have_attribute("data-status", "asking")
    expect(node(page, "each")).to_have_attribute("data-status", "pending")
    page.get_by_label("Who?").fill("Ada")
    page.get_by_role("button", name="Answer").click()
    expect(page.locator("#badge")).to_have_text("completed")
    expect(node(page, "each").locator(".node-name")).to_have_text(["each", "[0] say", "[1] say"])
    expect(node(page, "each[1]/say")).to_contain_text("b Ada")


def test_running_again_from_a_node_keeps_what_came_before(page: Page) -> None:
    """After a failure one click runs the broken part again, as an execution of its own with an address of its own."""
    run(page, FAILING)
    expect(page.locator("#badge")).to_have_text("failed")
    before = page.url

    page.get_by_role("button", name="Retry failed").click()

    page.wait_for_url(lambda url: url != before)
    expect(page.locator("#badge")).to_have_text("failed")
    expect(node(page, "first")).to_contain_text("kept from before")
    expect(node(page, "breaks").locator(".reason")).to_contain_text("exited with code 4")


def test_a_paused_workflow_goes_on_when_told(page: Page) -> None:
    """Pause and resume are buttons, and nothing new starts between them."""
    run(page, APPROVAL)
    expect(node(page, "ask")).to_have_attribute("data-status", "asking")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#badge")).to_have_text("paused")
    page.get_by_role("button", name="reject").click()
    expect(node(page, "ask")).to_have_attribute("data-status", "completed")
    expect(node(page, "approved")).to_have_attribute("data-status", "pending")

    page.get_by_role("button", name="Resume").click()

    expect(node(page, "give_up")).to_have_attribute("data-status", "completed")


def test_a_workflow_fits_a_narrow_screen(page: Page) -> None:
    """Questions, long names and all: nothing needs sideways scrolling on a phone."""
    page.set_viewport_size({"width": 400, "height": 800})
    run(page, APPROVAL.replace("Release it?", "Release it?" * 20))
    expect(node(page, "ask")).to_contain_text("Release it?")

    assert page.locator("html").evaluate("element => element.scrollWidth <= element.clientWidth")
    page.get_by_role("button", name="reject").click()
    expect(page.locator("#badge")).to_have_text("completed")


def test_the_time_left_is_shown_once_it_is_known(page: Page, server: ServerProcess) -> None:
    """After three runs of a saved workflow the fourth says how long it takes, and the words go with its end."""
    nodes = [{"id": "a", "type": "wait", "seconds": 0.7}, {"id": "b", "type": "wait", "seconds": 0.7, "needs": ["a"]}]
    document = {"kind": "workflow", "name": "slow", "nodes": nodes}
    headers = {"Authorization": f"Bearer {server.token}"}
    saved = page.request.post(f"{server.url}/api/v1/definitions", headers=headers, data=document).json()

    def run_saved() -> None:
        made = page.request.post(
            f"{server.url}/api/v1/executions", headers=headers, data={"definition": saved["id"]}
        ).json()
        page.goto(f"{server.url}/#{made['id']}")

    for _ in range(3):
        run_saved()
        expect(page.locator("#badge")).to_have_text("completed")
    run_saved()

    expect(page.locator("#time-left")).to_have_text(re.compile("of 2 nodes, [0-9]+ % · about [12] s left"))
    expect(page.locator("#badge")).to_have_text("completed")
    expect(page.locator("#time-left")).to_be_hidden()


def test_a_finished_run_is_replayed_as_it_happened(page: Page) -> None:
    """Its nodes run again before one's eyes, with the times of then, and nothing can be cancelled or answered in it."""
    run(page, f"{APPROVAL}  - {{id: hold, type: wait, needs: [release], seconds: 1.5}}\n")
    page.get_by_role("button", name="approve").click()
    expect(page.locator("#badge")).to_have_text("completed")

    page.get_by_label("Replay").select_option("1")

    expect(page.locator("#detail")).to_contain_text("replay, 1 × as fast")
    expect(node(page, "ask")).to_have_attribute("data-status", "completed")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.locator("#badge")).to_have_text("completed")
    expect(page.get_by_label("Replay")).to_be_visible()


def save(page: Page, body: dict[str, object]) -> None:
    """Save a definition as the page's own session would."""
    answer = page.evaluate(
        "body => fetch('/api/v1/definitions', {method: 'POST', body: JSON.stringify(body), "
        "headers: {'Content-Type': 'application/json'}}).then(answer => answer.status)",
        body,
    )
    assert answer == 201


def test_what_is_saved_is_picked_and_run(page: Page) -> None:
    """One click opens it in the editor, one runs it as it is saved, and the run says what it is made of."""
    nodes = [{"id": "greet", "type": "set", "values": "Hello {{ input.who }}"}]
    save(page, {"kind": "workflow", "name": "greet everybody", "input": {"who": "Ada"}, "nodes": nodes})
    save(page, {"kind": "script", "name": "plain", "language": "bash", "source": "echo saved"})
    page.reload()

    page.get_by_role("button", name="greet everybody v1").click()
    expect(page.get_by_label("Script source")).to_have_value(re.compile(r"^kind: workflow\nname: greet everybody\n"))
    expect(page.get_by_label("Language")).to_have_value("workflow")
    page.get_by_role("button", name="Run greet everybody").click()
    expect(page.locator("#badge")).to_have_text("completed")
    expect(node(page, "greet")).to_contain_text("Hello Ada")
    page.get_by_role("button", name="Run plain").click()
    expect(page.locator("#output")).to_contain_text("saved")

    expect(page.get_by_label("Language")).to_have_value("bash")
    execution = page.evaluate("fetch('/api/v1/executions?limit=1').then(answer => answer.json())")["items"][0]
    assert (execution["name"], execution["definition_version"]) == ("plain", 1)


@pytest.fixture
def shop() -> Iterator[str]:
    """Give the address of an API that answers with its path, with markup in it, and with 500 at `/broken`."""

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"path": self.path, "said": "<img src=x onerror=document.title=1>"}).encode()
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def flow(shop: str) -> str:
    """Give a config as FlowSphere has it: it does not say what it is."""
    asks = {"city": "City:", "password": "Password:", "pin": "PIN:"}
    nodes = [
        {"id": "first", "method": "GET", "url": "/{{ .input.city }}", "userPrompts": asks, "secretPrompts": ["pin"]},
        {"id": "skips", "method": "GET", "url": "/b", "conditions": [{"input": "city", "equals": "Rome"}]},
        {"id": "broken", "method": "GET", "url": "/broken", "name": "<b>markup</b>"},
        {"id": "after", "method": "GET", "url": "/after"},
    ]
    return json.dumps({"defaults": {"baseUrl": shop}, "nodes": nodes})


def test_a_flow_shows_requests_answers_and_checks(page: Page, shop: str) -> None:
    """Pasted as it is, it asks, a password unseen; each step then shows what was sent, what came, and why it failed or was
    skipped; nothing of it is obeyed as markup."""
    run(page, flow(shop))
    expect(page.get_by_label("Language")).to_have_value("flow")
    for unseen in ("Password:", "PIN:"):  # by its name, and because its author says so
        expect(page.get_by_label(unseen)).to_have_attribute("type", "password")
    page.get_by_label("City:").fill("Oslo")
    page.get_by_label("Password:").fill("hunter2")
    page.get_by_role("button", name="Answer").click()

    expect(page.locator("#badge")).to_have_text("failed")
    expect(page.locator("#nodes")).not_to_contain_text("hunter2")
    first = node(page, "first")
    expect(first).to_contain_text(f"GET {shop}/Oslo · 1 of 1 check held")
    first.locator("summary").first.click()
    expect(first.locator(".checks li")).to_have_text(["held: status 200"])
    expect(first.locator("pre").first).to_contain_text('"path": "/Oslo"')
    expect(first).to_contain_text("{{ .input.city }}")
    expect(node(page, "skips").locator(".reason")).to_have_text("user input 'city': expected 'Rome', got 'Oslo'")
    expect(node(page, "broken").locator(".reason")).to_have_text("HTTP status validation failed: expected 200, got 500")
    expect(node(page, "broken")).to_contain_text("<b>markup</b> · 500 Internal Server Error")
    expect(node(page, "after")).to_have_attribute("data-status", "not_run")
    expect(page.locator("#nodes img, #nodes b")).to_have_count(0)


def test_a_flow_is_seen_again_with_its_config(page: Page, shop: str) -> None:
    """An address sent to a colleague shows the steps in their order, those that have not begun too, and what was run."""
    run(page, flow(shop))
    expect(node(page, "first.prompts")).to_have_attribute("data-status", "asking")
    address = page.url

    page.goto("about:blank")
    page.goto(address)

    expect(page.get_by_label("Script source")).to_have_value(re.compile('"kind": "flow"'))
    names = page.locator("#nodes > li .node-name")
    expect(names).to_have_text(["first asks", "first", "skips", "broken", "after"])


def test_a_flow_fits_a_narrow_screen(page: Page, shop: str) -> None:
    """Long urls, headers and bodies: nothing needs sideways scrolling on a phone."""
    page.set_viewport_size({"width": 400, "height": 800})
    nodes = [{"id": "long", "method": "GET", "url": f"{shop}/{'x' * 300}", "headers": {"X-Long": "y" * 300}}]
    run(page, json.dumps({"nodes": nodes}))
    expect(page.locator("#badge")).to_have_text("completed")
    node(page, "long").locator("summary").first.click()
    expect(node(page, "long").locator(".part")).to_have_count(3)
    for summary in node(page, "long").locator(".part summary").all():
        summary.click()

    within = "element => element.getBoundingClientRect().right <= innerWidth"
    assert page.get_by_role("button", name="Run", exact=True).evaluate(within)
    assert page.locator("html").evaluate("element => element.scrollWidth <= element.clientWidth")
    assert page.locator("#nodes").evaluate("element => element.scrollWidth <= element.clientWidth")
