"""Flows on the page as somebody has them who never saw execd: files of other tools, faults while typing, and a run's choices."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_page import browser as browser
from tests.browser.test_page import node, run
from tests.browser.test_page import page as page
from tests.browser.test_page import server as server
from tests.browser.test_page import shop as shop

pytestmark = pytest.mark.slow

FORMATS = Path(__file__).parents[1] / "unit" / "formats"
DROP = """([name, text]) => {
    const files = new DataTransfer();
    files.items.add(new File([text], name));
    document.dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
}"""
PASTE = """text => {
    const held = new DataTransfer();
    held.setData("text/plain", text);
    const area = document.getElementById("source");
    area.select();
    const isTaken = !area.dispatchEvent(new ClipboardEvent("paste", {clipboardData: held, bubbles: true, cancelable: true}));
    if (!isTaken) document.execCommand("insertText", false, text);
}"""


def config(shop: str, **root: Any) -> dict[str, Any]:
    """Give a flow of three steps that reads an environment and a variable."""
    nodes = [
        {"id": "one", "method": "GET", "url": "/one"},
        {"id": "two", "method": "GET", "url": "/{{ .env.stage }}/{{ .vars.city }}"},
        {"id": "three", "method": "GET", "url": "/three"},
    ]
    environments = {"_common": {}, "test": {"stage": "t"}, "live": {"stage": "l"}}
    return {
        "name": "Cities",
        "defaults": {"baseUrl": shop},
        "variables": {"city": "Oslo", "count": 1},
        "environments": environments,
        "environment": "test",
        "nodes": nodes,
        **root,
    }


def source(page: Page) -> Any:
    return json.loads(page.get_by_label("Script source").input_value())


def test_a_dropped_collection_becomes_a_flow(page: Page) -> None:
    """No manual is read first: the file is told by its content, what could not be carried over is told, and it is checked."""
    text = (FORMATS / "shop.postman_collection.json").read_text()

    page.evaluate(DROP, ["shop.postman_collection.json", text])

    expect(page.locator("#notes")).to_contain_text("Made of a Postman collection")
    expect(page.get_by_label("Language")).to_have_value("flow")
    assert (source(page)["kind"], source(page)["name"]) == ("flow", "shop")
    expect(page.locator("#verdict")).to_contain_text("warning")
    page.get_by_role("button", name="Back to the text").click()
    expect(page.get_by_label("Script source")).to_have_value(text)


def test_an_environment_file_comes_along(page: Page) -> None:
    """Two files are opened together, as they were exported; one alone says what it lacks."""
    environment = FORMATS / "staging.postman_environment.json"

    page.locator("#file").set_input_files(environment)
    expect(page.locator("#notes")).to_contain_text("together with its collection")
    page.locator("#file").set_input_files([FORMATS / "shop.postman_collection.json", environment])

    expect(page.get_by_label("Environment")).to_be_visible()
    assert source(page)["environment"] in source(page)["environments"]


def test_a_pasted_curl_command_is_run(page: Page, shop: str) -> None:
    """From a browser's network view to a run in two keys; a script that only uses curl stays one."""
    page.evaluate(PASTE, f"curl -s '{shop}/pasted' -H 'Accept: application/json'")
    expect(page.locator("#notes")).to_contain_text("Made of curl commands: 1 step.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#badge")).to_have_text("completed")
    expect(page.locator("#nodes")).to_contain_text(f"GET {shop}/pasted")

    page.evaluate(PASTE, f"curl -s {shop}/x | head -1\necho done")

    expect(page.get_by_label("Script source")).to_have_value(re.compile("^curl -s .* head"))
    expect(page.locator("#notes")).to_be_hidden()


def test_faults_stand_at_their_lines_while_one_types(page: Page, shop: str) -> None:
    """Before anything is run: the line, the field, what would be accepted, and a click that leads there."""
    text = f"name: x\nnodes:\n  - id: a\n    method: GOT\n    url: {shop}/a\n  - id: a\n    method: GET\n    url: {shop}/b\n"
    area = page.get_by_label("Script source")

    area.fill(text)

    expect(page.locator("#verdict")).to_have_text("2 faults")
    expect(area).to_have_attribute("aria-invalid", "true")
    fault = page.locator("#faults button", has_text="nodes[0].method")
    expect(fault).to_contain_text(re.compile("4.*nodes.0..method.*Invalid HTTP method.*accepted: .*GET"))
    expect(page.locator(".mark-line")).to_have_count(2)
    fault.click()
    selected = "area => area.value.slice(area.selectionStart, area.selectionEnd)"
    assert area.evaluate(selected) == "    method: GOT"
    page.keyboard.press("Control+Enter")
    expect(page.locator("#problem")).to_contain_text("Not run: 2 faults")
    area.fill(text.replace("GOT", "GET").replace("id: a", "id: b", 1))
    expect(page.locator("#faults")).to_be_hidden()
    expect(area).to_have_attribute("aria-invalid", "false")


