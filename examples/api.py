#!/usr/bin/env python3
"""An API for the flows in examples/flows to talk to, on this machine: `python3 examples/api.py [port]`. Needs nothing else."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "tok-1"
THINGS = [{"id": number} for number in range(1, 6)]


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece

    def answer(self):
        url = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_json = self.headers.get("Content-Type", "").startswith("application/json")
        echo = json.loads(sent) if sent and is_json else {}
        known = 200 if self.headers.get("Authorization") == f"Bearer {TOKEN}" else 401
        status, body, *headers = {
            "POST /login": (200, {"token": TOKEN, "user": {"id": 7, "role": "clerk"}}),
            "POST /logout": (200, {}),
            "GET /users/7": (known, {"id": 7, "name": "Ada"}),
            "POST /oauth/token": (200, {"access_token": TOKEN, "expires_in": 3600}),
            "GET /me": (known, {"id": 7, "name": "Ada"}, ("X-Writable", "yes")),
            "PATCH /me": (known, echo),
            "POST /people": (201, {**echo, "id": 3}),
            "DELETE /people/3": (204, None),
            "GET /health": (200, {"status": "ok"}),
            "GET /version": (200, {"version": "2.1.4"}, ("Cache-Control", "no-store")),
            "GET /account": (401, {}),
            "GET /things": (200, page(parse_qs(url.query))),
            "POST /totals": (200, echo),
        }.get(f"{self.command} {url.path}", (404, {"error": "there is no such thing"}))
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(data))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_words):
        """Keep quiet: it runs beside what is looked at."""

    do_GET = do_POST = do_PATCH = do_DELETE = answer


def page(query):
    begin, size = int(query.get("after", ["0"])[0]), int(query.get("size", ["2"])[0])
    more = {"next": begin + size} if begin + size < len(THINGS) else {}
    return {"items": THINGS[begin : begin + size], "total": len(THINGS), **more}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8099), Api)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
