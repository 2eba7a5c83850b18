"""URLs that may hold placeholders, taken apart and put together without touching those."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from execd.core.formats.placeholders import Reference, split_text

UNRESERVED = "-._~"
"""What percent-encoding leaves alone beside letters and digits. Source: RFC 3986, section 2.3."""


def encode_text(text: str, *, safe: str = UNRESERVED) -> str:
    """Percent-encode a text but its placeholders."""
    return encode_literals(text, lambda literal: quote(literal, safe=safe, errors="replace"))


def encode_literals(text: str, encode: Callable[[str], str]) -> str:
    """Change a text but its placeholders."""
    return "".join(part.text if isinstance(part, Reference) else encode(part) for part in split_text(text))


def split_query(url: str) -> tuple[str, list[str], str]:
    """Part a URL into what is before the question mark, the pairs after it, and the fragment with its `#`."""
    head, hash_mark, fragment = url.partition("#")
    head, mark, query = head.partition("?")
    return head, query.split("&") if mark and query else [], hash_mark + fragment


def join_query(head: str, pairs: list[str]) -> str:
    """Put a URL together again; what it already asks is kept."""
    if not pairs:
        return head
    return head + ("&" if "?" in head else "?") + "&".join(pairs)


def name_of_request(method: str, url: str) -> str:
    """Give a step a name: `GET /users/42`."""
    head = split_query(url)[0]
    shown = "".join(part if isinstance(part, str) else f"{{{part.name}}}" for part in split_text(head))
    path = shown.partition("://")[2] if "://" in shown else shown
    return f"{method.upper()} /{path.partition('/')[2]}"[:200]
