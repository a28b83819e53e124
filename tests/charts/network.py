"""What a NetworkPolicy lets out, by its own rules (no network plugin here enforces one)."""

from __future__ import annotations

import ipaddress
from typing import Any


def lets_out(policy: dict[str, Any], address: str, port: int) -> bool:
    """Whether a pod may open a TCP connection to an address outside the cluster."""
    assert "Egress" in policy["spec"]["policyTypes"]
    return any(
        _is_port(rule, port) and _is_peer(rule, ipaddress.ip_address(address))
        for rule in policy["spec"]["egress"]
    )


def _is_port(rule: dict[str, Any], port: int) -> bool:
    ports = rule.get("ports")
    return ports is None or any(
        each.get("protocol", "TCP") == "TCP" and each["port"] == port for each in ports
    )


def _is_peer(rule: dict[str, Any], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    # Selectors are of pods: an address outside is never one of them.
    blocks = [peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer]
    inside = any(
        address in ipaddress.ip_network(block["cidr"])
        and not any(address in ipaddress.ip_network(each) for each in block.get("except", []))
        for block in blocks
    )
    return "to" not in rule or inside


def admitted(policy: dict[str, Any], port: str) -> list[dict[str, Any]]:
    """Return the peers that may reach a port, by its name."""
    assert "Ingress" in policy["spec"]["policyTypes"]
    return [
        peer
        for rule in policy["spec"]["ingress"]
        if any(each["port"] == port for each in rule["ports"])
        for peer in rule["from"]
    ]


def selects(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a policy is for a pod with these labels."""
    wanted = policy["spec"]["podSelector"]["matchLabels"]
    return bool(wanted.items() <= labels.items())
