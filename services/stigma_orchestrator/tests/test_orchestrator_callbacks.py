"""The system activities against a gRPC server that stands where Temporal's frontend does.

A real server answers NOT_FOUND, but not on demand DATA_LOSS, nor does it lose a reply.
"""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry, generate_latest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import (
    PendingActivityInfo,
    WorkflowExecutionExtendedInfo,
    WorkflowExecutionInfo,
)
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetSystemInfoResponse,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCompletedResponse,
    WorkflowServiceServicer,
    add_WorkflowServiceServicer_to_server,
)
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    CALLBACK_PAYLOAD_OUTPUT,
    AgentExecution,
    TemporalCaller,
)
from stigma.contracts import errors
from stigma.internal.v1.execution_pb2 import (
    CALLER_VERDICT_CANCEL_REQUESTED,
    CALLER_VERDICT_GONE,
    DELIVERY_VERDICT_DELIVERED,
    DELIVERY_VERDICT_NOT_FOUND,
    DELIVERY_VERDICT_UNDELIVERABLE,
    Bind,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    WatchCallerRequest,
    WatchCallerResponse,
)
from stigma.internal.v1.task_token_pb2 import TaskToken
from stigma_orchestrator.delivery.caller_look import CallerLooks
from stigma_orchestrator.delivery.deliver_activity import CallbackSender
from stigma_orchestrator.delivery.kept_watches import KeptWatches
from stigma_orchestrator.delivery.metrics import CallbackMetrics
from stigma_orchestrator.delivery.watch_caller_activity import CallerWatcher

TOKEN = TaskToken(
    namespace_id="0a1fbfea-596d-7b64-bba6-8cf3db6acf0c",
    workflow_id="caller",
    run_id="run",
    activity_id="7",
).SerializeToString()
SECRET = "the secret answer"
PROMPT = "the secret prompt"
CALLER = TemporalCaller(workflow_id="caller", run_id="run", activity_id="7")
RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
TERMINATED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED


# Typed as the synchronous one, with every method abstract; the real base answers UNIMPLEMENTED.
_Servicer: Any = WorkflowServiceServicer