def test_json_that_breaks_off_has_its_line(page: Page) -> None:
    """A forgotten comma is found without counting bytes."""
    page.get_by_label("Script source").fill('{"kind": "flow",\n "nodes": [\n  {"id": "a"\n   "url": "b"}]}')

    expect(page.locator("#faults button")).to_contain_text(re.compile("line 4.*is no JSON"))


@pytest.mark.parametrize("as_yaml", [False, True])
def test_a_run_is_chosen_beside_its_config(page: Page, shop: str, as_yaml: bool) -> None:
    """Environment, first step and variables are of this run: what is written stays as it is."""
    written = config(shop)
    text = (
        "\n".join(f"{key}: {json.dumps(value)}" for key, value in written.items()) if as_yaml else json.dumps(written)
    )
    page.get_by_label("Script source").fill(text)
    page.get_by_label("Environment").select_option("live")
    page.get_by_label("Start at").select_option("1")
    page.get_by_text("Variables", exact=True).click()
    page.get_by_label("city").fill('Rome: "x"')
    page.get_by_label("count").fill("2")

    page.get_by_role("button", name="Run", exact=True).click()

    expect(page.locator("#badge")).to_have_text("completed")
    expect(page.locator("#summary")).to_have_text("2 passed, 1 skipped")
    expect(node(page, "one")).to_have_attribute("data-status", "skipped")
    expect(node(page, "two")).to_contain_text(f"GET {shop}/l/Rome")
    expect(page.get_by_label("Script source")).to_have_value(text)
    spec = page.evaluate(
        "fetch('/api/v1/executions/' + location.hash.slice(1)).then(answer => answer.json()).then(one => one.spec)"
    )
    assert spec["input"]["count"] == 2


def test_a_flow_is_stopped_after_its_step_and_goes_on(page: Page, shop: str) -> None:
    """Stop lets the step in flight finish; Go on runs what was left, as an execution of its own."""
    asks = config(shop)
    asks["nodes"][1]["userPrompts"] = {"who": "Who?"}
    run(page, json.dumps(asks))
    expect(page.get_by_label("Who?")).to_be_focused()

    page.get_by_role("button", name="Stop").click()

    expect(page.locator("#badge")).to_have_text("interrupted")
    expect(page.locator("#summary")).to_contain_text("1 passed")
    before = page.url
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(lambda url: url != before)
    page.get_by_label("Who?").fill("Ada")
    page.keyboard.press("Enter")
    expect(page.locator("#badge")).to_have_text("completed")


def test_what_ran_is_kept_as_a_report_and_a_flow_as_other_tools_have_it(page: Page, shop: str) -> None:
    """Downloads, named after the flow."""
    broken = config(shop)
    broken["nodes"][2]["url"] = "/broken"
    run(page, json.dumps(broken))
    expect(page.locator("#badge")).to_have_text("failed")

    with page.expect_download() as report:
        page.get_by_role("link", name="JUnit").click()
    with page.expect_download() as collection:
        page.get_by_label("Download as").select_option("postman")
    with page.expect_download() as script:
        page.get_by_label("Download as").select_option("curl")

    suite = ElementTree.fromstring(report.value.path().read_text())[0]
    assert (report.value.suggested_filename, suite.get("failures")) == ("Cities.xml", "1")
    assert json.loads(collection.value.path().read_text())["info"]["name"] == "Cities"
    assert (script.value.suggested_filename, "curl" in script.value.path().read_text()) == ("Cities.sh", True)


