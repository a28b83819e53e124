"""The registry, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma_api.registry import Registry
from stigma_api.status import CallError


def spec(description: str) -> AgentSpec:
    return AgentSpec(model="scripted:demo", description=description)


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
async def registry(url: str) -> AsyncIterator[Registry]:
    registry = await Registry.open(url)
    yield registry
    await registry.close()


async def test_versions_count_up_and_never_change(registry: Registry) -> None:
    first = await registry.apply("reviewer", spec("one"), {"a": "b"}, "alice")
    second = await registry.apply("reviewer", spec("two"), {"a": "b"}, "bob")
    assert (first.version, second.version) == (1, 2)
    assert await registry.get("reviewer") == second
    assert await registry.get("reviewer", 1) == first
    assert await registry.get("reviewer", 3) is None
    assert await registry.get("nobody") is None
    assert dict(first.labels) == {"a": "b"}
    assert first.create_time.ToMicroseconds() <= second.create_time.ToMicroseconds()


async def test_the_same_content_adds_no_version(registry: Registry) -> None:
    first = await registry.apply("reviewer", spec("one"), {"x": "1", "y": "2"}, "alice")
    assert await registry.apply("reviewer", spec("one"), {"y": "2", "x": "1"}, "bob") == first
    other = await registry.apply("reviewer", spec("one"), {"x": "1"}, "alice")
    assert other.version == 2
    # What an older version had is new again: versions are a history, not a set.
    back = await registry.apply("reviewer", spec("one"), {"x": "1", "y": "2"}, "alice")
    assert back.version == 3
    assert back.digest == first.digest


async def test_a_deleted_agent_is_gone_and_its_numbers_stay_taken(registry: Registry) -> None:
    await registry.apply("reviewer", spec("one"), {}, "alice")
    await registry.apply("reviewer", spec("two"), {}, "alice")
    assert await registry.delete("reviewer")
    assert not await registry.delete("reviewer")
    assert await registry.get("reviewer") is None
    assert await registry.get("reviewer", 1) is None
    assert await registry.names("", 10) == []
    assert await registry.newest(["reviewer"]) == []
    assert (await registry.apply("reviewer", spec("two"), {}, "alice")).version == 3


async def test_lists_the_newest_of_each_by_name(registry: Registry) -> None:
    for name in ("b", "a", "c"):
        await registry.apply(name, spec("one"), {}, "alice")
        await registry.apply(name, spec("two"), {}, "alice")
    assert await registry.names("", 2) == ["a", "b"]
    assert await registry.names("b", 2) == ["c"]
    newest = await registry.newest(["c", "nobody", "a"])
    assert [(agent.name, agent.version) for agent in newest] == [("a", 2), ("c", 2)]
    assert await registry.newest([]) == []


async def test_many_at_once_get_a_version_each(url: str) -> None:
    replicas = await asyncio.gather(*(Registry.open(url) for _ in range(3)))
    applied = await asyncio.gather(
        *(replicas[n % 3].apply("busy", spec(f"{n}"), {}, "alice") for n in range(12))
    )
    assert sorted(agent.version for agent in applied) == list(range(1, 13))
    same = await asyncio.gather(
        *(replicas[n % 3].apply("calm", spec("same"), {}, "alice") for n in range(6))
    )
    assert {agent.version for agent in same} == {1}
    for replica in replicas:
        await replica.close()


async def test_what_was_applied_is_there_after_a_restart(url: str) -> None:
    before = await Registry.open(url)
    applied = await before.apply("reviewer", spec("one"), {}, "alice")
    await before.close()
    after = await Registry.open(url)
    assert await after.get("reviewer") == applied
    await after.check()
    await after.close()


async def test_a_release_finds_its_tables_after_a_newer_one(url: str) -> None:
    """What a rollback meets: a step has been taken that this release does not know."""
    newer = await Registry.open(url)
    applied = await newer.apply("reviewer", spec("one"), {}, "alice")
    await newer.close()
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = 'later'"))
        await connection.execute(sa.text("ALTER TABLE agents ADD COLUMN later TEXT"))
    await engine.dispose()
    older = await Registry.open(url)
    assert await older.get("reviewer") == applied
    assert (await older.apply("reviewer", spec("two"), {}, "alice")).version == 2
    await older.close()


async def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    registry = await Registry.open(f"sqlite+aiosqlite:///{path}")
    # The same error code as a disk without room, without filling one.
    async with registry._writes.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CallError) as caught:
        await registry.apply("big", spec("x" * 100_000), {}, "alice")
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.message == "the registry's database has no room left"
    assert await registry.get("big") is None
    await registry.close()


async def test_a_locked_database_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_api.registry._BUSY", timedelta(milliseconds=50))
    path = tmp_path / "registry.db"
    registry = await Registry.open(f"sqlite+aiosqlite:///{path}")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CallError) as caught:
        await registry.apply("reviewer", spec("one"), {}, "alice")
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    blocker.execute("ROLLBACK")
    blocker.close()
    assert (await registry.apply("reviewer", spec("one"), {}, "alice")).version == 1
    await registry.close()


async def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    for url in (
        f"sqlite+aiosqlite:///{tmp_path}/none/registry.db",
        "postgresql+asyncpg://nobody@127.0.0.1:1/none",
    ):
        with pytest.raises(CallError) as caught:
            await Registry.open(url)
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE


async def test_a_damaged_database_is_refused_without_its_words(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    registry = await Registry.open(f"sqlite+aiosqlite:///{path}")
    async with registry._writes.connect() as connection:
        await connection.exec_driver_sql("DROP TABLE agents")
        await connection.commit()
    with pytest.raises(CallError) as caught:
        await registry.get("reviewer")
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert "SELECT" not in caught.value.message
    await registry.close()
