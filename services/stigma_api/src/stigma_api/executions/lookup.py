"""Executions found by what else names them: a request, a caller's workflow, an engine's run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client

from stigma.contracts import engine, ids
from stigma.contracts.executions import Execution, Kind
from stigma_api.access.principals import Action, Principal
from stigma_api.executions.listing import Listing
from stigma_api.executions.reader import Reader

EXAMINED = 1000
"""Most executions of a kind, the newest, whose requests and callers are looked through."""

_PAGE_SIZE = 250
_MAX_FOUND = 25


@dataclass
class Found:
    """Executions that a text names."""

    execution_id: str = ""
    """The one execution that has this id, or was started by this request of the principal's."""
    executions: list[Execution] = field(default_factory=list)
    """Those that were started by a request of this id, or that a workflow of this id waits for."""


class ExecutionLookup:
    """Finds executions for principals.

    Args:
        client: Temporal's.
        readers: of each kind.
        listings: of each kind.
    """

    def __init__(
        self,
        client: Client,
        readers: Mapping[Kind, Reader[Any]],
        listings: Mapping[Kind, Listing[Any]],
    ) -> None:
        self._client = client
        self._readers = readers
        self._listings = listings

    async def find(self, principal: Principal, text: str) -> Found:
        """Return what the principal may see of what a text names.

        Raises:
            ApiError: PERMISSION_DENIED; UNAVAILABLE.
        """
        principal.require(Action.EXECUTIONS_READ)
        for execution_id in self._possible_ids(principal, text):
            kind = Kind.of_id(execution_id)
            found = await self._readers[kind].find(execution_id) if kind else None
            if found is not None and principal.may_see(found.execution.spec.principal):
                return Found(execution_id)
        executions: list[Execution] = []
        for kind in Kind:
            executions += await self._named_in_memo(principal, kind, text)
        return Found(executions=executions[:_MAX_FOUND])

    def _possible_ids(self, principal: Principal, text: str) -> list[str]:
        if Kind.of_id(text) is not None:
            return [text]
        namespace = self._client.namespace
        possible = [ids.execution_id(principal.name, namespace, text, kind) for kind in Kind]
        if engine.is_run(text):
            execution_id = f"{Kind.WORKFLOW}-{text.partition('-')[2]}"
            if engine.run_id(execution_id) == text:
                possible.insert(0, execution_id)
        return possible

    async def _named_in_memo(self, principal: Principal, kind: Kind, text: str) -> list[Execution]:
        listing = self._listings[kind]
        query, token = listing.query(principal, ""), ""
        found: list[Execution] = []
        for _ in range(EXAMINED // _PAGE_SIZE):
            infos, token = await listing.infos(query, _PAGE_SIZE, token)
            for info in infos:
                execution = await listing.execution(info)
                if text in {execution.spec.request_id, execution.spec.caller.workflow_id}:
                    found.append(execution)
            if not token or len(found) >= _MAX_FOUND:
                break
        return found
