"""The registry of agents: immutable versions in a database.

SQLite by default, PostgreSQL for several replicas. Deleting an agent blanks its versions but keeps
their numbers, so that `reviewer@3` never comes to mean something else.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma_api import schema, status
from stigma_api.status import CallError

_AGENTS = sa.Table(
    "agents",
    sa.MetaData(),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("principal", sa.String(128), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("deleted_at", sa.DateTime(timezone=True)),
)
_LIVE = _AGENTS.c.deleted_at.is_(None)
# Every start reads one of these two: they are put together once.
_NEWEST = (
    sa.select(_AGENTS)
    .where(_LIVE, _AGENTS.c.name == sa.bindparam("agent"))
    .order_by(_AGENTS.c.version.desc())
    .limit(1)
)
_ONE = _NEWEST.where(_AGENTS.c.version == sa.bindparam("number"))
_APPLY_ATTEMPTS = 20
_BUSY = timedelta(seconds=5)
_RETRY_AFTER = timedelta(seconds=5)
# PostgreSQL's class 53, insufficient resources (disk full, out of memory, too many connections).
_NO_RESOURCES = "53"


class Registry:
    """Agents, by name and version.

    Args:
        reads: connections without transactions, for what is one statement: half the round trips.
        writes: connections with transactions.
    """

    def __init__(self, reads: AsyncEngine, writes: AsyncEngine) -> None:
        self._reads = reads
        self._writes = writes

    @classmethod
    async def open(cls, url: str) -> Registry:
        """Connect, and bring the schema up to date.

        Raises:
            CallError: UNAVAILABLE; the database cannot be reached.
        """
        registry = cls(
            _engine(url, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True),
            _engine(url),
        )
        try:
            async with registry._transaction() as connection:
                await connection.run_sync(schema.migrate)
        except BaseException:
            await registry.close()
            raise
        return registry

    async def close(self) -> None:
        """Close every connection."""
        await self._reads.dispose()
        await self._writes.dispose()

    async def check(self) -> None:
        """Raise UNAVAILABLE unless the database answers."""
        async with self._connection() as connection:
            await connection.execute(sa.select(sa.literal(1)))

    async def apply(
        self, name: str, spec: AgentSpec, labels: Mapping[str, str], principal: str
    ) -> Agent:
        """Register a version, or return the newest when it has the same content already."""
        agent = Agent(name=name, spec=spec, labels=labels, digest=content_digest(spec, labels))
        for _ in range(_APPLY_ATTEMPTS):
            try:
                async with self._transaction() as connection:
                    return await _apply(connection, agent, principal)
            except IntegrityError:
                continue  # another replica took the same version number
        raise status.unavailable(f"agent {name} is being applied by many at once: try again")

    async def get(self, name: str, version: int | None = None) -> Agent | None:
        """Return one version, or the newest, or None."""
        query = _NEWEST if version is None else _ONE
        parameters = {"agent": name, "number": version}
        async with self._connection() as connection:
            row = (await connection.execute(query, parameters)).mappings().first()
        return _agent(row) if row else None

    async def names(self, after: str, size: int) -> list[str]:
        """Return up to `size` names of agents that come after `after`, in order."""
        query = (
            sa.select(_AGENTS.c.name)
            .where(_LIVE, _AGENTS.c.name > after)
            .distinct()
            .order_by(_AGENTS.c.name)
            .limit(size)
        )
        async with self._connection() as connection:
            return list((await connection.execute(query)).scalars())

    async def newest(self, names: Sequence[str]) -> list[Agent]:
        """Return the newest version of each of these agents that there is, by name."""
        newest = (
            sa.select(_AGENTS.c.name, sa.func.max(_AGENTS.c.version).label("version"))
            .where(_LIVE, _AGENTS.c.name.in_(names))
            .group_by(_AGENTS.c.name)
            .subquery()
        )
        query = (
            sa.select(_AGENTS)
            .join(
                newest,
                (_AGENTS.c.name == newest.c.name) & (_AGENTS.c.version == newest.c.version),
            )
            .order_by(_AGENTS.c.name)
        )
        async with self._connection() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [_agent(row) for row in rows]

    async def delete(self, name: str) -> bool:
        """Delete all versions; return whether there were any."""
        query = (
            sa.update(_AGENTS)
            .where(_LIVE, _AGENTS.c.name == name)
            .values(spec=b"", labels="{}", deleted_at=datetime.now(UTC))
        )
        async with self._transaction() as connection:
            return bool((await connection.execute(query)).rowcount)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one statement that reads."""
        with _refusing():
            async with self._reads.connect() as connection:
                yield connection

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that writes."""
        with _refusing():
            async with self._writes.begin() as connection:
                yield connection


def content_digest(spec: AgentSpec, labels: Mapping[str, str]) -> str:
    """Return the SHA-256 over spec and labels, in hex."""
    content = Agent(spec=spec, labels=labels)
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()


async def _apply(connection: AsyncConnection, agent: Agent, principal: str) -> Agent:
    query = sa.select(_AGENTS).where(_AGENTS.c.name == agent.name)
    query = query.order_by(_AGENTS.c.version.desc()).limit(1)
    newest = (await connection.execute(query)).mappings().first()
    if newest and newest["deleted_at"] is None and newest["digest"] == agent.digest:
        return _agent(newest)
    now = datetime.now(UTC)
    applied = Agent()
    applied.CopyFrom(agent)
    applied.version = newest["version"] + 1 if newest else 1
    applied.create_time.FromDatetime(now)
    await connection.execute(
        sa.insert(_AGENTS).values(
            name=agent.name,
            version=applied.version,
            spec=agent.spec.SerializeToString(deterministic=True),
            labels=json.dumps(dict(agent.labels), sort_keys=True),
            digest=agent.digest,
            principal=principal,
            created_at=now,
        )
    )
    return applied


def _agent(row: sa.RowMapping) -> Agent:
    agent = Agent(
        name=row["name"],
        version=row["version"],
        spec=AgentSpec.FromString(row["spec"]),
        labels=json.loads(row["labels"]),
        digest=row["digest"],
    )
    agent.create_time.FromDatetime(row["created_at"])
    return agent


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise _refusal(error) from error
    except (OSError, PoolTimeoutError) as error:
        raise status.unavailable("the registry's database cannot be reached") from error


def _refusal(error: DBAPIError) -> CallError:
    """Say in one line what the database's error means for the caller; details stay in the log."""
    origin: Any = error.orig
    if _is_full(origin):
        return status.exhausted("the registry's database has no room left", _RETRY_AFTER)
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return status.unavailable("the registry's database does not answer")
    return status.unavailable("the registry's database refused the operation")


def _is_full(origin: Any) -> bool:
    if isinstance(origin, sqlite3.Error):
        code = getattr(origin, "sqlite_errorcode", None)
        return code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
    return str(getattr(origin, "sqlstate", "") or "").startswith(_NO_RESOURCES)


def _engine(url: str, **options: Any) -> AsyncEngine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(
            parsed, pool_pre_ping=True, pool_timeout=_BUSY.total_seconds(), **options
        )
    busy = {"timeout": _BUSY.total_seconds()}
    engine = create_async_engine(parsed, connect_args=busy, **options)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        # The driver's own transactions begin late and as readers; ours say BEGIN themselves.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA busy_timeout={int(_BUSY.total_seconds() * 1000)}")
        cursor.close()

    if "isolation_level" not in options:

        @sa.event.listens_for(engine.sync_engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            # A reader that turns writer fails at once when another wrote meanwhile.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
