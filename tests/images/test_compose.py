"""compose.yaml, as its first lines tell people to use it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stigma_cli.devserver import free_ports
from tests.images.images import docker, service_tag
from tests.stack.waiting import eventually

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/code-review"
HOW_TO_GET = "no compose: apt-get install docker-compose, or Docker's compose plugin"
KEY = "try-out"
COMPLETED = "AGENT_EXECUTION_PHASE_COMPLETED"


@dataclass(frozen=True)
class Composition:
    """What compose.yaml started."""

    project: str
    environment: Mapping[str, str]
    console: str

    def containers(self) -> list[dict[str, Any]]:
        label = f"label=com.docker.compose.project={self.project}"
        ids = docker("ps", "--all", "--quiet", "--filter", label).stdout.split()
        return list(json.loads(docker("inspect", *ids).stdout)) if ids else []

    def stigma(self, *arguments: str) -> str:
        """Run the command on this machine."""
        run = subprocess.run(
            [sys.executable, "-m", "stigma_cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout


@pytest.fixture(scope="module")
def compose(all_images: None) -> list[str]:
    plugin = ["docker", "compose"]
    if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
        return plugin
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip(HOW_TO_GET)


@pytest.fixture(scope="module")
def composition(compose: list[str]) -> Iterator[Composition]:
    temporal, ui, api, console = free_ports(4)
    project = f"stigma-test-{uuid.uuid4().hex[:8]}"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("STIGMA_", "TEMPORAL_"))}
    ports = {
        "TEMPORAL_PORT": temporal,
        "TEMPORAL_UI_PORT": ui,
        "API_PORT": api,
        "CONSOLE_PORT": console,
    }
    reached = {
        "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal}",
        "STIGMA_API_ADDRESS": f"127.0.0.1:{api}",
        "STIGMA_API_KEY": KEY,
    }
    composed = inherited | {name: str(port) for name, port in ports.items()}
    composed["STIGMA_VERSION"] = service_tag()
    started = Composition(project, inherited | reached, f"http://127.0.0.1:{console}")
    command = [*compose, "--project-name", project]

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env=composed,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    try:
        run("up", "--detach")
        yield started
    finally:
        run("down", "--volumes", "--timeout", "40")
    assert started.containers() == []
    label = f"label=com.docker.compose.project={project}"
    assert docker("volume", "ls", "--quiet", "--filter", label).stdout == ""
    assert docker("network", "ls", "--quiet", "--filter", label).stdout == ""


@pytest.fixture
async def healthy(composition: Composition) -> Composition:
    def unhealthy() -> list[str]:
        states = {one["Name"]: one["State"] for one in composition.containers()}
        return [
            name
            for name, state in states.items()
            if state.get("Health", {}).get("Status", "healthy") != "healthy"
        ]

    await eventually(lambda: not unhealthy(), within=timedelta(seconds=120), what="all healthy")
    return composition


@pytest.mark.timeout(300)
async def test_an_agent_answers_a_workflow(healthy: Composition):
    healthy.stigma("agent", "apply", "-f", str(EXAMPLE / "agents"))
    document, data = str(EXAMPLE / "workflow.yaml"), f"@{EXAMPLE / 'input.json'}"
    report = json.loads(healthy.stigma("run", document, "--input", data, "--output", "json"))
    assert "SQL" in json.dumps(report)

    def phases() -> list[str]:
        listed = json.loads(healthy.stigma("execution", "list", "--output", "json"))
        return [each["status"]["phase"] for each in listed["executions"]]

    # An execution ends after its caller, and the list is late.
    await eventually(lambda: phases() == [COMPLETED] * 2, what=lambda: f"{COMPLETED} twice")


async def test_the_installation_is_as_it_should_be(healthy: Composition):
    assert json.loads(healthy.stigma("doctor", "--output", "json"))["ok"]


async def test_the_console_shows_what_ran(healthy: Composition):
    key = {"Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{healthy.console}/executions", headers=key)
    page = await asyncio.to_thread(urllib.request.urlopen, request, timeout=60)
    with page:
        assert "security-reviewer@1" in page.read().decode()


async def test_containers_are_confined_and_reached_from_here_only(healthy: Composition):
    containers = healthy.containers()
    assert len(containers) == 6
    for container in containers:
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], container["Name"]
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        published = [one for ports in (host["PortBindings"] or {}).values() for one in ports]
        assert all(one["HostIp"] == "127.0.0.1" for one in published)
        assert container["Config"]["User"] == "10001:10001"
    [setup] = [one for one in containers if "setup" in one["Name"]]
    assert setup["State"]["ExitCode"] == 0
