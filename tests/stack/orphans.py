"""Children of a starter that is killed."""

from __future__ import annotations

import asyncio
import sys

import psutil

from tests.stack.waiting import eventually


async def orphan_dies(script: str, *, name: str = "") -> bool:
    """Run a script that starts a child and prints its id, kill the script, await the child's end.

    ``name``: the child's, once it has become what it is to be.
    """
    starter = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert starter.stdout is not None
    orphan = psutil.Process(int(await starter.stdout.readline()))
    await eventually(lambda: not name or orphan.name() == name, what="the child has started")
    starter.kill()
    await starter.wait()
    return bool(await eventually(lambda: not orphan.is_running(), what="the child has died"))
