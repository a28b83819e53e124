"""The outgoing policy: addresses that runs may reach, however those were named."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

from zigflow_worker.errors import AUTHORIZATION, COMMUNICATION, WorkflowError
from zigflow_worker.outgoing.name_resolution import NameResolver

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

_DENIED = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/128", "::1/128", "fe80::/10", "ff00::/8"),
        *("100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
    )
)
"""This host, loopback, link-local, multicast and broadcast, and where clouds serve metadata besides
link-local addresses: Alibaba, Azure, AWS and Google by IPv6."""
_IPV4_AT_THE_END = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96"))
)
"""NAT64, NAT64 of one network, translated (RFC 2765), and compatible addresses (RFC 4291)."""
_MAX_ADDRESSES = 8
_LAST_PORT = 65535
_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[^\[\]:\s]*)"
_REDIRECTION = re.compile(
    rf"(?P<host>{_HOST}):(?P<port>\d{{0,5}}):(?P<target>{_HOST}):(?P<to>\d{{0,5}})"
)


class Address(NamedTuple):
    """An address to connect to, checked."""

    ip: str
    port: int


class Redirection(NamedTuple):
    """One entry of STIGMA_OUTGOING_CONNECT_TO; empty and 0 stand for any host and port."""

    host: str
    port: int
    target: str
    target_port: int


class AddressRules:
    """Networks and globs of host names."""

    def __init__(self, rules: Iterable[str]) -> None:
        self._networks: list[IpNetwork] = []
        self._globs: list[str] = []
        for rule in rules:
            try:
                self._networks.append(ipaddress.ip_network(rule, strict=False))
            except ValueError:
                self._globs.append(_glob(rule))

    def match_host(self, host: str) -> bool:
        """Return whether a glob is for a host."""
        return any(fnmatchcase(host, glob) for glob in self._globs)

    def match_address(self, address: IpAddress) -> bool:
        """Return whether an address is in a network."""
        return any(address in network for network in self._networks)


class OutgoingPolicy:
    """Resolves hosts to the addresses that may be reached.

    What `allow` names is allowed. Else what `deny` names is refused, and so are loopback,
    link-local, multicast and unspecified addresses. All others are allowed.

    Args:
        allow: networks (CIDR) and globs of hosts.
        deny: networks (CIDR) and globs of hosts.
        connect_to: `host:port:address:port`, as curl's option: where to connect in place of a
            host and port; either may be empty.
        resolve: from a host and port to addresses; default: the system's resolver.

    Raises:
        ValueError: a rule cannot be read.
    """

    def __init__(
        self,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
        connect_to: Iterable[str] = (),
        *,
        resolve: Resolve | None = None,
    ) -> None:
        self._allow = AddressRules(allow)
        self._deny = AddressRules(deny)
        self._redirections = read_redirections(connect_to)
        self._resolve = resolve or NameResolver().addresses

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Return the addresses for a connection, in the resolver's order.

        They are to be connected to as they are: resolving the host again may give others.

        Raises:
            WorkflowError: of type `authorization`, status 403, where policy forbids all of them;
                `communication`, status 500, where the host has none.
        """
        name = host.rstrip(".").lower()
        target, target_port = self._target(name, port)
        found = await self._resolved(target, target_port, host)
        if self._deny.match_host(name) and not self._allow.match_host(name):
            raise _refused(host)
        allowed = [ip for ip in found if self._allows(name, ip)]
        if not allowed:
            raise _refused(host)
        return [Address(ip, target_port) for ip in allowed[:_MAX_ADDRESSES]]

    def _target(self, host: str, port: int) -> tuple[str, int]:
        for each in self._redirections:
            if each.host in {"", host} and each.port in {0, port}:
                return each.target or host, each.target_port or port
        return host, port

    async def _resolved(self, target: str, port: int, host: str) -> Sequence[str]:
        try:
            return [str(ipaddress.ip_address(target))]
        except ValueError:
            pass
        try:
            return await self._resolve(target, port)
        except (OSError, UnicodeError):
            raise WorkflowError.of(COMMUNICATION, f"the host '{host}' has no address") from None

    def _allows(self, host: str, ip: str) -> bool:
        if self._allow.match_host(host):
            return True
        addresses = _meanings(ipaddress.ip_address(ip))
        if all(map(self._allow.match_address, addresses)):
            return True
        return not any(map(self._denies, addresses))

    def _denies(self, address: IpAddress) -> bool:
        return self._deny.match_address(address) or any(address in each for each in _DENIED)


def _meanings(address: IpAddress) -> list[IpAddress]:
    """Return an address and, where it stands for others, those."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    others = [*(address.teredo or ()), address.sixtofour]
    if any(address in network for network in _IPV4_AT_THE_END):
        others.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(other for other in others if other is not None)]


def _glob(rule: str) -> str:
    if not rule or any(character in rule for character in "/: \t"):
        raise ValueError(f"'{rule}' is neither a network such as 10.0.0.0/8 nor a host glob")
    return rule.rstrip(".").lower()


def read_redirections(texts: Iterable[str]) -> list[Redirection]:
    """Return entries of STIGMA_OUTGOING_CONNECT_TO (raises ValueError)."""
    return [_read_redirection(text) for text in texts]


def _read_redirection(text: str) -> Redirection:
    match = _REDIRECTION.fullmatch(text)
    if match is None or any(int(match[name] or 0) > _LAST_PORT for name in ("port", "to")):
        raise ValueError(f"'{text}' is not host:port:address:port")
    return Redirection(
        match["host"].strip("[]").rstrip(".").lower(),
        int(match["port"] or 0),
        match["target"].strip("[]"),
        int(match["to"] or 0),
    )


def _refused(host: str) -> WorkflowError:
    return WorkflowError.of(AUTHORIZATION, f"the outgoing policy does not allow the host '{host}'")