class Frontend(_Servicer):
    """Answers as set up and records the requests."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Any]] = []
        self.codes: list[grpc.StatusCode] = []
        self.heartbeat = RecordActivityTaskHeartbeatResponse()
        self.runs: dict[str, DescribeWorkflowExecutionResponse] = {}

    async def answer(self, method: str, request: Message, context: Any, reply: Message) -> Message:
        self.received.append((method, request))
        if self.codes:
            code = self.codes.pop(0)
            await context.abort(code, f"refused {request}")
        return reply

    async def GetSystemInfo(self, request: Any, context: Any) -> GetSystemInfoResponse:
        return GetSystemInfoResponse()

    async def DescribeWorkflowExecution(self, request: Any, context: Any) -> Any:
        run = self.runs.get(request.execution.run_id)
        if run is None and not self.codes:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such run")
        return await self.answer("Describe", request, context, run or Message())

    async def RecordActivityTaskHeartbeat(self, request: Any, context: Any) -> Any:
        return await self.answer("Heartbeat", request, context, self.heartbeat)


def _respond(name: str) -> Callable[..., Any]:
    async def respond(self: Frontend, request: Any, context: Any) -> Any:
        # The reply's fields do not matter, and they are the same for all.
        reply = RespondActivityTaskCompletedResponse()
        return await self.answer(name, request, context, reply)

    return respond


for _name in ("Completed", "Failed", "Canceled"):
    for _by in ("", "ById"):
        _method = f"RespondActivityTask{_name}{_by}"
        setattr(Frontend, _method, _respond(_name + _by))


@pytest.fixture
async def frontend() -> AsyncIterator[tuple[Frontend, Client]]:
    frontend = Frontend()
    server: Any = grpc.aio.server()
    add_WorkflowServiceServicer_to_server(frontend, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield frontend, await Client.connect(f"127.0.0.1:{port}")
    await server.stop(None)


class Bench:
    """A sender and a watcher of a frontend, with their metrics."""

    def __init__(self, frontend: Frontend, client: Client) -> None:
        self.frontend = frontend
        self.registry = CollectorRegistry()
        self.sender = CallbackSender(client, CallbackMetrics(self.registry))
        looks = CallerLooks(client)
        self.watcher = CallerWatcher(looks, KeptWatches(client, looks, most=1, at_a_time=1))
        info = replace(ActivityEnvironment.default_info(), attempt=3)
        self.environment = ActivityEnvironment()
        self.environment.info = info

    def tried_for(self, time: timedelta) -> None:
        """Have the activity been scheduled so long before this attempt of it began."""
        now = datetime.now(UTC)
        self.environment.info = replace(
            self.environment.info, scheduled_time=now - time, started_time=now
        )

    def noted(self, *details: Any) -> None:
        """Have an earlier attempt of the activity left this note."""
        self.environment.info = replace(self.environment.info, heartbeat_details=details)

    async def deliver(self, **fields: Any) -> DeliverCallbackResponse:
        if "caller" not in fields:
            fields.setdefault("token", TOKEN)
        fields.setdefault("execution", execution())
        request = DeliverCallbackRequest(execution_id="agent-1", request_id="r-1", **fields)
        return await self.environment.run(self.sender.deliver_callback, request)

    def counted(self) -> dict[str, float]:
        """The tries so far: how many of a status, and of a code."""
        return {
            sample.labels.get("status") or sample.labels["error_type"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name.startswith("external_activity_") and sample.name.endswith("s_total")
            if sample.value
        }

    async def check(self, **bind: Any) -> WatchCallerResponse:
        request = WatchCallerRequest(binding=Bind(token=TOKEN, **bind))
        return await self.environment.run(self.watcher.watch_caller, request)

    @property
    def rpcs(self) -> list[str]:
        return [method for method, _ in self.frontend.received]

    @property
    def request(self) -> Any:
        return self.frontend.received[-1][1]


@pytest.fixture
def bench(frontend: tuple[Frontend, Client]) -> Bench:
    return Bench(*frontend)


@pytest.fixture
def log_text() -> Iterator[Callable[[], str]]:
    """Everything that any logger says at DEBUG."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    before, level = structlog.get_config(), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    yield stream.getvalue
    structlog.configure(**before)
    root.removeHandler(handler)
    root.setLevel(level)


def execution(phase: Any = AGENT_EXECUTION_PHASE_COMPLETED) -> AgentExecution:
    made = AgentExecution(id="agent-1")
    made.spec.message = PROMPT
    made.status.phase = phase
    if phase == AGENT_EXECUTION_PHASE_COMPLETED:
        made.status.output.text = SECRET
    else:
        made.status.failure.message = "in words"
        made.status.failure.reason = errors.reason_of("CANCELLED")
    return made


def declaring(heartbeat_timeout: int) -> TemporalCaller:
    """The caller, with its heartbeat timeout in seconds; 0: none."""
    caller = TemporalCaller()
    caller.CopyFrom(CALLER)
    if heartbeat_timeout:
        caller.heartbeat_timeout.seconds = heartbeat_timeout
    return caller


def pending(heartbeat_timeout: int = 0) -> DescribeWorkflowExecutionResponse:
    activity = PendingActivityInfo(activity_id="7")
    activity.activity_options.heartbeat_timeout.seconds = heartbeat_timeout
    return DescribeWorkflowExecutionResponse(
        workflow_execution_info=WorkflowExecutionInfo(status=RUNNING),
        pending_activities=[activity],
    )


def closed(reset_run_id: str = "") -> DescribeWorkflowExecutionResponse:
    return DescribeWorkflowExecutionResponse(
        workflow_execution_info=WorkflowExecutionInfo(status=TERMINATED),
        workflow_extended_info=WorkflowExecutionExtendedInfo(reset_run_id=reset_run_id),
    )


@pytest.mark.parametrize("token", [b"\x00", TOKEN, bytes(range(256)) * 64], ids=len)
async def test_a_token_passes_unchanged(bench: Bench, token: bytes) -> None:
    response = await bench.deliver(token=token)
    assert response.verdict == DELIVERY_VERDICT_DELIVERED
    assert (bench.rpcs, bench.request.task_token) == (["Completed"], token)


