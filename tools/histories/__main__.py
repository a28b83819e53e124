"""Records how today's workflows run, on the real stack, as JSON histories.

`python -m tools.histories DIRECTORY [NAME…]`; names choose scenarios, by default all. Messages,
tokens and keys in histories are made up, and the server that they are from is gone.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from temporalio.client import Client

from stigma_cli.devserver import DevServer, find_binary
from tests.reliability.fault_site import open_site
from tests.stack.histories import readable
from tests.stack.stack import Stack
from tools.histories import calls, documents, executions, mcp, people, sessions, tools, trees
from tools.histories.agents import TOOLS_QUEUE
from tools.histories.contents import UNRECORDED, contents, declared
from tools.histories.outside import SECRET, open_outside
from tools.histories.scenario import Recorder, Scenario

# So that a history of a usual length is long enough to go on in another run.
SUGGEST_CONTINUE_AS_NEW = "limit.historyCount.suggestContinueAsNew=50"
SCENARIOS: tuple[Scenario, ...] = (
    *calls.SCENARIOS,
    *executions.SCENARIOS,
    *documents.SCENARIOS,
    *tools.SCENARIOS,
    *people.SCENARIOS,
    *trees.SCENARIOS,
    *sessions.SCENARIOS,
    *mcp.SCENARIOS,
)
_AT_ONCE = 6
_SCENARIO_SECONDS = 60


async def record_all(directory: Path, scenarios: Sequence[Scenario] = SCENARIOS) -> None:
    """Start everything, play the scenarios, stop."""
    with tempfile.TemporaryDirectory(prefix="stigma-record-") as scratch:
        (Path(scratch) / "outside").mkdir()
        server = DevServer(find_binary(), settings=[SUGGEST_CONTINUE_AS_NEW])
        stacks: list[Stack] = []

        async def new_stack(address: str | None = None, **options: Any) -> Stack:
            assert address is not None
            stacks.append(Stack(address, Path(scratch), **options))
            return await stacks[-1].__aenter__()

        async with AsyncExitStack() as stack:
            await stack.enter_async_context(server)
            outside = await stack.enter_async_context(open_outside(Path(scratch) / "outside"))
            site = await stack.enter_async_context(
                open_site(new_stack, server.address, environment=outside.environment)
            )
            foreign = await Client.connect(server.address)
            queue = site.stack.prefix + TOOLS_QUEUE
            await stack.enter_async_context(outside.tools(foreign, queue))
            await _play(Recorder(site, outside, directory), scenarios)
            outside.effects.released.set()
        for each in stacks:
            await each.close()


async def _play(record: Recorder, scenarios: Sequence[Scenario]) -> None:
    """Play those that do no harm side by side, then the others one after another.

    Raises:
        ExceptionGroup: of the scenarios that failed, each with its name as a note.
    """
    free = asyncio.Semaphore(_AT_ONCE)
    failures: list[Exception] = []

    async def play(scenario: Scenario) -> None:
        async with free:
            began = time.monotonic()
            try:
                async with asyncio.timeout(_SCENARIO_SECONDS):
                    await scenario.record(record)
            except Exception as error:  # noqa: BLE001 - all that fail are raised together
                error.add_note(f"while recording {scenario.name}")
                failures.append(error)
            sys.stderr.write(f"recorded {scenario.name}: {time.monotonic() - began:.1f} s\n")

    await asyncio.gather(*(play(each) for each in scenarios if not each.alone))
    for scenario in scenarios:
        if scenario.alone:
            await play(scenario)
            record.site.heal()
    if failures:
        raise ExceptionGroup("scenarios failed", failures)


def _check_secrets(histories: Sequence[Path]) -> None:
    """Fail if a history has a document's secret, as it is or encoded in a payload."""
    found = [path.name for path in histories if SECRET in readable(path.read_text("utf-8"))]
    assert not found, f"a secret is in {', '.join(found)}"


def _check_names(histories: Sequence[Path]) -> None:
    missing = declared() - contents(histories) - UNRECORDED.keys()
    assert not missing, f"no history has {', '.join(sorted(missing))}"


def main() -> None:
    """Record into the directory that is the first argument."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tools.histories DIRECTORY [SCENARIO…]")
    target, names = Path(sys.argv[1]), sys.argv[2:]
    target.mkdir(parents=True, exist_ok=True)
    chosen = [each for each in SCENARIOS if not names or each.name in names]
    # What tools fail with is part of their stories.
    logging.getLogger("temporalio").setLevel(logging.ERROR)
    began = time.monotonic()
    asyncio.run(record_all(target, chosen))
    histories = sorted(target.glob("*.json"))
    _check_secrets(histories)
    if not names:
        _check_names(histories)
    sys.stderr.write(f"{len(histories)} histories in {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
