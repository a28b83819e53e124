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

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
async def env(env: dict[str, str], stigma: Stigma) -> dict[str, str]:
    applied = await stigma("agent", "apply", "-f", EXAMPLES / "code-review" / "agents", **env)
    assert applied.exit_code == 0, applied.stderr
    return env


async def test_code_review(stigma: Stigma, env: dict[str, str]) -> None:
    review = EXAMPLES / "code-review"
    done = await stigma("run", review / "workflow.yaml", "-i", f"@{review}/input.json", **env)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout).keys() == {"title", "lines", "security", "style"}


async def test_report(stigma: Stigma, env: dict[str, str]) -> None:
    report = EXAMPLES / "report"
    for kind, folder in (("workflow", "workflows"), ("agent", "agents")):
        applied = await stigma(kind, "apply", "-f", report / folder, **env)
        assert applied.exit_code == 0, applied.stderr
    done = await stigma("run", report / "workflow.yaml", **env)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {"headline": "south leads, 420 euros in all"}


async def test_structured(stigma: Stigma, env: dict[str, str]) -> None:
    structured = EXAMPLES / "structured"
    for kind, folder in (("workflow", "workflows"), ("agent", "agents")):
        applied = await stigma(kind, "apply", "-f", structured / folder, **env)
        assert applied.exit_code == 0, applied.stderr
    done = await stigma("run", structured / "workflow.yaml", **env)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {"queue": "billing-urgent", "reply_within_hours": 1}


async def test_interview(stigma: Stigma, env: dict[str, str]) -> None:
    """One answer breaks its schema, and is asked for again."""
    applied = await stigma("agent", "apply", "-f", EXAMPLES / "interview" / "agents", **env)
    assert applied.exit_code == 0, applied.stderr
    lines = ["I am new here.", "Ann", "tomorrow", "2027-01-04", "160"]
    done = await stigma("chat", "interviewer", stdin="\n".join(lines), **env)
    assert done.exit_code == 0, done.stderr
    assert "reply breaks the rule 'pattern'" in done.stderr
    asked = [line for line in done.stdout.splitlines() if line.startswith("? ")]
    assert asked == [
        "? What is your name?",
        "? On which day do you begin?",
        "? How wide shall your desk be, in centimetres?",
    ]
    assert done.stdout.splitlines()[-1] == "Thank you. The last that I have noted: 160"


async def python_caller(env: dict[str, str]) -> tuple[int | None, str, str]:
    caller = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / "python-caller" / "caller.py"),
        "How does this read?",
        env=dict(os.environ) | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await caller.communicate()
    return caller.returncode, out.decode(), err.decode()


async def test_python_caller(env: dict[str, str]) -> None:
    code, out, err = await python_caller(env)
    assert code == 0, err
    assert out.startswith("The name q says nothing")


@pytest.mark.parametrize(
    ("down", "message"),
    [
        ("TEMPORAL_ADDRESS", "error: cannot reach Temporal at 127.0.0.1:1"),
        ("STIGMA_API_ADDRESS", "error: cannot reach Stigma's API"),
    ],
)
async def test_python_caller_without_a_server(env: dict[str, str], down: str, message: str) -> None:
    code, _, err = await python_caller(env | {down: "127.0.0.1:1"})
    first, hint = err.splitlines()
    assert (code, first) == (1, message)
    assert hint.startswith("hint: is `stigma up` running?")


async def test_python_caller_without_its_agent(stigma: Stigma, env: dict[str, str]) -> None:
    assert (await stigma("agent", "delete", "style-reviewer", "--yes", **env)).exit_code == 0
    code, _, err = await python_caller(env)
    first, hint = err.splitlines()
    assert code == 1
    assert first.startswith(
        "error: AGENT_EXECUTION_FAILED: NOT_FOUND: agent style-reviewer not found"
    )
    assert hint.startswith("hint: are its agents applied?")