def test_a_thousand_steps_stay_quick(page: Page, shop: str) -> None:
    """All are there, the one that runs is in sight, and the failure is found without looking for it."""
    nodes = [{"id": f"s{n}", "method": "GET", "url": f"/{n}"} for n in range(1000)]
    nodes[900]["url"] = "/broken"
    run(page, json.dumps({"defaults": {"baseUrl": shop}, "nodes": nodes}))

    expect(page.locator("#badge")).to_have_text("failed", timeout=60_000)
    expect(page.locator("#summary")).to_have_text("900 passed, 1 failed, 99 not run")
    expect(node(page, "s900")).to_be_in_viewport()
    page.reload()
    expect(page.locator("#summary")).to_have_text("900 passed, 1 failed, 99 not run", timeout=30_000)
    shown_ms = page.evaluate(
        "() => { const begin = performance.now(); document.querySelectorAll('#nodes details')[500].open = true; "
        "document.body.offsetHeight; return performance.now() - begin; }"
    )
    assert shown_ms < 500
    page.set_viewport_size({"width": 400, "height": 800})
    bottom = "document.querySelector('.layout').getBoundingClientRect().bottom"
    room = f"() => document.documentElement.scrollHeight - {bottom} - scrollY"
    assert page.evaluate(room) < 20


def test_back_leads_to_where_one_was(page: Page, shop: str) -> None:
    """To the run before, and before that to where nothing had run; a draft outlives a reload."""
    run(page, "print('one')")
    expect(page.locator("#output")).to_contain_text("one")
    run(page, json.dumps(config(shop)))
    expect(page.locator("#badge")).to_have_text("completed")
    expect(page).to_have_title(re.compile("✔ Cities"))

    page.go_back()
    expect(page.locator("#output")).to_contain_text("one")
    page.go_back()
    expect(page.locator("#badge")).to_have_text("ready")
    expect(page.locator("#examples")).to_be_visible()
    page.get_by_label("Script source").fill("print('a draft')")
    page.reload()
    expect(page.get_by_label("Script source")).to_have_value("print('a draft')")


def test_signing_out_leaves_nothing_to_see(page: Page) -> None:
    """On a machine that others use, too."""
    run(page, "print('mine')")
    expect(page.locator("#badge")).to_have_text("completed")

    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_label("Token")).to_be_focused()
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_hidden()


def test_what_is_typed_is_saved_and_then_its_next_version(page: Page, shop: str) -> None:
    """Saved by its name, opened again, changed, and saved as what it was: with both versions kept."""
    text = json.dumps(config(shop, name="Saved here"))
    page.get_by_label("Script source").fill(text)
    page.get_by_label("Start at").select_option("1")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#notes")).to_contain_text("Saved as Saved here, version 1.")

    page.reload()
    page.get_by_role("button", name="Saved here v1").click()
    area = page.get_by_label("Script source")
    expect(area).to_have_value(re.compile("^kind: flow"))
    area.fill(area.input_value().replace("/three", "/changed"))
    page.get_by_role("button", name="Save v2").click()
    expect(page.locator("#notes")).to_contain_text("Saved as Saved here, version 2.")

    body = page.evaluate("fetch('/api/v1/definitions/Saved%20here').then(answer => answer.json())")["body"]
    assert (body["nodes"][2]["url"], "startStep" in body) == ("/changed", False)


def test_a_name_that_is_taken_is_not_overwritten(page: Page, shop: str) -> None:
    """Somebody else's may stand there."""
    area = page.get_by_label("Script source")
    area.fill(json.dumps(config(shop, name="Taken")))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#notes")).to_contain_text("version 1")
    page.reload()
    area.fill(json.dumps(config(shop, name="Taken", variables={})))

    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.locator("#problem")).to_contain_text("name: is taken")


def test_rows_are_counted_as_people_count_them(page: Page, shop: str) -> None:
    """What a row's end is to the engine is nothing to them."""
    rows = {
        "defaults": {"baseUrl": shop},
        "data": [{"to": "a"}, {"to": "broken"}],
        "nodes": [
            {"id": "get", "method": "GET", "url": "/{{ .vars.to }}"},
            {"id": "more", "method": "GET", "url": "/m"},
        ],
    }

    run(page, json.dumps(rows))

    expect(page.locator("#badge")).to_have_text("failed")
    expect(page.locator("#summary")).to_have_text("2 passed, 1 failed, 1 not run")
    expect(node(page, "rows").locator(".node-state").first).to_contain_text("1 of 2 rows passed")
