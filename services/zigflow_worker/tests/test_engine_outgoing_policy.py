"""The outgoing policy: which addresses are allowed, and where connections go instead."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest

from zigflow_worker.errors import AUTHORIZATION, WorkflowError
from zigflow_worker.outgoing.policy import Address, OutgoingPolicy

HOSTS = {
    "api.example.com": ["203.0.113.7", "2001:db8::7"],
    "internal.example.com": ["10.1.2.3"],
    "mixed.example.com": ["127.0.0.1", "203.0.113.8"],
    "evil.example.com": ["169.254.169.254"],
}


async def resolve(host: str, port: int) -> Sequence[str]:
    return HOSTS[host]


async def addresses(host: str, **rules: tuple[str, ...]) -> list[str]:
    """The addresses allowed, none where policy refuses."""
    policy = OutgoingPolicy(**rules, resolve=resolve)
    try:
        return [address.ip for address in await policy.addresses(host, 443)]
    except WorkflowError as error:
        return [] if error.problem["type"] == AUTHORIZATION.uri else [str(error)]


@pytest.mark.parametrize(
    ("host", "allow", "deny", "allowed"),
    [
        ("api.example.com", (), (), HOSTS["api.example.com"]),
        ("API.Example.com.", (), (), HOSTS["api.example.com"]),
        ("internal.example.com", (), (), ["10.1.2.3"]),
        ("internal.example.com", (), ("10.0.0.0/8",), []),
        ("internal.example.com", ("10.1.0.0/16",), ("10.0.0.0/8",), ["10.1.2.3"]),
        ("internal.example.com", ("*.example.com",), ("0.0.0.0/0",), ["10.1.2.3"]),
        ("internal.example.com", ("*.example.org",), ("0.0.0.0/0",), []),
        ("api.example.com", (), ("*.example.com",), []),
        ("api.example.com", ("api.*",), ("*.example.com",), HOSTS["api.example.com"]),
        ("api.example.com", ("203.0.113.0/24",), ("*.example.com",), []),
        ("api.example.com", (), ("2001:db8::/32",), ["203.0.113.7"]),
        ("mixed.example.com", (), (), ["203.0.113.8"]),
        ("evil.example.com", (), (), []),
        ("evil.example.com", ("evil.example.com",), (), ["169.254.169.254"]),
        ("127.0.0.1", (), (), []),
        ("127.0.0.1", ("127.0.0.0/8",), (), ["127.0.0.1"]),
        ("::ffff:127.0.0.1", ("127.0.0.0/8",), (), ["::ffff:7f00:1"]),
        ("::ffff:10.0.0.1", (), ("10.0.0.0/8",), []),
        ("2002:a00:1::", (), ("10.0.0.0/8",), []),
        ("64:ff9b::a00:1", (), ("10.0.0.0/8",), []),
        ("198.51.100.1", (), (), ["198.51.100.1"]),
        ("100.100.100.200", (), (), []),
        ("168.63.129.16", (), (), []),
        ("fd00:ec2::254", (), (), []),
        ("fd20:ce::254", (), (), []),
    ],
)
async def test_rules(
    host: str, allow: tuple[str, ...], deny: tuple[str, ...], allowed: list[str]
) -> None:
    assert await addresses(host, allow=allow, deny=deny) == allowed


@pytest.mark.parametrize(
    ("rule", "host", "port", "address"),
    [
        ("api.example.com:443:127.0.0.1:8443", "api.example.com", 443, ("127.0.0.1", 8443)),
        ("api.example.com:443:127.0.0.1:8443", "API.example.com", 443, ("127.0.0.1", 8443)),
        ("api.example.com:443:127.0.0.1:8443", "api.example.com", 80, ("203.0.113.7", 80)),
        ("api.example.com:443:127.0.0.1:8443", "10.1.2.3", 443, ("10.1.2.3", 443)),
        ("::127.0.0.1:", "api.example.com", 80, ("127.0.0.1", 80)),
        ("::internal.example.com:", "api.example.com", 80, ("10.1.2.3", 80)),
        (":443::8443", "10.1.2.3", 443, ("10.1.2.3", 8443)),
        ("[2001:db8::1]:443:[::1]:1", "2001:db8::1", 443, ("::1", 1)),
    ],
)
async def test_connect_to(rule: str, host: str, port: int, address: tuple[str, int]) -> None:
    policy = OutgoingPolicy(("127.0.0.1", "::1"), connect_to=(rule,), resolve=resolve)
    assert (await policy.addresses(host, port))[0] == Address(*address)


async def test_the_policy_is_for_the_address_connected_to() -> None:
    policy = OutgoingPolicy(connect_to=("api.example.com:443:127.0.0.1:8443",), resolve=resolve)
    with pytest.raises(WorkflowError, match=r"does not allow the host 'api\.example\.com'"):
        await policy.addresses("api.example.com", 443)


@pytest.mark.parametrize(
    "rule", ["a:1:b", "a:1:b:c", "a:99999:b:1", "a:1:b:1:2", "[::1:1:b:1", "a b:1:c:2", ""]
)
def test_connect_to_that_cannot_be_read(rule: str) -> None:
    with pytest.raises(ValueError, match="host:port:address:port"):
        OutgoingPolicy(connect_to=(rule,))


@pytest.mark.parametrize("rule", ["", "http://x", "10.0.0.0/33", "a b", "host:80"])
def test_rules_that_cannot_be_read(rule: str) -> None:
    with pytest.raises(ValueError, match="neither a network"):
        OutgoingPolicy(allow=(rule,))


async def test_names_are_resolved_by_the_system() -> None:
    [address, *_] = await OutgoingPolicy(("localhost",)).addresses("localhost", 80)
    known = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    assert address == (known[0][4][0], 80)
