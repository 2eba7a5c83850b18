"""Make a connection to a host: look it up once, judge every address, connect to one that passed, then TLS.

The address that is judged is the address the socket connects to; nothing looks the name up again. Proxies from the
environment are not used: they would look the name up themselves.

Never: a byte of the request; a connection that is kept (that is `connection_pool`).
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import ip_address

import trio

from execd.adapters.address_policy import Address, AddressJudge, AddressPolicy
from execd.adapters.call_budget import CallBudget
from execd.adapters.http_connection import ConnectTimes, HttpConnection
from execd.adapters.http_target import Target
from execd.ports.http_caller import HttpCallError

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a name, best first; raises `socket.gaierror` like `getaddrinfo`."""

HAPPY_EYEBALLS_S = 0.25
"""How long one address is tried before the next one joins. Source: RFC 8305, section 8."""
MAX_ADDRESSES = 8
"""Of one name; a name with a thousand addresses must not open a thousand sockets."""
MAX_LOOKUPS = 16
"""At one time. A look-up that hangs keeps its thread; these must not be the threads others need."""
_MAY_COME_LATER = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY})
_TLS_PROTOCOLS = ["http/1.1"]


class SystemResolver:
    """Asks `getaddrinfo`, in threads of its own number."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(MAX_LOOKUPS)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        found = await trio.to_thread.run_sync(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
            abandon_on_cancel=True,
            limiter=self._limiter,
        )
        return [str(entry[4][0]) for entry in found]


class Dialer:
    """Connects, within a policy. Its only state are the two TLS contexts."""

    def __init__(
        self, policy: AddressPolicy, resolver: Resolver, tls: ssl.SSLContext | None, own_ports: Collection[int] = ()
    ) -> None:
        self._judge = AddressJudge(policy, own_ports)
        self._resolver = resolver
        self._verifying = tls
        self._trusting: ssl.SSLContext | None = None

    async def dial(self, target: Target, budget: CallBudget, *, verify_tls: bool) -> HttpConnection:
        """Connect.

        Raises:
            HttpCallError: `private_address`, `dns`, `connect` or `tls`.
        """
        budget.begin_connecting()
        began = trio.current_time()
        addresses = await self._permitted(target)
        resolved = trio.current_time()
        connected_socket = await _connect_first(addresses, target)
        connected = trio.current_time()
        times = ConnectTimes(
            dns_ms=None if target.address else (resolved - began) * 1000, connect_ms=(connected - resolved) * 1000
        )
        stream = trio.SocketStream(connected_socket)
        if target.scheme == "http":
            return HttpConnection(stream, connected_socket, times)
        try:
            secure = await self._start_tls(stream, target, verify_tls=verify_tls)
        except BaseException:
            connected_socket.close()
            raise
        times.tls_ms = (trio.current_time() - connected) * 1000
        return HttpConnection(secure, connected_socket, times)

    async def _permitted(self, target: Target) -> list[Address]:
        """Give the addresses that passed; the refusal does not tell the addresses of a name, which may be secret."""
        host = target.host
        if not self._judge.may_ask_for(host):
            raise _refused(f"requests to {host} are not allowed")
        found = [target.address] if target.address else await self._resolve(target)
        permitted = [address for address in found if self._judge.may_connect(host, address)][:MAX_ADDRESSES]
        if not permitted:
            raise _refused(f"{host} leads to an address that requests may not go to")
        if self._judge.is_own_port(target.port) and any(_is_own_address(address) for address in permitted):
            raise _refused(f"{target.authority} is execd itself")
        return permitted

    async def _resolve(self, target: Target) -> list[Address]:
        endpoint = f"{target.host}:{target.port}"
        try:
            found = [ip_address(text) for text in await self._resolver(target.host, target.port)]
        except (OSError, ValueError) as error:  # getaddrinfo encodes names itself, and not all of them
            number = error.errno if isinstance(error, socket.gaierror) else None
            raise HttpCallError(
                f"there is no address for {target.host}",
                code="dns",
                retryable=number in _MAY_COME_LATER,
                errno_name="ENOTFOUND" if number not in _MAY_COME_LATER else "EAI_AGAIN",
                endpoint=endpoint,
            ) from error
        if not found:
            raise HttpCallError(
                f"there is no address for {target.host}", code="dns", retryable=False, endpoint=endpoint
            )
        return list(dict.fromkeys(found))

    async def _start_tls(self, stream: trio.SocketStream, target: Target, *, verify_tls: bool) -> trio.abc.Stream:
        context = await self._context(verify_tls=verify_tls)
        secure = trio.SSLStream(stream, context, server_hostname=target.host, https_compatible=True)
        try:
            await secure.do_handshake()
        except (trio.BrokenResourceError, ssl.SSLError, OSError) as error:
            cause = error.__cause__ or error
            why = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or "the server hung up"
            is_verdict = isinstance(cause, ssl.SSLError)
            raise HttpCallError(
                f"no TLS connection to {target.authority}: {why}",
                code="tls",
                retryable=not is_verdict,
                endpoint=f"{target.host}:{target.port}",
            ) from error
        return secure

    async def _context(self, *, verify_tls: bool) -> ssl.SSLContext:
        """Give the context, made at first use: loading certificates takes longer than a request."""
        if verify_tls:
            if self._verifying is None:
                self._verifying = await trio.to_thread.run_sync(ssl.create_default_context)
                self._verifying.set_alpn_protocols(_TLS_PROTOCOLS)
            return self._verifying
        if self._trusting is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(_TLS_PROTOCOLS)
            self._trusting = context
        return self._trusting


def _refused(message: str) -> HttpCallError:
    return HttpCallError(message, code="private_address")


def _is_own_address(address: Address) -> bool:
    """Whether packets to this address stay on this machine: then the system would send them from that same address."""
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))  # a datagram socket sends nothing by connecting
        except OSError:
            return False
        return ip_address(probe.getsockname()[0]) == address


async def _connect_first(addresses: list[Address], target: Target) -> trio.socket.SocketType:
    """Connect to the first address that answers; each later one joins when those before it failed or took long."""
    if len(addresses) == 1:
        return await _connect(addresses[0], target)
    winners: list[trio.socket.SocketType] = []
    errors: list[HttpCallError] = []

    async def attempt(address: Address, has_failed: trio.Event, scope: trio.CancelScope) -> None:
        try:
            winners.append(await _connect(address, target))
        except HttpCallError as error:
            errors.append(error)
            has_failed.set()
        else:
            scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                has_failed = trio.Event()
                nursery.start_soon(attempt, address, has_failed, nursery.cancel_scope)
                with trio.move_on_after(HAPPY_EYEBALLS_S):
                    await has_failed.wait()
    except BaseException:
        _close_all(winners)
        raise
    if not winners:
        raise errors[0]
    _close_all(winners[1:])
    return winners[0]


async def _connect(address: Address, target: Target) -> trio.socket.SocketType:
    """Connect to one address. Cancelled, trio closes the socket itself."""
    endpoint = f"[{address}]:{target.port}" if address.version == 6 else f"{address}:{target.port}"
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    opened: trio.socket.SocketType | None = None
    try:
        opened = trio.socket.socket(family, socket.SOCK_STREAM)
        await opened.connect((str(address), target.port))
    except OSError as error:
        _close_all([] if opened is None else [opened])
        raise HttpCallError(
            f"no connection to {target.authority}: {error.strerror or error}",
            code="connect",
            errno_name=errno.errorcode.get(error.errno or 0),
            endpoint=endpoint,
        ) from error
    return opened


def _close_all(sockets: list[trio.socket.SocketType]) -> None:
    for each in sockets:
        each.close()
