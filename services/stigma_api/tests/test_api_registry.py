"""The registry of either kind, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma_api.definitions.database import Database
from stigma_api.definitions.registry import Registry
from stigma_api.errors import ApiError


async def apply(
    registry: Registry[Any],
    name: str,
    content: str,
    labels: dict[str, str] | None = None,
    principal: str = "alice",
) -> Any:
    """Register a definition of the registry's kind that differs in its description."""
    if registry.kind is Kind.AGENT:
        agent = AgentSpec(model="scripted:demo", description=content)
        return await registry.apply(Agent(name=name, spec=agent, labels=labels), principal)
    workflow = WorkflowSpec(document="{}", description=content)
    return await registry.apply(Workflow(name=name, spec=workflow, labels=labels), principal)


def of_kind(database: Database, kind: Kind) -> Registry[Any]:
    if kind is Kind.AGENT:
        return Registry(database, kind, Agent)
    return Registry(database, kind, Workflow)


@asynccontextmanager
async def opened(url: str, kind: Kind = Kind.AGENT) -> AsyncIterator[Registry[Any]]:
    database = await Database.open(url)
    yield of_kind(database, kind)
    await database.close()


@pytest.fixture(params=list(Kind))
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/registry.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def url(database: str) -> str:
    """An empty database."""
    if database.startswith("postgresql"):
        engine = create_async_engine(database)
        async with engine.begin() as connection:
            await connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            await connection.execute(sa.text("CREATE SCHEMA public"))
        await engine.dispose()
    return database


@pytest.fixture
async def registry(url: str, kind: Kind) -> AsyncIterator[Registry[Any]]:
    async with opened(url, kind) as registry:
        yield registry


async def test_versions_count_up_and_never_change(registry: Registry[Any]) -> None:
    first = await apply(registry, "reviewer", "one", {"a": "b"}, "alice")
    second = await apply(registry, "reviewer", "two", {"a": "b"}, "bob")
    assert (first.version, second.version) == (1, 2)
    assert await registry.get("reviewer") == second
    assert await registry.get("reviewer", 1) == first
    assert await registry.get("reviewer", 3) is None
    assert await registry.get("nobody") is None
    assert dict(first.labels) == {"a": "b"}
    assert first.create_time.ToMicroseconds() <= second.create_time.ToMicroseconds()


async def test_the_same_content_adds_no_version(registry: Registry[Any]) -> None:
    first = await apply(registry, "reviewer", "one", {"x": "1", "y": "2"}, "alice")
    assert await apply(registry, "reviewer", "one", {"y": "2", "x": "1"}, "bob") == first
    other = await apply(registry, "reviewer", "one", {"x": "1"}, "alice")
    assert other.version == 2
    # What an older version had is new again: versions are a history, not a set.
    back = await apply(registry, "reviewer", "one", {"x": "1", "y": "2"}, "alice")
    assert back.version == 3
    assert back.digest == first.digest


async def test_a_deleted_agent_is_gone_and_its_numbers_stay_taken(registry: Registry[Any]) -> None:
    await apply(registry, "reviewer", "one")
    await apply(registry, "reviewer", "two")
    assert await registry.delete("reviewer")
    assert not await registry.delete("reviewer")
    assert await registry.get("reviewer") is None
    assert await registry.get("reviewer", 1) is None
    assert await registry.names("", 10) == []
    assert await registry.newest(["reviewer"]) == []
    assert (await apply(registry, "reviewer", "two")).version == 3


async def test_lists_the_newest_of_each_by_name(registry: Registry[Any]) -> None:
    for name in ("b", "a", "c"):
        await apply(registry, name, "one")
        await apply(registry, name, "two")
    assert await registry.names("", 2) == ["a", "b"]
    assert await registry.names("b", 2) == ["c"]
    newest = await registry.newest(["c", "nobody", "a"])
    assert [(agent.name, agent.version) for agent in newest] == [("a", 2), ("c", 2)]
    assert await registry.newest([]) == []


