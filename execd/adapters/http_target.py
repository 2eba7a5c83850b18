"""Read a URL the way it will be used: one reading, for the policy, the look-up, TLS and the wire alike.

URLs that two parsers could read differently (`http://a@b@c`, `http://a\\@b`, `http://a%2eb`) are refused rather than read.
An IPv4 address may be spelled in every way browsers take (decimal, octal, hex, fewer parts); it becomes the one it means.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import idna
import msgspec

from execd.adapters.address_policy import Address
from execd.ports.http_caller import BasicAuth, HttpCallError

MAX_URL_CHARS = 64 * 1024
"""Longer than any server takes (8 to 32 KiB are usual)."""
DEFAULT_PORTS = {"http": 80, "https": 443}
_PATH_SAFE = "%/:@!$&'()*+,;=~[]|^"
_BAD_AUTHORITY = "the URL has no valid host and port"
_QUERY_SAFE = "%/:@!$&()*+,;=~[]|^?{}`\\"
"""What is sent as it is written. Source: WHATWG URL, path and special-query percent-encode sets."""
_PLAIN = re.compile(r"[A-Za-z0-9/._~=&%-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_IPV4_LIKE = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes."""

    scheme: str
    host: str
    """In lower case and ASCII; an address in its canonical form and without brackets."""
    port: int
    path: str
    """Path and query as they stand in the request line."""
    address: Address | None
    """The host, when it is an address."""
    userinfo: BasicAuth | None

    @property
    def authority(self) -> str:
        """What stands in the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)


def parse_target(url: str) -> Target:
    """Read an absolute URL.

    Raises:
        HttpCallError: `invalid_url`; the message never holds user or password.
    """
    text = url.strip(" ")
    if len(text) > MAX_URL_CHARS:
        raise _invalid(f"the URL has {len(text)} characters; at most {MAX_URL_CHARS} are taken")
    if _CONTROL.search(text):
        raise _invalid("the URL holds a control character")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _invalid(_BAD_AUTHORITY) from None  # its text may quote the password
    if parts.scheme not in DEFAULT_PORTS:
        raise _invalid(f"unsupported protocol {parts.scheme}:" if parts.scheme else "the URL is not absolute")
    # What holds a password is not kept.
    read = _read_authority.__wrapped__ if "@" in parts.netloc else _read_authority
    there = read(parts.netloc)
    path = _quote(parts.path, _PATH_SAFE) or "/"
    return Target(
        scheme=parts.scheme,
        host=there.host,
        port=DEFAULT_PORTS[parts.scheme] if there.port is None else there.port,
        path=f"{path}?{_quote(parts.query, _QUERY_SAFE)}" if parts.query else path,
        address=there.address,
        userinfo=there.userinfo,
    )


def resolve_location(target: Target, location: str) -> Target:
    """Read a `Location` against the URL that gave it; nobody asks the result for a user and password.

    Raises:
        HttpCallError: `invalid_url`.
    """
    try:
        joined = urljoin(target.url, location.strip(" "))
    except ValueError:
        raise _invalid("the redirect leads to a URL that is not valid") from None
    return parse_target(joined)


class _Authority(msgspec.Struct, frozen=True):
    """What stands between `//` and the path."""

    host: str
    address: Address | None
    port: int | None
    userinfo: BasicAuth | None


@lru_cache(maxsize=256)
def _read_authority(netloc: str) -> _Authority:
    """Read it, once for the many requests that go to the same few hosts."""
    try:
        parts = SplitResult("http", netloc, "", "", "")
        hostname, port = parts.hostname, parts.port
    except ValueError:
        raise _invalid(_BAD_AUTHORITY) from None
    if not hostname or port == 0 or "\\" in netloc or netloc.count("@") > 1:
        raise _invalid(_BAD_AUTHORITY)
    host, address = _read_host(hostname)
    return _Authority(host, address, port, _read_userinfo(parts.username, parts.password))


def _read_userinfo(username: str | None, password: str | None) -> BasicAuth | None:
    if username is None and password is None:
        return None
    return BasicAuth(username=unquote(username or ""), password=unquote(password or ""))


def _quote(text: str, safe: str) -> str:
    """Percent-encode what a request line cannot carry; most text needs nothing, and looking costs less than doing."""
    return text if _PLAIN.fullmatch(text) else quote(text, safe=safe)


def _read_host(hostname: str) -> tuple[str, Address | None]:
    if ":" in hostname:
        return _read_ipv6(hostname)
    host = hostname
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise _invalid("the host of the URL is not a valid name") from None
    host = host.lower().removesuffix(".")
    if _IPV4_LIKE.fullmatch(host):
        ipv4 = _read_ipv4(host)
        return str(ipv4), ipv4
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise _invalid("the host of the URL is not a valid name")
    return host, None


def _read_ipv6(text: str) -> tuple[str, Address]:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise _invalid("the host of the URL is not a valid IPv6 address") from None
    if address.scope_id is not None:
        raise _invalid("an IPv6 address with a zone is not taken")
    return str(address), address


def _read_ipv4(text: str) -> IPv4Address:
    """Read an IPv4 address. Source: WHATWG URL, section 3.5, "IPv4 parser"."""
    numbers = [_read_number(part) for part in text.split(".")]
    *leading, last = numbers
    if len(numbers) > 4 or any(number > 255 for number in leading) or last >= 256 ** (5 - len(numbers)):
        raise _invalid("the host of the URL is not a valid IPv4 address")
    value = last + sum(number * 256 ** (3 - place) for place, number in enumerate(leading))
    return IPv4Address(value)


def _read_number(part: str) -> int:
    """Read hex after `0x`, octal after `0`, else decimal."""
    try:
        if part.startswith("0x"):
            return int(part[2:] or "0", 16)
        if len(part) > 10 or not part.isdigit():
            raise ValueError(part)
        return int(part, 8 if part.startswith("0") else 10)
    except ValueError:
        raise _invalid("the host of the URL is not a valid IPv4 address") from None


def _invalid(message: str) -> HttpCallError:
    return HttpCallError(message, code="invalid_url")
