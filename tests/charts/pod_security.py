"""The restricted Pod Security Standard, rule by rule."""

from __future__ import annotations

from typing import Any

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: dict[str, Any]) -> list[str]:
    """Return what in a pod's spec the standard forbids."""
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    for volume in pod.get("volumes", []):
        found += [
            f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - _VOLUMES
        ]
    context = pod.get("securityContext", {})
    if context.get("sysctls"):
        found.append("sysctls are set")
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        found += [f"container {container['name']}: {each}" for each in _of(container, context)]
    return found


def _of(container: dict[str, Any], pod: dict[str, Any]) -> list[str]:
    own = container.get("securityContext", {})
    context = {**pod, **own}
    capabilities = own.get("capabilities", {})
    broken = {
        "is privileged": own.get("privileged"),
        "may escalate": own.get("allowPrivilegeEscalation") is not False,
        "keeps capabilities": capabilities.get("drop") != ["ALL"],
        "adds capabilities": set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"},
        "may run as root": context.get("runAsNonRoot") is not True,
        "runs as root": context.get("runAsUser") == 0,
        "has no seccomp profile": context.get("seccompProfile", {}).get("type")
        not in {"RuntimeDefault", "Localhost"},
        "has a proc mount": own.get("procMount", "Default") != "Default",
        "has host ports": any(port.get("hostPort") for port in container.get("ports", [])),
    }
    return [rule for rule, is_broken in broken.items() if is_broken]