async def test_many_at_once_get_a_version_each(url: str, kind: Kind) -> None:
    async with asyncio.TaskGroup() as group:
        opening = [group.create_task(Database.open(url)) for _ in range(3)]
    databases = [each.result() for each in opening]
    replicas = [of_kind(database, kind) for database in databases]
    applied = await asyncio.gather(*(apply(replicas[n % 3], "busy", f"{n}") for n in range(12)))
    assert sorted(agent.version for agent in applied) == list(range(1, 13))
    same = await asyncio.gather(*(apply(replicas[n % 3], "calm", "same") for n in range(6)))
    assert {agent.version for agent in same} == {1}
    for database in databases:
        await database.close()


async def test_a_new_file_that_another_writes_to_is_waited_for(tmp_path: Path) -> None:
    """Two that open a new file at once: SQLite fails the second one's change of journal at once."""
    path = tmp_path / "registry.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.3, writer.close)
    async with opened(f"sqlite+aiosqlite:///{path}") as registry:
        assert (await apply(registry, "reviewer", "one")).version == 1


async def test_what_was_applied_is_there_after_a_restart(url: str, kind: Kind) -> None:
    async with opened(url, kind) as before:
        applied = await apply(before, "reviewer", "one")
    async with opened(url, kind) as after:
        assert await after.get("reviewer") == applied


async def test_the_kinds_know_nothing_of_each_other(url: str) -> None:
    async with opened(url, Kind.AGENT) as agents, opened(url, Kind.WORKFLOW) as workflows:
        await apply(agents, "reviewer", "one")
        await apply(agents, "reviewer", "two")
        assert await workflows.get("reviewer") is None
        assert (await apply(workflows, "reviewer", "three")).version == 1
        assert await workflows.delete("reviewer")
        newest = await agents.get("reviewer")
        assert newest is not None
        assert newest.version == 2


async def test_a_release_finds_its_tables_after_a_newer_one(url: str) -> None:
    """What a rollback meets: a step has been taken that this release does not know."""
    async with opened(url) as newer:
        applied = await apply(newer, "reviewer", "one")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = 'later'"))
        await connection.execute(sa.text("ALTER TABLE agents ADD COLUMN later TEXT"))
    await engine.dispose()
    async with opened(url) as older:
        assert await older.get("reviewer") == applied
        assert (await apply(older, "reviewer", "two")).version == 2


async def test_a_database_of_the_first_release_gets_what_it_lacks(url: str) -> None:
    async with opened(url) as first:
        applied = await apply(first, "reviewer", "one")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(sa.text("DROP TABLE workflows"))
        await connection.execute(sa.text("ALTER TABLE agents DROP COLUMN mcp_tools"))
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    await engine.dispose()
    async with opened(url, Kind.WORKFLOW) as workflows:
        assert (await apply(workflows, "reviewer", "one")).version == 1
    async with opened(url) as agents:
        assert await agents.get("reviewer") == applied


async def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    async with opened(f"sqlite+aiosqlite:///{tmp_path}/registry.db") as registry:
        # The same error code as a disk without room, without filling one.
        async with registry._database._writes.connect() as connection:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ApiError) as caught:
            await apply(registry, "big", "x" * 100_000)
        assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.message == "the registry's database has no room left"
        assert await registry.get("big") is None


async def test_a_locked_database_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_api.definitions.database._BUSY", timedelta(milliseconds=50))
    path = tmp_path / "registry.db"
    async with opened(f"sqlite+aiosqlite:///{path}") as registry:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ApiError) as caught:
            await apply(registry, "reviewer", "one")
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
        blocker.execute("ROLLBACK")
        blocker.close()
        assert (await apply(registry, "reviewer", "one")).version == 1


async def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    for url in (
        f"sqlite+aiosqlite:///{tmp_path}/none/registry.db",
        "postgresql+asyncpg://nobody@127.0.0.1:1/none",
    ):
        with pytest.raises(ApiError) as caught:
            await Database.open(url)
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE


async def test_a_damaged_database_is_refused_without_its_words(tmp_path: Path) -> None:
    async with opened(f"sqlite+aiosqlite:///{tmp_path}/registry.db") as registry:
        async with registry._database._writes.connect() as connection:
            await connection.exec_driver_sql("DROP TABLE agents")
            await connection.commit()
        with pytest.raises(ApiError) as caught:
            await registry.get("reviewer")
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
        assert "SELECT" not in caught.value.message
        await registry._database.check()
