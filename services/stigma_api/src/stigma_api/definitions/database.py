"""The registry's database: SQLite by default, PostgreSQL for several replicas."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

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

    def __init__(self, reads: AsyncEngine, writes: AsyncEngine) -> None:
        self._reads = reads
        self._writes = writes

    @classmethod
    async def open(cls, url: str) -> Database:
        """Connect, and bring the schema up to date.

        Raises:
            ApiError: UNAVAILABLE; the database cannot be reached.
        """
        database = cls(
            _engine(url, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True),
            _engine(url),
        )
        try:
            async with database.transaction() as connection:
                await connection.run_sync(migrate)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close every connection."""
        await self._reads.dispose()
        await self._writes.dispose()

    async def check(self) -> None:
        """Raise UNAVAILABLE unless the database answers."""
        async with self.connection() as connection:
            await connection.execute(sa.select(sa.literal(1)))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for one statement that reads.

        Raises:
            ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED; also of a transaction.
        """
        with _as_api_errors():
            async with self._reads.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection in a transaction that writes.

        Raises:
            IntegrityError: the row exists already.
        """
        with _as_api_errors():
            async with self._writes.begin() as connection:
                yield connection


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
        cursor.execute(f"PRAGMA busy_timeout={int(_BUSY.total_seconds() * 1000)}")
        _keep_a_log(cursor)
        cursor.close()

    if "isolation_level" not in options:

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