async def test_without_a_token_the_activity_is_named(bench: Bench) -> None:
    await bench.deliver(caller=CALLER)
    assert bench.rpcs == ["CompletedById"]
    named = (bench.request.workflow_id, bench.request.run_id, bench.request.activity_id)
    assert named == ("caller", "run", "7")
    assert bench.request.namespace == "default"


async def test_a_caller_in_another_namespace_is_reached_there(bench: Bench) -> None:
    await bench.deliver(namespace="theirs")
    assert bench.request.namespace == "theirs"


async def test_a_success_is_a_binary_message(bench: Bench) -> None:
    await bench.deliver()
    (payload,) = bench.request.result.payloads
    assert payload.metadata["encoding"] == b"binary/protobuf"
    assert payload.metadata["messageType"] == b"stigma.agent.v1.AgentExecution"
    assert AgentExecution.FromString(payload.data) == execution()


@pytest.mark.parametrize(
    ("text", "json", "data"),
    [("a «word»", "", '"a «word»"'.encode()), ("ignored", '{"n":12345678901234567890}', None)],
)
async def test_the_output_alone_is_plain_json(
    bench: Bench, text: str, json: str, data: bytes | None
) -> None:
    made = execution()
    made.status.output.text, made.status.output.json = text, json
    await bench.deliver(execution=made, payload=CALLBACK_PAYLOAD_OUTPUT)
    expected = Payload(metadata={"encoding": b"json/plain"}, data=data or json.encode())
    assert list(bench.request.result.payloads) == [expected]


@pytest.mark.parametrize("by", ["token", "caller"])
async def test_a_failure_carries_plain_details(bench: Bench, by: str) -> None:
    target = {by: TOKEN if by == "token" else CALLER}
    await bench.deliver(execution=execution(AGENT_EXECUTION_PHASE_FAILED), **target)
    assert bench.rpcs == ["Failed" if by == "token" else "FailedById"]
    failure = bench.request.failure
    assert failure.application_failure_info.type == "AGENT_EXECUTION_FAILED"
    assert failure.application_failure_info.non_retryable
    (detail,) = failure.application_failure_info.details.payloads
    assert detail.metadata["encoding"] == b"json/plain"


@pytest.mark.parametrize("by", ["token", "caller"])
async def test_a_cancellation_is_reported_as_one(bench: Bench, by: str) -> None:
    target = {by: TOKEN if by == "token" else CALLER}
    cancelled = execution(AGENT_EXECUTION_PHASE_CANCELLED)
    await bench.deliver(execution=cancelled, report_cancellation=True, **target)
    assert bench.rpcs == ["Canceled" if by == "token" else "CanceledById"]


FINAL = {
    grpc.StatusCode.NOT_FOUND: DELIVERY_VERDICT_NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT: DELIVERY_VERDICT_UNDELIVERABLE,
    grpc.StatusCode.PERMISSION_DENIED: DELIVERY_VERDICT_UNDELIVERABLE,
}
TRANSIENT = [c for c in grpc.StatusCode if c not in FINAL and c is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", FINAL)
async def test_a_final_answer_is_a_verdict(bench: Bench, code: grpc.StatusCode) -> None:
    bench.frontend.codes = [code]
    response = await bench.deliver()
    assert response.verdict == FINAL[code]
    assert (code.name in response.message) == (response.verdict == DELIVERY_VERDICT_UNDELIVERABLE)
    assert len(bench.rpcs) == 1
    errors_total = bench.registry.get_sample_value(
        "external_activity_errors_total", {"error_type": code.name}
    )
    assert errors_total == 1


@pytest.mark.parametrize("code", TRANSIENT)
async def test_a_passing_fault_is_raised(bench: Bench, code: grpc.StatusCode) -> None:
    bench.frontend.codes = [code] * 2
    with pytest.raises(ApplicationError) as raised:
        await bench.deliver()
    assert (raised.value.type, raised.value.non_retryable) == (code.name, False)
    assert len(bench.rpcs) == 1, "Temporal retries, nobody else"


# Who cancels, ends first, or loses to another caller: nothing is wrong with the delivery.
@pytest.mark.parametrize("by", ["token", "caller"])
async def test_a_caller_that_does_not_wait_any_more_is_no_error(bench: Bench, by: str) -> None:
    target = {by: TOKEN if by == "token" else CALLER}
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND]
    bench.frontend.runs = {"run": closed()}
    await bench.deliver(execution=execution(AGENT_EXECUTION_PHASE_FAILED), **target)
    assert bench.counted() == {"gone": 1, "NOT_FOUND": 1}


