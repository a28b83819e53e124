"""The registry's database: SQLite by default, PostgreSQL for several replicas."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Protocol

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from stigma_api import errors
from stigma_api.errors import ApiError

_BUSY = timedelta(seconds=5)
_SQLITE_OPTIONS = {"timeout": _BUSY.total_seconds()}
_BUSY_INTERVAL = timedelta(milliseconds=50)
_RETRY_AFTER = timedelta(seconds=5)
# PostgreSQL's error class of insufficient resources (disk, memory, connections).
_INSUFFICIENT_RESOURCES = "53"
# Advisory lock of the migrations: any number, the same on every replica.
_MIGRATION_LOCK = 73_000_001


class Database:
    """Connections to the database, its schema up to date.

    Args:
        reads: connections without transactions, for what is one statement: half the round trips.
        writes: connections with transactions.
    """

    def __init__(self, reads: Reads, writes: AsyncEngine) -> None:
        self._reads = reads
        self._writes = writes

    @classmethod
    async def open(cls, url: str) -> Database:
        """Connect, and bring the schema up to date.

        Raises:
            ApiError: UNAVAILABLE; the database cannot be reached.
        """
        database = cls(_reads(url), _engine(url))
        try:
            async with database.transaction() as connection:
                await connection.run_sync(migrate)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close every connection."""
        await self._reads.close()
        await self._writes.dispose()

    async def check(self) -> None:
        """Raise UNAVAILABLE unless the database answers."""
        await self.read(sa.select(sa.literal(1)))

    async def read(
        self, query: sa.Select[Any], parameters: Mapping[str, object] | None = None
    ) -> Sequence[sa.RowMapping]:
        """Return the rows of one statement.

        Raises:
            ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED; also of a transaction.
        """
        with _as_api_errors():
            return await self._reads.read(query, parameters)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection in a transaction that writes.

        Raises:
            IntegrityError: the row exists already.
        """
        with _as_api_errors():
            async with self._writes.begin() as connection:
                yield connection


class Reads(Protocol):
    """Runs statements that read."""

    async def read(
        self, query: sa.Select[Any], parameters: Mapping[str, object] | None
    ) -> Sequence[sa.RowMapping]:
        """Return the rows of a statement."""

    async def close(self) -> None:
        """Close every connection."""


class _ThreadReads:
    """Reads of SQLite, each in one turn of a thread.

    The asynchronous driver takes a turn for each of the five steps of a statement, which costs more
    than the statement.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    async def read(
        self, query: sa.Select[Any], parameters: Mapping[str, object] | None
    ) -> Sequence[sa.RowMapping]:
        return await asyncio.to_thread(self._read, query, parameters)

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.dispose)

    def _read(
        self, query: sa.Select[Any], parameters: Mapping[str, object] | None
    ) -> Sequence[sa.RowMapping]:
        with self._engine.connect() as connection:
            return connection.execute(query, parameters).mappings().all()


class _ServerReads:
    """Reads of a database server."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(
        self, query: sa.Select[Any], parameters: Mapping[str, object] | None
    ) -> Sequence[sa.RowMapping]:
        async with self._engine.connect() as connection:
            result: sa.CursorResult[Any] = await connection.execute(query, parameters)
            return result.mappings().all()

    async def close(self) -> None:
        await self._engine.dispose()


@contextmanager
def _as_api_errors() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise _api_error(error) from error
    except (OSError, PoolTimeoutError) as error:
        raise errors.unavailable("the registry's database cannot be reached") from error


def _api_error(error: DBAPIError) -> ApiError:
    """Return the API error for a database's, in one line; details stay in the log."""
    origin: Any = error.orig
    if _is_full(origin):
        return errors.resource_exhausted("the registry's database has no room left", _RETRY_AFTER)
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return errors.unavailable("the registry's database does not answer")
    return errors.unavailable("the registry's database refused the operation")


def _is_full(origin: Any) -> bool:
    if isinstance(origin, sqlite3.Error):
        code = getattr(origin, "sqlite_errorcode", None)
        return code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
    return str(getattr(origin, "sqlstate", "") or "").startswith(_INSUFFICIENT_RESOURCES)


def _reads(url: str) -> Reads:
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _ServerReads(_engine(url, **options))
    # The log that others write is kept by the connections that write.
    in_thread = parsed.set(drivername="sqlite")
    return _ThreadReads(sa.create_engine(in_thread, connect_args=_SQLITE_OPTIONS, **options))


def _engine(url: str, **options: Any) -> AsyncEngine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(
            parsed, pool_pre_ping=True, pool_timeout=_BUSY.total_seconds(), **options
        )
    engine = create_async_engine(parsed, connect_args=_SQLITE_OPTIONS)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        # The driver's own transactions begin late and as readers; ours say BEGIN themselves.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={int(_BUSY.total_seconds() * 1000)}")
        _keep_a_log(cursor)
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A reader that turns writer fails at once when another wrote meanwhile.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _keep_a_log(cursor: Any) -> None:
    """Have the database keep a write-ahead log, beside which others read while one writes.

    SQLite does not wait for a busy database to change its journal, whatever its timeout.
    """
    attempts = _BUSY // _BUSY_INTERVAL
    for attempt in range(1, attempts + 1):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == attempts:
                raise
            await_only(asyncio.sleep(_BUSY_INTERVAL.total_seconds()))
        else:
            return


def migrate(connection: sa.Connection) -> None:
    """Run the migrations that this database lacks; none where a newer release has migrated it.

    Migrations only add: the release before reads and writes the tables of this one, so that
    replicas of both may run side by side, and so that it can be rolled back to.
    """
    if connection.dialect.name == "postgresql":
        # Replicas start together: one brings the schema up to date, the others wait for it.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    config = Config()
    config.set_main_option("script_location", "stigma_api.definitions:migrations")
    config.attributes["connection"] = connection
    ours = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None or current in ours:
        command.upgrade(config, "head")
    else:
        structlog.get_logger().info("schema_of_a_newer_release", revision=current)
