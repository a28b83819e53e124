"""The registry of definitions, agents or workflows: immutable versions in a database.

Deleting a definition blanks its versions but keeps their numbers, so that `reviewer@3` never comes
to mean something else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.executions import Kind
from stigma.internal.v1.execution_pb2 import ListMcpToolsResponse
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api import errors
from stigma_api.definitions.database import Database
from stigma_api.kinds import D

_APPLY_ATTEMPTS = 20
_MCP_TOOLS = "mcp_tools"


@dataclass(frozen=True)
class Version:
    """One version of a definition, without its content."""

    number: int
    create_time: datetime
    principal: str
    """Name of who applied it."""
    digest: str


class Registry(Generic[D]):
    """The definitions of one kind, by name and version."""

    def __init__(self, database: Database, kind: Kind, definition: type[D]) -> None:
        self.kind = kind
        self._database = database
        self._type: type[D] = definition
        self._table = table = _table(kind)
        self._live = table.c.deleted_at.is_(None)
        # Every start reads one of these two: they are put together once.
        self._newest = (
            sa.select(table)
            .where(self._live, table.c.name == sa.bindparam("wanted"))
            .order_by(table.c.version.desc())
            .limit(1)
        )
        self._one = self._newest.where(table.c.version == sa.bindparam("number"))

    async def apply(self, definition: D, principal: str) -> D:
        """Register a version, or return the newest when it has the same content already.

        Args:
            definition: name, spec and labels; the rest is assigned.
            principal: who applies it.
        """
        given = digested(definition)
        for _ in range(_APPLY_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    return await self._apply(connection, given, principal)
            except IntegrityError:
                continue  # another replica took the same version number
        raise errors.unavailable(
            f"{self.kind} {definition.name} is being applied by many at once: try again"
        )

    async def get(self, name: str, version: int | None = None) -> D | None:
        """Return one version, or the newest, or None."""
        query = self._newest if version is None else self._one
        parameters = {"wanted": name, "number": version}
        rows = await self._database.read(query, parameters)
        return self._definition(rows[0]) if rows else None

    async def versions(self, name: str, size: int) -> list[Version]:
        """Return up to `size` versions of a definition, the newest first."""
        table = self._table
        columns = (table.c.version, table.c.created_at, table.c.principal, table.c.digest)
        query = (
            sa.select(*columns)
            .where(self._live, table.c.name == name)
            .order_by(table.c.version.desc())
            .limit(size)
        )
        return [_version(row) for row in await self._database.read(query)]

    async def names(self, after: str, size: int) -> list[str]:
        """Return up to `size` names that come after `after`, in order."""
        name = self._table.c.name
        query = (
            sa.select(name).where(self._live, name > after).distinct().order_by(name).limit(size)
        )
        return [row[name] for row in await self._database.read(query)]

    async def newest(self, names: Sequence[str]) -> list[D]:
        """Return the newest version of each of these definitions that there is, by name."""
        table = self._table
        newest = (
            sa.select(table.c.name, sa.func.max(table.c.version).label("version"))
            .where(self._live, table.c.name.in_(names))
            .group_by(table.c.name)
            .subquery()
        )
        is_newest = (table.c.name == newest.c.name) & (table.c.version == newest.c.version)
        query = sa.select(table).join(newest, is_newest).order_by(table.c.name)
        return [self._definition(row) for row in await self._database.read(query)]

    async def delete(self, name: str) -> bool:
        """Delete all versions; return whether there were any."""
        query = (
            sa.update(self._table)
            .where(self._live, self._table.c.name == name)
            .values(spec=b"", labels="{}", deleted_at=datetime.now(UTC), **self._no_tools())
        )
        async with self._database.transaction() as connection:
            return bool((await connection.execute(query)).rowcount)

    async def _apply(self, connection: AsyncConnection, given: D, principal: str) -> D:
        table = self._table
        query = sa.select(table).where(table.c.name == given.name)
        query = query.order_by(table.c.version.desc()).limit(1)
        newest = (await connection.execute(query)).mappings().first()
        if newest and newest["deleted_at"] is None and newest["digest"] == given.digest:
            return self._definition(newest)
        now = datetime.now(UTC)
        given.version = newest["version"] + 1 if newest else 1
        given.create_time.FromDatetime(now)
        await connection.execute(
            sa.insert(table).values(
                name=given.name,
                version=given.version,
                spec=given.spec.SerializeToString(deterministic=True),
                labels=json.dumps(dict(given.labels), sort_keys=True),
                digest=given.digest,
                principal=principal,
                created_at=now,
                **_tools_columns(given),
            )
        )
        return given

    def _no_tools(self) -> dict[str, None]:
        return {_MCP_TOOLS: None} if self.kind == Kind.AGENT else {}

    def _definition(self, row: sa.RowMapping) -> D:
        definition = self._type(
            name=row["name"],
            version=row["version"],
            labels=json.loads(row["labels"]),
            digest=row["digest"],
        )
        definition.spec.ParseFromString(row["spec"])
        definition.create_time.FromDatetime(row["created_at"])
        if isinstance(definition, Agent) and row[_MCP_TOOLS]:
            listed = ListMcpToolsResponse.FromString(row[_MCP_TOOLS])
            definition.mcp_tools.extend(listed.tools)
        return definition


def _version(row: sa.RowMapping) -> Version:
    created: datetime = row["created_at"]
    return Version(
        number=row["version"],
        create_time=created if created.tzinfo else created.replace(tzinfo=UTC),
        principal=row["principal"],
        digest=row["digest"],
    )


def digested(definition: D) -> D:
    """Return name, spec, labels and MCP servers' tools, with the SHA-256 of the latter three."""
    given = type(definition)()
    given.spec.CopyFrom(definition.spec)
    given.labels.update(definition.labels)
    if isinstance(definition, Agent) and isinstance(given, Agent):
        given.mcp_tools.extend(definition.mcp_tools)
    digest = hashlib.sha256(given.SerializeToString(deterministic=True)).hexdigest()
    given.name, given.digest = definition.name, digest
    return given


def _tools_columns(definition: Agent | Workflow) -> dict[str, bytes]:
    """Return the columns that hold an agent's tools of MCP servers; none where it has none."""
    if not isinstance(definition, Agent) or not definition.mcp_tools:
        return {}
    listed = ListMcpToolsResponse(tools=definition.mcp_tools)
    return {_MCP_TOOLS: listed.SerializeToString(deterministic=True)}


def _table(kind: Kind) -> sa.Table:
    own = [sa.Column(_MCP_TOOLS, sa.LargeBinary)] if kind == Kind.AGENT else []
    return sa.Table(
        f"{kind}s",
        sa.MetaData(),
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("principal", sa.String(128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        *own,
    )
