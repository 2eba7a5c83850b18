"""What FlowSphere's page loads: the templates, and, where the setting `flowsphere.page_dir` names its folder, the page itself."""

from __future__ import annotations

from pathlib import Path

import trio
from quart import Quart, Response, request

from execd.core.errors import NotFoundError
from execd.http.access import Role
from execd.http.dialects.flowsphere_door import admit, answer_json, in_flowsphere_shape, refuse
from execd.http.dialects.flowsphere_templates import find_template, list_templates
from execd.http.front import Front
from execd.http.pages import MEDIA_TYPES

PAGE_TYPES = {
    **MEDIA_TYPES,
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src 'self' data: https://cdn.jsdelivr.net https://fonts.gstatic.com; img-src 'self' data:; "
    "connect-src 'self'; frame-src https: http:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""The page has scripts in its markup; what it shows can at least not be sent elsewhere by them."""
STOP_FILE = "execd-stop.js"
STOP_TAG = b'<script src="execd-stop.js"></script>'
STOP_SCRIPT = b"""// FlowSphere's Stop button tells its server nothing. This tells execd, which then starts no further step.
(() => {
  const ask = window.fetch.bind(window);
  let running = null;
  window.fetch = async (input, init) => {
    const answer = await ask(input, init);
    const url = new URL(input instanceof Request ? input.url : input, location.href);
    if (url.pathname === "/api/execute-stream") running = answer.headers.get("X-Execution-Id");
    return answer;
  };
  const stop = (event) => {
    if (running === null || !(event.target instanceof Element) || !event.target.closest("#stopExecutionBtn")) return;
    const body = JSON.stringify({ executionId: running });
    running = null;
    ask("/api/stop", { method: "POST", headers: { "Content-Type": "application/json" }, body }).catch(() => {});
  };
  document.addEventListener("click", stop, true);
})();
"""
"""What is put into the page; a page that is served elsewhere may load it from here."""
NOTHING = "there is nothing at this path; /openapi.json has every path"


class FlowspherePages:
    """`/api/templates/nodes` and `/flowsphere/`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        base = "/api/templates/nodes"
        app.add_url_rule(base, "flowsphere_templates", in_flowsphere_shape(self.templates), methods=["GET"])
        one = in_flowsphere_shape(self.template)
        app.add_url_rule(f"{base}/<category>/<template_id>", "flowsphere_template", one, methods=["GET"])
        app.add_url_rule("/flowsphere/", "flowsphere_page", self.page, methods=["GET"])
        app.add_url_rule("/flowsphere/<path:file_name>", "flowsphere_page_file", self.file, methods=["GET"])

    async def templates(self) -> Response:
        await admit(self._front, request, Role.VIEWER)
        return answer_json(list_templates())

    async def template(self, category: str, template_id: str) -> Response:
        await admit(self._front, request, Role.VIEWER)
        found = find_template(category, template_id)
        return refuse("Template not found", status=404) if found is None else answer_json(found)

    async def page(self) -> Response:
        return await self.file("index.html")

    async def file(self, file_name: str) -> Response:
        """Serve a file of the folder: of a known kind, and by a path that cannot lead out of it."""
        directory = self._front.config.flowsphere.page_dir
        if directory is not None and file_name == STOP_FILE:
            return _page_response(STOP_SCRIPT, ".js")
        parts = file_name.split("/")
        suffix = Path(parts[-1]).suffix
        is_plain = all(part and not part.startswith(".") and "\0" not in part and "\\" not in part for part in parts)
        if directory is None or suffix not in PAGE_TYPES or not is_plain:
            raise NotFoundError(NOTHING)
        try:
            data = await trio.Path(directory, *parts).read_bytes()
        except OSError:
            raise NotFoundError(NOTHING) from None
        return _page_response(_with_stop(data) if file_name == "index.html" else data, suffix)


def _page_response(data: bytes, suffix: str) -> Response:
    headers = {"Content-Security-Policy": PAGE_POLICY, "X-Frame-Options": "DENY", "Cache-Control": "no-cache"}
    return Response(data, headers=headers, content_type=PAGE_TYPES[suffix])


def _with_stop(page: bytes) -> bytes:
    """Load our script before the page's own; markup without a head gets it at its end."""
    before, mark, after = page.partition(b"</head>")
    return before + STOP_TAG + mark + after
