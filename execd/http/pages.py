"""What a browser opens: the page with its two files, the reference, and the document it is made from."""

from __future__ import annotations

from pathlib import Path

import trio
from quart import Quart, Response, request

from execd.core.codec import encode_json
from execd.core.errors import NotFoundError, UnauthenticatedError
from execd.http.answers import JSON_TYPE, empty_response
from execd.http.front import Front
from execd.http.openapi import make_document
from execd.http.reference import render_reference
from execd.http.tokens import start_session

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
"""What the page's directory may hold; anything else is not served."""
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
PLACEHOLDER = (
    "<!doctype html><meta charset=utf-8><title>execd</title><h1>execd</h1><p>It runs. The API is described at "
    '<a href="/docs">/docs</a>.</p>'
)


class PageRoutes:
    """`/`, the page's files, `/docs` and `/openapi.json`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._document = make_document(front.config, front.runtimes)
        self._document_bytes = encode_json(self._document)
        self._reference = render_reference(self._document)

    def register(self, app: Quart) -> None:
        app.add_url_rule("/", "page", self.page, methods=["GET"])
        app.add_url_rule("/docs", "docs", self.docs, methods=["GET"])
        app.add_url_rule("/openapi.json", "openapi", self.openapi, methods=["GET"])
        app.add_url_rule("/<file_name>", "page_file", self.file, methods=["GET"])

    async def page(self) -> Response:
        """Serve the page; the start-up address trades its token for a cookie first, and loses it."""
        token = request.args.get("token")
        if token is not None:
            return await self._sign_in(token)
        if self._front.config.page_dir is None:
            return _page(PLACEHOLDER.encode(), ".html")
        return await self.file("index.html")

    async def file(self, file_name: str) -> Response:
        directory = self._front.config.page_dir
        suffix = Path(file_name).suffix
        # A route's converter takes no slash, so a name cannot leave the directory; a dot in front hides a file.
        if directory is None or suffix not in MEDIA_TYPES or file_name.startswith(".") or "\0" in file_name:
            raise NotFoundError("there is nothing at this path; /openapi.json has every path")
        try:
            return _page(await trio.Path(directory / file_name).read_bytes(), suffix)
        except OSError:
            raise NotFoundError("there is nothing at this path; /openapi.json has every path") from None

    async def docs(self) -> Response:
        return _page(self._reference.encode(), ".html")

    async def openapi(self) -> Response:
        return Response(self._document_bytes, content_type=JSON_TYPE)

    async def _sign_in(self, token: str) -> Response:
        """Redirect without the token either way: the page asks for one where this did not work."""
        response = empty_response(303, headers={"Location": "/"})
        try:
            identity = await self._front.access.identify_token(token)
        except UnauthenticatedError:
            return response
        return await start_session(self._front, identity, response)


def _page(body: bytes, suffix: str) -> Response:
    headers = {"Content-Security-Policy": PAGE_POLICY, "X-Frame-Options": "DENY", "Cache-Control": "no-cache"}
    return Response(body, headers=headers, content_type=MEDIA_TYPES[suffix])
