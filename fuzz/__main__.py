"""Run a campaign, print what was found, write docs/fuzz.md after a long clean one; findings end it with a code that is not zero."""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import trio

from chaos.server import Server
from fuzz.campaign import SETTINGS, Book, open_campaign
from fuzz.report import document, findings, summary

DOCUMENT = Path(__file__).parents[1] / "docs" / "fuzz.md"
DOCUMENTED_MINUTES = 5.0
"""A shorter campaign is a trial, and leaves the document as it is."""
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n"
    + b'{"id": 1, "url": "http://x/y"}\n'
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long requests are sent")
    parser.add_argument("--seed", type=int, default=None, help="of the requests; printed when it is not given")
    parser.add_argument("--only", type=int, default=None, metavar="NUMBER", help="send this request alone and show it")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a campaign that is ended ends its server
    seed = secrets.randbelow(10**9) if asked.seed is None else asked.seed
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    parent = Path(tempfile.mkdtemp(prefix="fuzz-"))
    book = trio.run(_run, parent, seed, asked.minutes, asked.only)
    if asked.only is not None:
        shutil.rmtree(parent)
        return 0
    sys.stdout.write(f"{summary(book)}\n")
    if book.findings:
        sys.stdout.write(f"\n{findings(book)}\ndata kept in {parent}\n")
        return 1
    shutil.rmtree(parent)
    if asked.minutes >= DOCUMENTED_MINUTES:
        DOCUMENT.write_text(document(book, minutes=asked.minutes, seed=seed))
    return 0


async def _run(parent: Path, seed: int, minutes: float, only: int | None) -> Book:
    server = Server(parent / "data", log_path=parent / "server.log", settings=SETTINGS)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, _answer, 0)
        port = listeners[0].socket.getsockname()[1]
        try:
            campaign = await open_campaign(server, seed=seed, api_url=f"http://127.0.0.1:{port}/")
            if only is None:
                await campaign.play(seconds=minutes * 60)
            else:
                sys.stdout.write("\n".join(map(repr, await campaign.repeat(only))) + "\n")
            if await server.stop() != 0:
                campaign.book.blame(-1, "after SIGTERM it did not end with 0")
        finally:
            server.kill()
        nursery.cancel_scope.cancel()
    return campaign.book


async def _answer(stream: trio.SocketStream) -> None:
    """The API that flows and workflows speak to: the same answer to whatever comes."""
    async with stream:
        try:
            while await stream.receive_some(65536):
                await stream.send_all(ANSWER)
        except trio.BrokenResourceError:
            return


if __name__ == "__main__":
    sys.exit(main())