async def test_what_temporal_refuses_or_does_not_answer_is_an_error(bench: Bench) -> None:
    bench.frontend.codes = [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE]
    await bench.deliver()
    with pytest.raises(ApplicationError):
        await bench.deliver()
    assert bench.counted() == {"error": 2, "PERMISSION_DENIED": 1, "UNAVAILABLE": 1}
    await bench.deliver()
    assert bench.counted()["success"] == 1


async def test_tries_between_attempts_are_not_counted(bench: Bench) -> None:
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND]
    bench.frontend.runs = {"run": pending()}
    with pytest.raises(ApplicationError, match="no attempt"):
        await bench.deliver(caller=CALLER, execution=execution(AGENT_EXECUTION_PHASE_FAILED))
    assert bench.counted() == {}
    answered = "external_activity_completion_duration_seconds_count"
    assert bench.registry.get_sample_value(answered) == 1


@pytest.mark.parametrize(
    ("code", "counted"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, {}),
        (grpc.StatusCode.FAILED_PRECONDITION, {"error": 1, "FAILED_PRECONDITION": 1}),
    ],
)
async def test_a_failed_look_up_is_an_error_unless_looking_is_not_permitted(
    bench: Bench, code: grpc.StatusCode, counted: dict[str, float]
) -> None:
    bench.tried_for(timedelta(0))
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND, code]
    with pytest.raises(ApplicationError, match="lookup failed"):
        await bench.deliver(caller=declaring(20))
    assert bench.counted() == counted


@pytest.mark.contract("any service SIGKILLed at any point, delivery included")
async def test_a_lost_reply_looks_like_a_resolved_activity(bench: Bench) -> None:
    bench.environment.info = replace(bench.environment.info, is_local=True)
    bench.frontend.codes = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND]
    response = await bench.deliver()
    assert response.verdict == DELIVERY_VERDICT_NOT_FOUND
    assert bench.rpcs == ["Completed", "Completed"]


async def test_a_failure_by_id_waits_while_no_attempt_has_started(bench: Bench) -> None:
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND]
    bench.frontend.runs = {"run": pending()}
    with pytest.raises(ApplicationError) as raised:
        await bench.deliver(caller=CALLER, execution=execution(AGENT_EXECUTION_PHASE_FAILED))
    assert raised.value.type == "BETWEEN_ATTEMPTS"
    assert raised.value.category == ApplicationErrorCategory.BENIGN
    assert bench.rpcs == ["FailedById", "Describe"]


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION]
)
async def test_a_failed_look_up_is_retried(bench: Bench, code: grpc.StatusCode) -> None:
    bench.tried_for(timedelta(seconds=19))
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND, code]
    with pytest.raises(ApplicationError) as raised:
        await bench.deliver(caller=declaring(20))
    assert (raised.value.type, raised.value.message) == (code.name, f"lookup failed: {code.name}")


@pytest.mark.parametrize(("declared", "grace"), [(20, 20), (0, 300)])
async def test_who_may_not_be_looked_up_is_given_one_heartbeat_timeout(
    bench: Bench, declared: int, grace: int
) -> None:
    bench.tried_for(timedelta(seconds=grace))
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED]
    response = await bench.deliver(caller=declaring(declared))
    assert response.verdict == DELIVERY_VERDICT_NOT_FOUND


