"""A cookie jar that is made anew from what earlier steps were told to keep; there is no state beside the journal.

Source: RFC 6265, sections 5.1 to 5.4. No list of public suffixes: a cookie for a domain without a dot is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

MAX_COOKIES = 300
MAX_TOLD = 3000
"""Of all lines that set one, the last are read, before each step. Source: RFC 6265, section 6.1: what user agents keep at least."""
MAX_TOLD_AT_ONCE = 100
"""Of one answer and the redirects before it."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""A line with one of them is ignored. Source: RFC 6265bis, section 5.6."""
MAX_COOKIE_CHARS = 4096
"""Source: RFC 6265, section 6.1: what user agents take at least."""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """One `Set-Cookie`, and who sent it."""

    url: str
    line: str
    at: float
    """Unix seconds."""


class Cookie(msgspec.Struct, frozen=True):
    """A cookie that is kept."""

    name: str
    value: str
    domain: str
    is_for_subdomains: bool
    path: str
    is_secure: bool
    expires_at: float | None
    """Unix seconds; None: with the run."""


def cookies_for(url: str, told: Sequence[Told], *, now: float) -> tuple[tuple[str, str], ...]:
    """Give the cookies to send, those of longer paths first."""
    parts = _split(url)
    if parts is None:
        return ()
    scheme, host, path = parts
    jar: dict[tuple[str, str, str], Cookie] = {}
    for each in told[-MAX_TOLD:]:
        cookie = _read(each)
        if cookie is not None:
            jar.pop((cookie.name, cookie.domain, cookie.path), None)
            jar[cookie.name, cookie.domain, cookie.path] = cookie
    found = [
        cookie
        for cookie in list(jar.values())[-MAX_COOKIES:]
        if _is_for(cookie, scheme, host, path) and (cookie.expires_at is None or cookie.expires_at > now)
    ]
    return tuple((cookie.name, cookie.value) for cookie in sorted(found, key=lambda each: -len(each.path)))


def _is_for(cookie: Cookie, scheme: str, host: str, path: str) -> bool:
    is_host = host == cookie.domain or (cookie.is_for_subdomains and host.endswith(f".{cookie.domain}"))
    return is_host and _path_matches(path, cookie.path) and (scheme == "https" or not cookie.is_secure)


def _path_matches(path: str, wanted: str) -> bool:
    return path == wanted or (path.startswith(wanted) and (wanted.endswith("/") or path[len(wanted)] == "/"))


def _split(url: str) -> tuple[str, str, str] | None:
    try:
        parts = urlsplit(url.strip())
        return parts.scheme.lower(), (parts.hostname or "").lower(), parts.path or "/"
    except ValueError:
        return None


def _read(told: Told) -> Cookie | None:
    parts = _split(told.url)
    pair, *rows = told.line.split(";")
    name, mark, value = pair.partition("=")
    if parts is None or not mark or not name.strip() or len(told.line) > MAX_COOKIE_CHARS or _CONTROL.search(told.line):
        return None
    _, host, path = parts
    attributes = {key.strip().lower(): text.strip() for key, _, text in (row.partition("=") for row in rows)}
    domain = attributes.get("domain", "").lstrip(".").lower()
    if domain and domain != host and not _may_set_for(host, domain):
        return None
    own_path = attributes.get("path", "")
    return Cookie(
        name=name.strip(),
        value=value.strip(),
        domain=domain or host,
        is_for_subdomains=bool(domain),
        path=own_path if own_path.startswith("/") else path.rpartition("/")[0] or "/",
        is_secure="secure" in attributes,
        expires_at=_expiry(attributes, told.at),
    )


def _may_set_for(host: str, domain: str) -> bool:
    return "." in domain and host.endswith(f".{domain}") and not _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _expiry(attributes: dict[str, str], at: float) -> float | None:
    """`Max-Age` wins over `Expires`."""
    try:
        return at + int(attributes["max-age"])
    except (KeyError, ValueError, OverflowError):
        pass
    try:
        moment = parsedate_to_datetime(attributes["expires"].replace("-", " "))
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def now_of(at: datetime) -> float:
    """Give a moment as cookies count."""
    return at.timestamp()
