"""Which hosts are answered and which pages are trusted: the defence against DNS rebinding and cross-site requests.

Pure. A rebinding page needs a name of its own that resolves to this machine, so addresses are always answered and names
only if they are loopback's or configured.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from execd.http.config import HttpConfig
from execd.http.problems import HostNotAllowedError, OriginNotAllowedError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def host_name(authority: str) -> str | None:
    """Take the name out of `name:port`, lower case; None when it is malformed."""
    try:
        parts = urlsplit(f"//{authority}")
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return (parts.hostname or "").rstrip(".") or None


def is_address(name: str) -> bool:
    """Whether a host is written as an address and not as a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Whether a host is this machine, by name or address."""
    return (
        name == "localhost"
        or name.endswith(".localhost")
        or (is_address(name) and ipaddress.ip_address(name).is_loopback)
    )


def check_host(authority: str, config: HttpConfig) -> None:
    """Raise HostNotAllowedError for a `Host` this server does not answer for."""
    name = host_name(authority)
    if name is None:
        raise HostNotAllowedError(
            "the Host header is missing or malformed; accepted: the name or address of this server"
        )
    if is_address(name) or is_loopback(name):
        return
    allowed = {config.host.lower(), *(host.lower() for host in config.allowed_hosts)}
    if config.public_url is not None:
        allowed.add((urlsplit(config.public_url).hostname or "").lower())
    if name not in allowed and "*" not in allowed:
        raise HostNotAllowedError(
            "this server does not answer for this Host; accepted: its address, a loopback name, or a name in http.allowed_hosts"
        )


def is_trusted_origin(origin: str, authority: str, config: HttpConfig) -> bool:
    """Whether a page of this origin is ours: same host and port as the request's, or configured."""
    if origin in config.allowed_origins:
        return True
    if config.public_url is not None and origin == _origin_of(config.public_url):
        return True
    parts = urlsplit(origin)
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == authority.lower()


def check_origin(*, origin: str | None, fetch_site: str | None, authority: str, config: HttpConfig) -> None:
    """Raise OriginNotAllowedError for a request that a page of another origin may have made the browser send.

    Without `Origin` the browser's own word counts (`Sec-Fetch-Site`); without both it was no browser of this decade.
    """
    if origin is not None:
        if not is_trusted_origin(origin, authority, config):
            raise OriginNotAllowedError(
                "a page of this Origin may not do this; accepted: the own origin, or http.allowed_origins"
            )
    elif fetch_site not in {None, "same-origin", "none"}:
        raise OriginNotAllowedError("a page of another site may not do this; accepted: Sec-Fetch-Site same-origin")


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