async def test_a_delivery_by_id_is_logged_with_the_fingerprint_of_the_token(
    bench: Bench, log_text: Callable[[], str]
) -> None:
    made = execution()
    made.status.callback.fingerprint = "0123456789ab"
    await bench.deliver(caller=CALLER, execution=made)
    said = [json.loads(line) for line in log_text().splitlines() if line.startswith("{")]
    steps = {line["event"]: line["callback_fingerprint"] for line in said if "event" in line}
    assert steps == {"delivering": "0123456789ab", "delivered": "0123456789ab"}


async def test_an_activity_that_is_gone_is_not_found_by_id_either(bench: Bench) -> None:
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND]
    bench.frontend.runs = {"run": closed()}
    response = await bench.deliver(caller=CALLER)
    assert response.verdict == DELIVERY_VERDICT_NOT_FOUND


@pytest.mark.parametrize("code", [None, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
async def test_nothing_secret_is_told(
    bench: Bench, log_text: Callable[[], str], code: grpc.StatusCode | None
) -> None:
    said: list[str] = []
    # The fake server quotes the request in its error, as some proxies do.
    bench.frontend.codes = [code] * 100 if code else []
    token = b"\x0a\x24" + b"0a1fbfea-596d-7b64-bba6-8cf3db6acf0c" + b"a-token-nobody-may-see"
    try:
        said.append(str(await bench.deliver(token=token)))
    except ApplicationError as error:
        failure = Failure()
        converter = DataConverter.default
        converter.failure_converter.to_failure(error, converter.payload_converter, failure)
        said += [repr(error), str(failure), *traceback.format_exception(error)]
    said += [log_text(), generate_latest(bench.registry).decode()]
    text = "\n".join(said)
    for secret in ("a-token-nobody-may-see", token.hex(), SECRET, PROMPT):
        assert secret not in text
    assert '"event": "delivering"' in log_text()
    assert f'"token_length": {len(token)}' in log_text()


async def test_a_waiting_caller_is_looked_at_again(bench: Bench) -> None:
    bench.frontend.runs = {"run": pending(heartbeat_timeout=20)}
    with pytest.raises(ApplicationError) as raised:
        await bench.check()
    assert raised.value.category == ApplicationErrorCategory.BENIGN
    assert raised.value.next_retry_delay is not None
    assert raised.value.next_retry_delay.total_seconds() == 5
    assert bench.frontend.received[0][1].task_token == TOKEN


@pytest.mark.parametrize(
    ("declared", "shown", "interval"),
    [(40, 0, 10), (2, 0, 1), (0, 60, 15), (0, 0, 60)],
    ids=["declared", "short", "shown", "none"],
)
async def test_looks_are_a_quarter_of_the_heartbeat_timeout_apart(
    bench: Bench, declared: int, shown: int, interval: int
) -> None:
    bench.frontend.runs = {"run": pending(heartbeat_timeout=shown)}
    caller = TemporalCaller()
    if declared:
        caller.heartbeat_timeout.seconds = declared
    with pytest.raises(ApplicationError) as raised:
        await bench.check(caller=caller)
    assert raised.value.next_retry_delay is not None
    assert raised.value.next_retry_delay.total_seconds() == interval
    # What was declared needs no second call.
    assert ("Describe" in bench.rpcs) == (not declared)


async def test_a_caller_that_heartbeats_but_cannot_be_described_waits(bench: Bench) -> None:
    with pytest.raises(ApplicationError) as raised:
        await bench.check()
    assert raised.value.next_retry_delay is not None
    assert raised.value.next_retry_delay.total_seconds() == 300


async def test_a_request_for_cancellation_is_a_verdict(bench: Bench) -> None:
    bench.frontend.heartbeat.cancel_requested = True
    assert (await bench.check()).verdict == CALLER_VERDICT_CANCEL_REQUESTED


@pytest.mark.parametrize(
    "runs",
    [{}, {"run": closed()}, {"run": closed("next")}, {"run": closed("next"), "next": closed()}],
    ids=["unknown", "closed", "successor unknown", "successor closed"],
)
async def test_a_caller_that_is_gone_is_a_verdict(
    bench: Bench, runs: dict[str, DescribeWorkflowExecutionResponse]
) -> None:
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND]
    bench.frontend.runs = runs
    assert (await bench.check()).verdict == CALLER_VERDICT_GONE


async def test_a_paused_caller_waits(bench: Bench) -> None:
    run = pending(heartbeat_timeout=8)
    paused = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED
    run.workflow_execution_info.status = paused
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND]
    bench.frontend.runs = {"run": run}
    with pytest.raises(ApplicationError, match="waiting"):
        await bench.check()


