"""No token, key or prompt leaves a service, however much it is asked to say."""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from temporalio.client import WorkflowFailureError

from stigma.agent.v1.agent_execution_pb2 import CALLBACK_STATE_UNDELIVERABLE
from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_FULL,
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.contracts import tokens
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.internal.v1.execution_pb2 import Bind
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from tests.integration.callers import ForeignCaller, Job, PythonCaller
from tests.integration.installation import KEY, Installation, document, environment, signalled
from tests.integration.model_gate import KEY as GATE_KEY
from tests.integration.model_gate import ModelGate
from tests.integration.secrets_search import forms, leaks, of_token
from tests.integration.trace_receiver import TraceReceiver
from tests.stack.command_line import stigma
from tests.stack.faults import Fail, FaultProxy
from tests.stack.plugin import StartStack, TemporalServer
from tests.stack.stack import SERVICES
from tests.stack.waiting import eventually

PROMPT = "prompt-8128-that-nobody-else-may-read"
COMPLETE = "RespondActivityTaskCompleted"
HEARTBEAT = "RecordActivityTaskHeartbeat"


class OurLogs(logging.Handler):
    """What our client library logs in its user's process, with every attribute."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {record.__dict__!r}")


class Talkative:
    """An installation that says all it can, and everything it ever said."""

    def __init__(
        self, installation: Installation, proxy: FaultProxy, traces: TraceReceiver, ours: OurLogs
    ) -> None:
        self.installation = installation
        self.proxy = proxy
        self.traces = traces
        self.ours = ours
        self.replies: list[bytes] = []
        self.errors: list[bytes] = []
        self.execution_ids: list[str] = []

    async def ask(self, rpc: Any, request: Any) -> Any:
        """Call the API, and keep its answer or its error."""
        try:
            reply = await rpc(request, timeout=15)
        except grpc.aio.AioRpcError as error:
            trailing = error.trailing_metadata() or ()
            self.errors.append(f"{error!r} {error.details()} {tuple(trailing)!r}".encode())
            return None
        self.replies.append(reply.SerializeToString() + str(reply).encode())
        return reply

    async def call(self, caller: Any, job: Job, *, ends: bool = True) -> Any:
        """Let a caller call, to its end; its failure is kept."""
        called = await self.installation.call(caller, job)
        self.execution_ids.append(called.execution_id)
        if ends:
            try:
                await called.result()
            except WorkflowFailureError as error:
                self.errors.append(f"{error!r} {error.cause!r} {error.cause.__cause__!r}".encode())
        return called

    async def all_tokens(self) -> list[bytes]:
        """Every token that was ever bound or taken: the engine's are only in agents' histories."""
        found = set(self.installation.tokens.all())
        for execution_id in self.execution_ids:
            if await self.installation.exists(execution_id):
                payloads = signalled(await self.installation.history(execution_id), "bind")
                found |= {bind.token for bind in await DATA_CONVERTER.decode(payloads, [Bind])}
        return sorted(found)


@pytest.fixture(scope="module")
def our_logs() -> Iterator[OurLogs]:
    handler = OurLogs()
    logger = logging.getLogger("stigma_client")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(scope="module")
async def talkative(
    temporal_server: TemporalServer,
    new_stack: StartStack,
    tmp_path_factory: pytest.TempPathFactory,
    our_logs: OurLogs,
) -> AsyncIterator[Talkative]:
    directory = tmp_path_factory.mktemp("talkative")
    proxy = FaultProxy(temporal_server.address)
    with TraceReceiver() as traces:
        async with ModelGate() as gate, proxy:
            variables = {name: dict(own) for name, own in environment(gate, directory).items()}
            variables["*"] = {
                "STIGMA_LOG_LEVEL": "DEBUG",
                "RUST_LOG": "debug",
                "OTEL_EXPORTER_OTLP_ENDPOINT": traces.endpoint,
                "OTEL_EXPORTER_OTLP_INSECURE": "true",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "TEMPORAL_ADDRESS": proxy.address,
            }
            stack = await new_stack(environment=variables)
            async with Installation(stack, gate, directory) as installation:
                yield Talkative(installation, proxy, traces, our_logs)


async def everything_happens(talkative: Talkative) -> None:
    """Success, failure, cancel, replay, refusal and failing delivery, by every caller."""
    installation = talkative.installation
    for caller in (PythonCaller, ForeignCaller):
        for agent in ("echo", "broken", "large", "nobody"):
            repeat = 9000 if agent == "large" else 1
            await talkative.call(caller, Job(agent, PROMPT, attempts=1, repeat=repeat))
        called = await talkative.call(caller, Job("held", f"{PROMPT} {caller}"), ends=False)
        await installation.gate.held(f"{PROMPT} {caller}")
        request = CancelAgentExecutionRequest(id=called.execution_id)
        await talkative.ask(installation.stub.CancelAgentExecution, request)
        with pytest.raises(WorkflowFailureError):
            await called.result()
    await the_engine_calls(talkative)
    await workflows_run(talkative)
    await requests_are_refused_and_replayed(talkative)
    await deliveries_fail(talkative)
    for execution_id in talkative.execution_ids:
        await talkative.ask(
            installation.stub.GetAgentExecution, GetAgentExecutionRequest(id=execution_id)
        )


async def the_engine_calls(talkative: Talkative) -> None:
    group = uuid.uuid4().hex
    document = (
        "document: {dsl: '1.0.3', namespace: tests, name: document, version: '1.0.0'}\n"
        "do:\n"
        "  - ok: {call: agent, with: {agent: echo, message: '${ .message }', session: mine,\n"
        "         labels: {group: '%s'}}}\n"
        "  - bad: {call: agent, with: {agent: broken, message: '${ . }', session: mine,\n"
        "         labels: {group: '%s'}}}\n"
    )
    run = await talkative.installation.run_document(document % (group, group), {"message": PROMPT})
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    talkative.errors.append(f"{caught.value.cause!r}".encode())
    found = await talkative.installation.of_group(group, 2)
    talkative.execution_ids += [execution.id for execution in found]


async def workflows_run(talkative: Talkative) -> None:
    """A Stigma workflow that ends well, one that fails with its input, and a refused token."""
    installation = talkative.installation
    start = installation.workflows.stub.StartWorkflow
    failing = "fail: {raise: {error: {type: 'https://x.io/e', status: 500, detail: '${ .said }'}}}"
    for task in ("say: {set: {said: '${ .said }'}}", failing):
        parked = await installation.park()
        token = await installation.tokens.of(parked.id)
        request = StartWorkflowRequest(
            spec=WorkflowSpec(document=document("inline", task)),
            input_json=json.dumps({"said": PROMPT}),
            callback_token=token,
            request_id=uuid.uuid4().hex,
        )
        assert await talkative.ask(start, request) is not None
        with contextlib.suppress(WorkflowFailureError):
            await parked.result()
        request.callback_token = token[:-7]
        request.request_id = uuid.uuid4().hex
        assert await talkative.ask(start, request) is None


async def requests_are_refused_and_replayed(talkative: Talkative) -> None:
    installation, start = talkative.installation, talkative.installation.stub.StartAgent
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    request = StartAgentRequest(
        agent_id="echo", message=PROMPT, callback_token=token, request_id=uuid.uuid4().hex
    )
    # Temporal's own words may quote what it was asked.
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT):
        said = f"token {forms(token)['hex'].decode()} {token!r} of {PROMPT}"
        talkative.proxy.inject(HEARTBEAT, Fail(code, said))
        await talkative.ask(start, request)
    for wrong in (token[:-7], b"\xff" + token, token * 200):
        await talkative.ask(start, StartAgentRequest(agent_id="echo", callback_token=wrong))
    await talkative.ask(start, request)
    await parked.result()
    await talkative.ask(start, request)
    await talkative.ask(start, StartAgentRequest(agent_id="held", request_id=request.request_id))
    late = StartAgentRequest(agent_id="echo", message=PROMPT, callback_token=token)
    await talkative.ask(start, late)
    talkative.execution_ids.append(installation.execution_id(request.request_id))


async def deliveries_fail(talkative: Talkative) -> None:
    """First for a while, then for good; Temporal's words quote the token both times."""
    installation = talkative.installation
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.PERMISSION_DENIED):
        message = f"{PROMPT} {uuid.uuid4().hex}"
        called = await talkative.call(PythonCaller, Job("held", message), ends=False)
        call = await installation.gate.held(message)
        token = await installation.tokens.of(called.workflow.id)

        def about(request: bytes, token: bytes = token) -> bool:
            return token in request

        said = f"cannot complete {token!r} {token.hex()} with {PROMPT}"
        talkative.proxy.inject(COMPLETE, Fail(code, said), times=2, matches=about)
        call.answer(PROMPT)
        state = (await installation.told(called.execution_id)).status.callback.state
        talkative.proxy.clear()
        if code is grpc.StatusCode.PERMISSION_DENIED:
            assert state == CALLBACK_STATE_UNDELIVERABLE
            await called.workflow.terminate()


