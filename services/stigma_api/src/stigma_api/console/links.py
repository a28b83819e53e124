"""Addresses of workflows in Temporal's own web UI."""

from __future__ import annotations

from urllib.parse import quote


class TemporalUi:
    """Links into Temporal's UI.

    Args:
        url: where the UI is; empty: nobody said, there are no links.
        namespace: the one Stigma runs in.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url.rstrip("/")
        self._namespace = namespace

    def workflow(self, workflow_id: str, run_id: str = "", namespace: str = "") -> str:
        """Return the address of a workflow, or of one run; empty where there is none."""
        if not self._url or not workflow_id:
            return ""
        parts = [namespace or self._namespace, "workflows", workflow_id]
        parts += [run_id, "history"] if run_id else []
        return f"{self._url}/namespaces/{'/'.join(quote(part, safe='') for part in parts)}"
