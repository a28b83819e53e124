"""Runs the agents, the document and the workers against a Stigma of their own, offline."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STIGMA = [sys.executable, "-m", "stigma_cli"]


@pytest.fixture(scope="module")
def stigma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that reach Temporal and the four services, which run as long as the tests."""
    directory = tmp_path_factory.mktemp("stigma")
    up = subprocess.Popen(
        [*STIGMA, "up", "--free-ports", "--dir", str(directory), "-o", "json"],
        stdout=subprocess.PIPE,
    )
    assert up.stdout is not None
    ready = json.loads(up.stdout.readline())
    yield {**os.environ, "STIGMA_API_ADDRESS": ready["api"], "TEMPORAL_ADDRESS": ready["temporal"]}
    up.terminate()
    up.communicate()


@pytest.fixture(autouse=True)
def agents(stigma: dict[str, str]) -> None:
    """Register the agents of this project."""
    command = [*STIGMA, "agent", "apply", "-f", "greeter.yaml", "-f", "clerk.yaml"]
    subprocess.run(command, cwd=HERE, env=stigma, check=True)


def output(command: list[str], variables: dict[str, str]) -> str:
    """Run a command; return what it prints."""
    ran = subprocess.run(command, cwd=HERE, env=variables, check=True, stdout=subprocess.PIPE)
    return ran.stdout.decode()


def test_the_agent_answers(stigma: dict[str, str]) -> None:
    answer = output([*STIGMA, "agent", "ask", "greeter", "Hello."], stigma)
    assert answer == "Good to see you. You said: Hello.\n"


def test_the_document_calls_it(stigma: dict[str, str]) -> None:
    command = [*STIGMA, "run", "workflow.yaml", "--input", '{"name": "Ada"}']
    greeting = "Good to see you. You said: I am Ada"
    assert json.loads(output(command, stigma)) == {"name": "Ada", "greeting": greeting}


def test_the_worker_calls_it(stigma: dict[str, str]) -> None:
    answer = output([sys.executable, "worker.py", "Grace"], stigma)
    assert answer == "Good to see you. You said: I am Grace\n"


def test_the_clerk_uses_its_tool(stigma: dict[str, str]) -> None:
    tools = subprocess.Popen([sys.executable, "tool_worker.py"], cwd=HERE, env=stigma)
    try:
        answer = output([*STIGMA, "agent", "ask", "clerk", "When do you open?"], stigma)
    finally:
        tools.terminate()
        tools.wait()
    assert answer == "Our hours: 9 to 17\n"
