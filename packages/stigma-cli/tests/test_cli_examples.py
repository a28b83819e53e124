"""The examples, as their READMEs say to run them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
async def env(stack: Stack, stigma: Stigma) -> dict[str, str]:
    env = {
        "STIGMA_API_ADDRESS": stack.api_address,
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "TEMPORAL_NAMESPACE": stack.namespace,
        "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
    }
    applied = await stigma("agent", "apply", "-f", EXAMPLES / "code-review" / "agents", **env)
    assert applied.exit_code == 0, applied.stderr
    return env


async def test_code_review(stigma: Stigma, env: dict[str, str]) -> None:
    review = EXAMPLES / "code-review"
    done = await stigma("run", review / "workflow.yaml", "-i", f"@{review}/input.json", **env)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout).keys() == {"title", "lines", "security", "style"}


async def test_python_caller(env: dict[str, str]) -> None:
    caller = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / "python-caller" / "caller.py"),
        "How does this read?",
        env=dict(os.environ) | env,
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await caller.communicate()
    assert caller.returncode == 0
    assert answer.decode().startswith("The name q says nothing")