async def command_outputs(talkative: Talkative) -> dict[str, bytes]:
    """What users see of all this."""
    stack = talkative.installation.stack
    variables = {
        "STIGMA_API_ADDRESS": stack.api_address,
        "STIGMA_API_KEY": KEY,
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
    }
    # A failed one: the output of the first would be its prompt, for that is what `echo` does.
    execution_id = talkative.execution_ids[1]
    outputs = {}
    for arguments in (
        ("execution", "list", "--output", "json"),
        ("execution", "get", execution_id),
        ("execution", "get", execution_id, "--output", "json"),
        ("execution", "cancel", execution_id),
        ("execution", "get", "agent-unknown"),
        ("agent", "list"),
        ("doctor",),
    ):
        ran = await stigma(*arguments, **variables)
        outputs["stigma " + " ".join(arguments)] = ran.raw()
    return outputs


async def test_nothing_leaks(talkative: Talkative) -> None:
    installation, stack = talkative.installation, talkative.installation.stack
    await everything_happens(talkative)
    await eventually(lambda: talkative.traces.services() >= set(SERVICES), what="everyone's spans")

    quiet = {"errors": b"\n".join(talkative.errors), "spans": talkative.traces.raw()}
    quiet["the client's log"] = "\n".join(talkative.ours.lines).encode()
    for service in SERVICES:
        process = stack.process(service)
        quiet[f"log of {service}"] = process.log.raw()
        status, metrics = await process.admin("/metrics")
        assert status == 200
        quiet[f"metrics of {service}"] = metrics.encode()
        quiet[f"readiness of {service}"] = (await process.admin("/readyz"))[1].encode()
    listed = await installation.stub.ListAgentExecutions(ListAgentExecutionsRequest())
    quiet["list"] = listed.SerializeToString() + str(listed).encode()
    quiet |= await command_outputs(talkative)

    # These show prompts and answers to those who may read them, and still no token or key.
    for execution_id in talkative.execution_ids:
        full = GetAgentExecutionRequest(id=execution_id, view=AGENT_EXECUTION_VIEW_FULL)
        await talkative.ask(installation.stub.GetAgentExecution, full)
        if not await installation.exists(execution_id):
            continue
        watched = installation.stub.WatchAgentExecution(WatchAgentExecutionRequest(id=execution_id))
        talkative.replies += [
            event.SerializeToString() + str(event).encode() async for event in watched
        ]
    replies = {"replies": b"\n".join(talkative.replies)}

    taken = await talkative.all_tokens()
    secret = {"bearer key": KEY.encode(), "provider key": GATE_KEY.encode()}
    for number, token in enumerate(taken):
        secret |= dict(of_token(number, token))
    assert leaks(secret, quiet | replies) == []
    assert leaks({"prompt": PROMPT.encode()}, quiet) == []

    # Not because nothing was said: each token that was bound is there by its fingerprint.
    logs = stack.raw_logs()
    bound = {tokens.fingerprint(token).encode() for token in taken}
    assert len(bound) >= 15
    assert all(fingerprint in logs for fingerprint in bound), "a call is not in the logs"
    for event in ("delivering", "delivered", "delivery_failed", "token_rejected", "debug"):
        assert f'"{event}"'.encode() in logs
    assert all(quiet.values())
    assert PROMPT.encode() in replies["replies"]


@pytest.mark.parametrize("form", list(forms(b"")))
def test_the_search_finds_every_form(form: str) -> None:
    token = b"\n$9a9cbbbd-f2b4-43e9-8d3a-5d5a1d2f3a4b\x12\x07caller-\xfe\xff?>\"'\\"
    written = forms(token)[form]
    assert leaks({"token": token}, {"here": b"before " + written + b" after"})
    assert not leaks({"token": token}, {"here": b"before " + written[:-3] + b" after"})
