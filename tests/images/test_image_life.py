"""How the images start, work and end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle

from stigma_cli.devserver import GOGC, TUNING, free_ports
from tests.images.image_stack import ImageStack, StartImageStack
from tests.images.images import Image, docker
from tests.images.messages_server import messages_server
from tests.integration.model_gate import KEY as GATE_KEY
from tests.integration.model_gate import ModelGate
from tests.stack.waiting import eventually

READY_SECONDS = 3.0
STARTS = 3  # the best one counts
TIMES_LOADING = 4
"""On a machine that is too slow for that: so many times what loading a library takes there."""
GRACE = timedelta(seconds=60)
"""For the service's own 5 s and the removal of its container."""


def test_help_lists_the_settings(image: Image):
    run = docker("run", "--rm", "--network", "none", "--read-only", image.reference, "--help")
    assert f"python -m {image.service}" in run.stdout
    assert "STIGMA_SHUTDOWN_GRACE" in run.stdout
    assert run.stderr == ""


def test_a_wrong_setting_is_one_line_and_exit_code_2(image: Image):
    wrong = ("--env", "STIGMA_ADMIN_PORT=many")
    run = docker("run", "--rm", "--network", "none", *wrong, image.reference, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith(f"{image.service}: STIGMA_ADMIN_PORT")
    assert run.stderr.count("\n") == 1


def test_every_module_can_be_imported(image: Image):
    """What is stripped from other people's packages is not missed."""
    script = (
        "import importlib, pkgutil, sys\n"
        f"for top in {_packages(image)!r}:\n"
        "    package = importlib.import_module(top)\n"
        "    for module in pkgutil.walk_packages(package.__path__, top + '.'):\n"
        "        if not module.name.endswith('__main__') and '.migrations' not in module.name:\n"
        "            importlib.import_module(module.name)\n"
        "            print(module.name)\n"
    )
    entrypoint = ("--entrypoint", "python", "--network", "none", "--read-only")
    run = docker("run", "--rm", *entrypoint, image.reference, "-c", script)
    assert f"{image.service}.settings" in run.stdout.split()


async def test_starts_in_seconds_and_ends_when_asked(
    image: Image, new_image_stack: StartImageStack, record_property
):
    ready, ended = [], []
    for _ in range(STARTS):
        stack = await new_image_stack(services=())
        service = stack.add(image.service)
        began = time.monotonic()
        service.start()
        await service.wait_ready()
        ready.append(time.monotonic() - began)
        asked = time.monotonic()
        assert await service.stop(GRACE) == 0
        ended.append(time.monotonic() - asked)
        assert service.log.events("stopped")
        if ready[-1] <= READY_SECONDS:
            break
    record_property("ready_s", f"{min(ready):.1f}")
    record_property("end_s", f"{min(ended):.1f}")
    limit = READY_SECONDS * _others()
    if min(ready) > limit:
        limit = TIMES_LOADING * _loading_seconds(image)
    assert min(ready) <= limit


async def test_agents_answer_through_every_kind_of_provider(
    new_image_stack: StartImageStack, tmp_path: Path
):
    async with ModelGate() as gate, messages_server("from messages") as url:
        stack = await _start(new_image_stack, gate, tmp_path, _messages_provider(url))
        scripted = {"model": "scripted:echo", "script": {"steps": [{"text": "from a script"}]}}
        brief = {"model": "messages:held", "modelSettings": {"max_tokens": 100}}
        assert await (await _ask(stack, "hello", **scripted)).result() == "from a script"
        assert await (await _ask(stack, "hello", **brief)).result() == "from messages"
        asked = await _ask(stack, "to the gate")
        (await gate.held("to the gate")).answer("from the gate")
        assert await asked.result() == "from the gate"


async def test_sigterm_lets_a_model_call_end(new_image_stack: StartImageStack, tmp_path: Path):
    async with ModelGate() as gate:
        stack = await _start(new_image_stack, gate, tmp_path)
        call = await _ask(stack, "in flight")
        held = await gate.held("in flight")
        worker = stack.process("ai_worker")
        await worker.send(signal.SIGTERM)
        await worker.log.wait_for("stopping")
        held.answer("said while stopping")
        assert await worker.ended(GRACE) == 0
        assert await call.result() == "said while stopping"
        assert len(gate.calls("in flight")) == 1


async def test_sigterm_to_all_loses_no_caller(new_image_stack: StartImageStack, tmp_path: Path):
    async with ModelGate() as gate:
        stack = await _start(new_image_stack, gate, tmp_path)
        call = await _ask(stack, "outlives them")
        (await gate.held("outlives them")).answer("after the restart")
        services = [stack.process(name) for name in _SERVICES]
        await asyncio.gather(*(service.send(signal.SIGTERM) for service in services))
        codes = await asyncio.gather(*(service.ended(GRACE) for service in services))
        assert codes == [0, 0, 0, 0]
        await stack.start()
        assert await call.result() == "after the restart"


def test_temporal_is_tuned_as_elsewhere(temporal_image: Image):
    config = temporal_image.inspect()["Config"]
    command = config["Cmd"]
    settings = [
        command[n + 1] for n, word in enumerate(command) if word == "--dynamic-config-value"
    ]
    assert settings == list(TUNING)
    assert f"GOGC={GOGC}" in config["Env"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"


async def test_temporal_answers_and_ends(temporal_image: Image, record_property):
    [port] = free_ports(1)
    record_property("own_mb", f"{temporal_image.own_bytes() / 1e6:.0f}")
    options = ("--read-only", "--cap-drop", "ALL", "--publish", f"127.0.0.1:{port}:7233")
    began = time.monotonic()
    container = docker("run", "--detach", *options, temporal_image.reference).stdout.strip()
    try:
        client = await eventually(lambda: _connected(port), what="Temporal answers")
        record_property("ready_s", f"{time.monotonic() - began:.1f}")
        assert client.namespace == "default"
        asked = time.monotonic()
        docker("stop", "--time", "20", container)
        record_property("end_s", f"{time.monotonic() - asked:.1f}")
        state = docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip()
        assert state == "0"
    finally:
        docker("rm", "--force", container)


_SERVICES = ("stigma_api", "stigma_orchestrator", "ai_worker", "zigflow_worker")


async def _start(
    new_image_stack: StartImageStack, gate: ModelGate, directory: Path, more: str = ""
) -> ImageStack:
    providers = directory / "providers.yaml"
    providers.write_text(gate.provider + more)
    environment = {"STIGMA_PROVIDERS_FILE": str(providers), "GATE_KEY": GATE_KEY}
    return await new_image_stack(environment={"ai_worker": environment})


async def _ask(stack: ImageStack, message: str, **spec: Any) -> WorkflowHandle[Any, Any]:
    """Start a document that calls an agent, by default the gate's."""
    agent = spec or {"model": "gate:held"}
    name = {"dsl": "1.0.3", "namespace": "tests", "name": "ask", "version": "1.0.0"}
    call = {"call": "agent", "with": {"spec": agent, "message": message}}
    document = json.dumps({"document": name, "do": [{"ask": call}]})
    return await stack.client.start_workflow(
        "ask",
        {"document": document, "input": None},
        id=f"ask-{uuid.uuid4().hex}",
        task_queue=stack.queues.engine,
        execution_timeout=timedelta(seconds=90),
    )


def _others() -> float:
    """How many there are, of those that want to run, for each processor: others slow us down."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _loading_seconds(image: Image) -> float:
    """The time of a container that does nothing but load the library of all services."""
    began = time.monotonic()
    program = ("--entrypoint", "python", image.reference, "-c", "import temporalio.worker")
    docker("run", "--rm", "--network", "none", "--read-only", *program)
    return time.monotonic() - began


def _messages_provider(url: str) -> str:
    return (
        "---\n"
        "apiVersion: stigma/v1\n"
        "kind: Provider\n"
        "metadata: {name: messages}\n"
        "spec:\n"
        "  type: anthropic\n"
        f"  base_url: {url}\n"
        "  api_key: {env: GATE_KEY}\n"
    )


def _packages(image: Image) -> list[str]:
    more = {"stigma_api": ["stigma_client", "stigma_cli"], "zigflow_worker": ["stigma_client"]}
    return [image.service, "stigma", *more.get(image.service, [])]


async def _connected(port: int) -> Client | None:
    try:
        return await Client.connect(f"127.0.0.1:{port}")
    except RuntimeError:
        return None
