"""Targets and options of the gRPC channels that clients open."""

from __future__ import annotations

import ipaddress
import json

MAX_MESSAGE_BYTES = 8 * 1024 * 1024

_SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "xds:")

_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    # Temporal's retries are the only ones, so that attempts can be counted.
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The default waits up to 2 min before another try: too long after a restart.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # By default a name is resolved once in 30 s: with both pods of a service replaced in that time,
    # as an upgrade does, calls would fail until it is over.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # Most calls are too short for a ping, but this also sets TCP_USER_TIMEOUT: a connection that
    # a network cut left half open is given up in seconds.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def target_of(address: str) -> str:
    """Return the gRPC target of `host:port`, every address behind the name; targets stay."""
    return address if address.startswith(_SCHEMES) else f"dns:///{address}"


def is_loopback(address: str) -> bool:
    """Return whether `host:port`, or a gRPC target, stays on this machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        address = address.removeprefix(scheme)
    host = address.rpartition(":")[0] if not address.endswith("]") else address
    host = host.strip("[]")
    if "," in address or not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def channel_options(address: str, *, server_name: str = "") -> list[tuple[str, int | str]]:
    """Return the options of a channel to an address.

    `server_name`: the name expected in the server's certificate, where it is not its address's.
    """
    options = list(_OPTIONS)
    if is_loopback(address):
        # A proxy meant for the outside must not get calls to this machine.
        options.append(("grpc.enable_http_proxy", 0))
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return options
