"""Where a gRPC address leads."""

from __future__ import annotations

import pytest

from stigma.contracts.channels import channel_options, is_loopback, target_of


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("127.1.2.3:1", True),
        ("[::1]:1", True),
        ("[::1]", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("unix:/tmp/s", True),
        ("unix-abstract:s", True),
        ("ipv4:10.0.0.1:1,127.0.0.1:1", False),
        ("api.example.com:443", False),
        ("localhost.example.com:1", False),
        ("10.0.0.1:1", False),
        ("dns://8.8.8.8/localhost:1", False),
        ("", False),
    ],
)
def test_loopback(address: str, local: bool) -> None:
    assert is_loopback(address) is local
    assert (("grpc.enable_http_proxy", 0) in channel_options(address)) is local


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("localhost:1", "dns:///localhost:1"),
        ("api.example.com:443", "dns:///api.example.com:443"),
        ("dns://8.8.8.8/api:1", "dns://8.8.8.8/api:1"),
        ("unix:/tmp/s", "unix:/tmp/s"),
        ("unix-abstract:s", "unix-abstract:s"),
    ],
)
def test_an_address_is_resolved_by_name_unless_it_says_how(address: str, target: str) -> None:
    assert target_of(address) == target


def test_another_name_in_the_certificate() -> None:
    assert ("grpc.ssl_target_name_override", "api") in channel_options("x:1", server_name="api")
