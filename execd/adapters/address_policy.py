"""Which addresses execd's own requests may go to, so that nobody uses them to reach what only execd can reach (SSRF).

Pure: it judges a name and the addresses it was resolved to. `dialer` asks it for the very address it then connects to,
on every hop, so a name that changes its mind between two look-ups (DNS rebinding) gains nothing.

Source: the IANA special-purpose address registries, written out here because what `ipaddress` calls private or global
differs between releases of Python.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class AddressPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where requests may go. A denied network beats everything, then what is allowed by name or network, then the rest."""

    allow_private: bool = False
    """Whether loopback, private, carrier-grade and unique local addresses are allowed. Link-local ones (cloud metadata at
    169.254.169.254), multicast and reserved ones are not even then; `allowed_networks` can name them."""
    only_hosts: tuple[str, ...] = ()
    """When not empty: no other host is called. `example.com` is itself, `*.example.com` every name below it."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that may have any address but a denied one; written as in `only_hosts`."""
    allowed_networks: tuple[str, ...] = ()
    denied_networks: tuple[str, ...] = ()
    own_ports: tuple[int, ...] = ()
    """Ports of this machine that are refused whatever else is allowed: execd's own, so that no node calls execd."""

    def __post_init__(self) -> None:
        for text in self.allowed_networks + self.denied_networks:
            ip_network(text)  # raises ValueError, which msgspec reports with the field


class Reach(enum.Enum):
    """How far an address reaches."""

    PUBLIC = "public"
    PRIVATE = "private"
    """Reaches this machine or its neighbours, and is sometimes wanted."""
    SPECIAL = "special"
    """Is nobody's ordinary address: link-local, multicast, unspecified, reserved, for documentation."""


_IPV4 = {
    Reach.PRIVATE: (
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is a cloud's metadata
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks, and some VPNs
    ),
    Reach.SPECIAL: (
        "0.0.0.0/8",  # connects to loopback
        "169.254.0.0/16",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    ),
}
_IPV6 = {
    Reach.PRIVATE: ("::1/128", "fc00::/7", "fec0::/10"),
    Reach.SPECIAL: ("2001::/23", "2001:db8::/32", "3fff::/20"),
}
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TABLE: tuple[tuple[Network, Reach], ...] = tuple(
    (ip_network(text), reach) for table in (_IPV4, _IPV6) for reach, texts in table.items() for text in texts
)

_EMBEDDING = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated (SIIT)
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64, local use, with a /96 prefix
    (IPv6Network("2002::/16"), 80),  # 6to4
    (IPv6Network("2001::/32"), 64),  # Teredo: its server; its client is checked too
)
"""Networks whose addresses lead to an IPv4 address inside them, and how many bits are right of it."""
_TEREDO = IPv6Network("2001::/32")
_COMPATIBLE = IPv6Network("::/96")


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """Give every IPv4 address a router or tunnel could make of this one."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    for network, shift in _EMBEDDING:
        if address in network:
            yield IPv4Address((number >> shift) & 0xFFFFFFFF)
    if address in _TEREDO:
        yield IPv4Address(~number & 0xFFFFFFFF)
    if address in _COMPATIBLE and number > 1:  # `::` and `::1` are themselves
        yield IPv4Address(number)


def reach_of(address: Address) -> Reach:
    """Say how far an address reaches; one that embeds others reaches no farther than the nearest of them."""
    inner = list(_embedded(address))
    if inner:
        reaches = {reach_of(each) for each in inner}
        return next(reach for reach in (Reach.SPECIAL, Reach.PRIVATE, Reach.PUBLIC) if reach in reaches)
    for network, reach in _TABLE:
        if address.version == network.version and address in network:
            return reach
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return Reach.SPECIAL
    return Reach.PUBLIC


class AddressJudge:
    """A policy made ready to be asked. Without state.

    Args:
        own_ports: as in the policy, and may still grow: a server learns its port after its engine has begun.
    """

    def __init__(self, policy: AddressPolicy, own_ports: Collection[int] = ()) -> None:
        self._policy = policy
        self._own_ports = own_ports
        self._allowed = [ip_network(text) for text in policy.allowed_networks]
        self._denied = [ip_network(text) for text in policy.denied_networks]

    def may_ask_for(self, host: str) -> bool:
        """Whether this host, a name or an address in canonical form, may be looked up at all."""
        policy = self._policy
        if policy.only_hosts and not _is_listed(host, policy.only_hosts):
            return False
        is_local = host == "localhost" or host.endswith(".localhost")
        # A name that means this machine by definition (RFC 6761), whatever a resolver makes of it.
        return not is_local or policy.allow_private or self._is_allowed_host(host)

    def may_connect(self, host: str, address: Address) -> bool:
        """Whether this host may be reached at this address of it."""
        faces = [address, *_embedded(address)]
        if any(_is_within(face, self._denied) for face in faces):
            return False
        if self._is_allowed_host(host) or all(_is_within(face, self._allowed) for face in faces[1:] or faces):
            return True
        reach = reach_of(address)
        return reach is Reach.PUBLIC or (reach is Reach.PRIVATE and self._policy.allow_private)

    def is_own_port(self, port: int) -> bool:
        """Whether this port of this machine is refused."""
        return port in self._policy.own_ports or port in self._own_ports

    def _is_allowed_host(self, host: str) -> bool:
        return bool(self._policy.allowed_hosts) and _is_listed(host, self._policy.allowed_hosts)


def _is_listed(host: str, patterns: tuple[str, ...]) -> bool:
    return any(
        host.endswith(pattern[1:].lower()) if pattern.startswith("*.") else host == pattern.lower().strip("[]")
        for pattern in patterns
    )


def _is_within(address: Address, networks: list[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