async def test_the_successor_of_a_reset_run_waits(bench: Bench) -> None:
    bench.frontend.codes = [grpc.StatusCode.NOT_FOUND]
    bench.frontend.runs = {"run": closed("next"), "next": pending(heartbeat_timeout=8)}
    with pytest.raises(ApplicationError) as raised:
        await bench.check()
    assert raised.value.next_retry_delay is not None
    assert raised.value.next_retry_delay.total_seconds() == 2


@pytest.mark.parametrize(
    "codes",
    [
        [grpc.StatusCode.PERMISSION_DENIED],
        [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION],
    ],
    ids=["heartbeat", "describe"],
)
async def test_a_watch_that_gets_no_answer_goes_on(
    bench: Bench, codes: list[grpc.StatusCode], log_text: Callable[[], str]
) -> None:
    bench.frontend.codes = [*codes]
    bench.frontend.runs = {"run": pending()}
    with pytest.raises(ApplicationError) as raised:
        await bench.check(caller=declaring(12))
    assert raised.value.message == codes[-1].name
    assert raised.value.next_retry_delay is not None
    assert raised.value.next_retry_delay.total_seconds() == 3
    assert "0a1fbfea" not in str(raised.value) + log_text()


@pytest.mark.parametrize(
    ("code", "seconds"),
    [(grpc.StatusCode.DEADLINE_EXCEEDED, 5), (grpc.StatusCode.PERMISSION_DENIED, 300)],
)
async def test_a_fault_leaves_a_caller_that_declares_nothing_alive(
    bench: Bench, code: grpc.StatusCode, seconds: int
) -> None:
    """Its heartbeat timeout is not known: what passes is tried again soon, a refusal is not."""
    bench.frontend.codes = [code]
    with pytest.raises(ApplicationError, match=code.name) as raised:
        await bench.check()
    assert raised.value.next_retry_delay == timedelta(seconds=seconds)


LOST_AND_DENIED = [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED]


@pytest.mark.parametrize(("declared", "grace"), [(12, 12), (0, 300)])
async def test_a_lost_caller_that_may_not_be_looked_up_has_one_heartbeat_timeout(
    bench: Bench, declared: int, grace: int
) -> None:
    notes: list[Any] = []
    bench.environment.on_heartbeat = lambda *details: notes.extend(details)
    bench.frontend.codes = [*LOST_AND_DENIED]
    bench.frontend.runs = {"run": pending()}
    with pytest.raises(ApplicationError) as raised:
        await bench.check(caller=declaring(declared))
    assert raised.value.next_retry_delay == timedelta(seconds=grace)
    assert raised.value.category == ApplicationErrorCategory.BENIGN

    [noted] = notes
    long_ago = datetime.fromisoformat(noted) - timedelta(seconds=grace)
    bench.noted(long_ago.isoformat())
    bench.frontend.codes = [*LOST_AND_DENIED]
    assert (await bench.check(caller=declaring(declared))).verdict == CALLER_VERDICT_GONE


async def test_a_lost_caller_that_is_back_is_given_its_time_anew(bench: Bench) -> None:
    notes: list[Any] = []
    bench.environment.on_heartbeat = lambda *details: notes.extend(details)
    bench.noted(datetime(2026, 1, 1, tzinfo=UTC).isoformat())
    with pytest.raises(ApplicationError, match="waiting"):
        await bench.check(caller=declaring(12))
    assert notes == [""]
    bench.noted("")
    bench.frontend.codes = [*LOST_AND_DENIED]
    bench.frontend.runs = {"run": pending()}
    with pytest.raises(ApplicationError, match="lost"):
        await bench.check(caller=declaring(12))
