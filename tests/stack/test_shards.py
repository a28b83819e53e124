"""All tests side by side: nothing is left out, and what ran twice counts once."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.stack.contract import ContractTable
from tests.stack.tables import joined_rows
from tools.shards import jobs, run
from tools.shards.bare import OUTSIDE, bare_environment
from tools.shards.jobs import Job, JobQueue
from tools.shards.plan import ROOT, SHARDS, Shard
from tools.shards.report import print_cut_logs, print_failed_tests, print_failures, read_tests

JUNIT = """\
<testsuites><testsuite>
<testcase classname="tests.images.test_life" name="test_it[a.b]" time="{seconds}">
{inside}</testcase>
</testsuite></testsuites>
"""


def test_every_test_is_in_one_shard() -> None:
    for file in ROOT.glob("[pst]*/**/test_*.py"):
        path = file.relative_to(ROOT)
        of = [one.name for one in SHARDS if any(path.is_relative_to(f) for f in one.folders)]
        assert len(of) == 1, (path, of)


def test_a_bare_machine_lacks_what_tests_need_of_others(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in (*OUTSIDE, "git", "not-executable"):
        (programs / name).touch(mode=0o755)
    (programs / "not-executable").chmod(0o644)
    environment = bare_environment(
        {"PATH": f"{programs}:/nowhere", "HOME": "/h", "STIGMA_NO_SKIP": "1"}, tmp_path / "bare"
    )
    assert "STIGMA_NO_SKIP" not in environment
    assert [one.name for one in Path(environment["PATH"]).iterdir()] == ["git"]
    assert shutil.which("git", path=environment["PATH"])
    assert environment["HOME"] == "/h"
    assert not Path(environment["DOCKER_HOST"].removeprefix("unix://")).exists()


async def test_what_was_skipped_follows_once_it_is_prepared(tmp_path: Path) -> None:
    long, short = Shard("long", (), 9), Shard("short", (), 1, 20, needs="images")
    skipped = Job(short, ("tests/test_it.py::test_it",))
    following = {short.name: skipped, skipped.name: None, long.name: None}
    queue = JobQueue(
        [Job(long), Job(short)], next_job=lambda job: following[job.name], prepared=tmp_path
    )
    assert await queue.take() == Job(short), "more comes after it"
    queue.done(Job(short))
    assert await queue.take() == Job(long), "the images are not there"
    waiting = asyncio.create_task(queue.take())
    queue.done(Job(long))
    (tmp_path / "images").touch()
    assert await waiting == skipped
    end = asyncio.create_task(queue.take())
    queue.done(skipped)
    assert await end is None


async def test_what_waits_has_a_lane_of_its_own() -> None:
    busy, waits = Job(Shard("busy", (), 1)), Job(Shard("waits", (), 9, waits=True))
    queue = JobQueue([busy, waits])
    assert await queue.take() == busy
    assert await queue.take(that_waits=True) == waits
    others = [asyncio.create_task(queue.take(that_waits=each)) for each in (False, True)]
    queue.done(busy)
    queue.done(waits)
    assert await asyncio.gather(*others) == [None, None]


def test_of_a_test_that_ran_twice_the_later_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory, inside, seconds in ((first, "<skipped/>", 0), (second, "", 2.5)):
        directory.mkdir()
        (directory / "junit.xml").write_text(JUNIT.format(inside=inside, seconds=seconds))
    (first / "contract.json").write_text('[["API down", {"a": "skipped", "b": "passed"}]]')
    (second / "contract.json").write_text('[["API down", {"a": "passed"}]]')
    [test] = read_tests([first, second, tmp_path / "absent"])
    assert (test.folder, test.name, test.seconds) == ("tests/images", "test_it[a.b]", 2.5)
    assert test.outcome == "passed"
    lines = ContractTable.lines(joined_rows(ContractTable, [first, second]))
    assert "passed   API down (2 tests, containers)" in list(lines)


def test_a_failure_is_said_last_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = '<error message="OSError: [Errno 28]&#10;No space left"/>'
    (tmp_path / "junit.xml").write_text(JUNIT.format(inside=inside, seconds=1))
    print_failed_tests(read_tests([tmp_path]))
    assert capsys.readouterr().out.splitlines()[-1] == (
        "tests.images.test_life: test_it[a.b]: OSError: [Errno 28] No space left"
    )


async def test_a_shard_that_hangs_is_ended_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "RESULTS", tmp_path)
    job = Job(Shard("hanging", (), 1))

    def limit_once_it_hangs(_: Job) -> float:
        while "hangs" not in (job.directory / "log.txt").read_text():
            time.sleep(0.01)
        return 0.1

    monkeypatch.setattr(run, "limit_seconds", limit_once_it_hangs)
    waits = "def wait(): print('hangs', flush=True); threading.Event().wait()"
    command = [sys.executable, "-X", "faulthandler", "-c", f"import threading\n{waits}\nwait()"]
    outcome = await run.run_shard(job, command, os.environ)
    assert outcome.code is None
    print_failures([outcome])
    assert "hanging: not done" not in capsys.readouterr().out
    print_cut_logs([outcome])
    printed = capsys.readouterr().out
    assert "hanging: not done after " in printed
    assert "in wait\n" in printed


def test_limits_leave_room_for_a_slow_machine() -> None:
    for shard in SHARDS:
        limit = run.limit_seconds(Job(shard))
        assert 2 * (shard.seconds + shard.more_seconds) <= limit <= 40 * 60, shard.name
