"""The pages of agents and workflows: their lists, and one each with versions and what changed."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.definition_text import ChangedLine, changed_lines, definition_text
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api import errors
from stigma_api.access.principals import Action
from stigma_api.console.api import Api
from stigma_api.console.definition_views import limit_rows, tool_rows
from stigma_api.console.execution_list import ExecutionList
from stigma_api.console.input_views import printable
from stigma_api.console.searches import Search
from stigma_api.console.signed_in_pages import SignedInPages, principal_of
from stigma_api.console.views import Text


class DefinitionPages:
    """Handles the requests of principals about what is registered."""

    def __init__(self, api: Api, pages: SignedInPages, executions: ExecutionList) -> None:
        self._api = api
        self._pages = pages
        self._executions = executions

    async def agents(self, request: Request) -> Response:
        """List agents."""
        return await self._list(request, Kind.AGENT)

    async def workflows(self, request: Request) -> Response:
        """List workflows."""
        return await self._list(request, Kind.WORKFLOW)

    async def agent(self, request: Request) -> Response:
        """Show one agent: a version, what another has otherwise, and its executions."""
        return await self._show(request, Kind.AGENT)

    async def workflow(self, request: Request) -> Response:
        """Show one workflow, as `agent`."""
        return await self._show(request, Kind.WORKFLOW)

    async def _list(self, request: Request, kind: Kind) -> Response:
        page = request.query_params.get("page", "")
        found, next_page = await self._api.definitions(principal_of(request), kind, page)
        return await self._pages.page(
            request, "definitions.html", kind=kind, found=found, next=next_page
        )

    async def _show(self, request: Request, kind: Kind) -> Response:
        principal, name = principal_of(request), request.path_params["name"]
        version = _number(request, "version")
        shown = await self._api.definition(principal, kind, _id(name, version))
        versions = await self._api.versions(principal, kind, name)
        compared = _number(request, "compare")
        changes: list[ChangedLine] | None = None
        if compared is not None:
            other = await self._api.definition(principal, kind, _id(name, compared))
            changes = _changes(other, shown)
        search = Search(kind=kind, name=name)
        rows: Any = None
        if principal.may(Action.EXECUTIONS_READ):
            rows = await self._executions.rows(principal, search)
        return await self._pages.page(
            request,
            "definition.html",
            kind=kind,
            shown=shown,
            content=Text.of(printable(definition_text(shown))),
            limits=limit_rows(shown) if isinstance(shown, Agent) else [],
            tools=tool_rows(shown) if isinstance(shown, Agent) else [],
            versions=versions,
            compared=compared,
            changes=changes,
            search=search,
            rows=rows,
        )


def _changes(before: Agent | Workflow, after: Agent | Workflow) -> list[ChangedLine]:
    old, new = (printable(definition_text(each)) for each in (before, after))
    return changed_lines(old, new)


def _id(name: str, version: int | None) -> str:
    return name if version is None else f"{name}@{version}"


def _number(request: Request, field: str) -> int | None:
    """Return the number of a version that the query has, if it has one.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    text = request.query_params.get(field, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise errors.invalid_argument([(field, "is not the number of a version")])
    return int(text) if text else None
