"""The part of a call that its activity does: evaluation, authentication, failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from stigma.contracts.engine_calls import CallRequest, CallResult, DeferredValue
from stigma.contracts.payloads import DATA_CONVERTER, json_payload
from zigflow_worker.activities.call_evaluation import CallEvaluation, CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler, OutgoingCalls
from zigflow_worker.errors import COMMUNICATION, CONFIGURATION, RUNTIME, WorkflowError
from zigflow_worker.outgoing.authenticated import send_authenticated
from zigflow_worker.outgoing.memory import MemoryBudget
from zigflow_worker.outgoing.messages import OutgoingRequest, OutgoingResponse
from zigflow_worker.outgoing.secrets import SecretDirectory

REFERENCE = "/do/0/call"
MEMORY = MemoryBudget()


def evaluation(request: CallRequest, directory: Path | None = None) -> CallEvaluation:
    return CallEvaluation(request, SecretDirectory(directory))


# --- Evaluation


@pytest.mark.parametrize("template", ["${ $secrets.api.pasword }", "${ $secrets.api.key // null }"])
def test_nothing_is_sent_where_a_secret_gives_null(tmp_path: Path, template: str) -> None:
    (tmp_path / "api").write_text('{"password": "s3same"}')
    request = CallRequest(
        reference=REFERENCE,
        arguments={"headers": {"x-key": None}},
        deferred=[DeferredValue(path=["headers", "x-key"], template=template)],
        secrets=["api"],
    )
    with pytest.raises(WorkflowError, match="with/headers/x-key' is null: has the secret api"):
        evaluation(request, tmp_path).evaluate(MEMORY.new_call())


def test_secrets_of_an_authentication_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "api").write_text("s3same")
    (tmp_path / "api.hosts").write_text("auth.example.com")
    request = CallRequest(
        reference=REFERENCE,
        arguments={"endpoint": "http://x"},
        authentication={"bearer": {"token": None}},
        deferred=[
            DeferredValue(
                path=["authentication", "bearer", "token"], template="${ .id + $secrets.api }"
            )
        ],
        subject={"id": "7-"},
        secrets=["api"],
    )
    call = evaluation(request, tmp_path).evaluate(MEMORY.new_call())
    assert call.authentication == {"bearer": {"token": "7-s3same"}}
    assert call.arguments == {"endpoint": "http://x"}
    call.secrets.check_host("shop.example.com")
    with pytest.raises(WorkflowError, match="may not go to the host"):
        call.authentication_secrets.check_host("shop.example.com")


def test_all_arguments_may_be_deferred(tmp_path: Path) -> None:
    (tmp_path / "api").write_text("s3same")
    value = DeferredValue(path=[], template="${ {body: .key, again: $input.key, who: $name} }")
    request = CallRequest(
        reference=REFERENCE,
        arguments=None,
        deferred=[value],
        subject={"raw": 1},
        variables={"name": "Ada"},
        secrets=["api"],
        input_from={"key": "${ $secrets.api }"},
    )
    call = evaluation(request, tmp_path).evaluate(MEMORY.new_call())
    assert call.arguments == {"body": "s3same", "again": "s3same", "who": "Ada"}
    assert call.may_hold_secrets("headers", "X")


@pytest.mark.parametrize("template", ["${ $secrets }", "${ $secrets[.x] }"])
def test_secrets_are_read_by_name_only(template: str) -> None:
    request = CallRequest(
        reference=REFERENCE,
        arguments={"body": None},
        deferred=[DeferredValue(path=["body"], template=template)],
        secrets=["api"],
    )
    with pytest.raises(WorkflowError, match="one by one") as failure:
        evaluation(request).evaluate(MEMORY.new_call())
    assert failure.value.problem["status"] == 403


@pytest.mark.parametrize(
    ("rules", "result"),
    [
        ({}, CallResult(output={"id": 7})),
        ({"output_as": "$authorization.scheme"}, CallResult(output="Bearer")),
        (
            {"output_as": {"with": "${ $authorization.parameter }"}},
            CallResult(output={"with": "t"}),
        ),
        (
            {"output_as": ".id", "export_as": "[., $output, $task.output, $authorization.scheme]"},
            CallResult(output=7, context=[7, 7, {"id": 7}, "Bearer"]),
        ),
        (
            {"export_as": "{old: $context, id: .id}"},
            CallResult(output={"id": 7}, context={"old": 1, "id": 7}),
        ),
    ],
)
def test_rules_that_read_credentials(rules: dict[str, Any], result: CallResult) -> None:
    variables = {"context": 1, "task": {"name": "call", "output": None}}
    request = CallRequest(reference=REFERENCE, arguments={}, variables=variables, **rules)
    credentials = {"scheme": "Bearer", "parameter": "t"}
    outcome = CallOutcome(output={"id": 7}, authorization=credentials)
    assert evaluation(request).result(outcome) == result


def test_rules_do_not_see_an_input_made_of_secrets(tmp_path: Path) -> None:
    (tmp_path / "api").write_text("s3same")
    request = CallRequest(
        reference=REFERENCE,
        arguments={"body": None},
        deferred=[DeferredValue(path=["body"], template="${ $input.key }")],
        subject={"raw": 1},
        variables={"input": {"raw": 1}},
        secrets=["api"],
        input_from={"key": "${ $secrets.api }"},
        output_as="[$input, $authorization.scheme]",
    )
    call = evaluation(request, tmp_path)
    assert call.evaluate(MEMORY.new_call()).arguments == {"body": "s3same"}
    outcome = CallOutcome(output=None, authorization={"scheme": "Bearer", "parameter": "t"})
    assert call.result(outcome).output == [{"raw": 1}, "Bearer"]


def test_rules_that_fail_quote_no_credentials() -> None:
    rule = "$authorization.parameter | tonumber"
    request = CallRequest(reference=REFERENCE, arguments={}, output_as=rule)
    outcome = CallOutcome(output=None, authorization={"scheme": "Bearer", "parameter": "t0ken"})
    with pytest.raises(WorkflowError, match=r"output\.as") as failure:
        evaluation(request).result(outcome)
    assert "t0ken" not in str(failure.value.problem)


# --- Authentication

REQUEST = OutgoingRequest(method="GET", url="http://x/")


@dataclass
class Server:
    """Answers with statuses, in order."""

    statuses: list[int]
    seen: list[OutgoingRequest] = field(default_factory=list)

    async def send(self, request: OutgoingRequest) -> OutgoingResponse:
        self.seen.append(request)
        status = self.statuses.pop(0)
        return OutgoingResponse(status=status, headers=(), body=b"", request=request)


@dataclass
class Credentials:
    """Gives one token after the other."""

    tokens: list[str]
    authorization: dict[str, str] = field(default_factory=dict)

    async def apply(self, request: OutgoingRequest) -> OutgoingRequest:
        return replace(request, headers=[("Authorization", self.tokens.pop(0))])

    async def answer(
        self, request: OutgoingRequest, response: OutgoingResponse
    ) -> OutgoingRequest | None:
        return await self.apply(request) if self.tokens else None


@pytest.mark.parametrize(
    ("statuses", "tokens", "status", "sent"),
    [
        ([200], ["a", "b"], 200, ["a"]),
        ([401, 200], ["a", "b"], 200, ["a", "b"]),
        ([401, 401], ["a", "b", "c"], 401, ["a", "b"]),
        ([401], ["a"], 401, ["a"]),
        ([403], ["a", "b"], 403, ["a"]),
    ],
)
async def test_credentials_are_renewed_once(
    statuses: list[int], tokens: list[str], status: int, sent: Sequence[str]
) -> None:
    server = Server(statuses)
    response = await send_authenticated(server, REQUEST, Credentials(tokens))
    assert response.status == status
    assert [request.headers[0][1] for request in server.seen] == sent


async def test_no_credentials() -> None:
    server = Server([401])
    assert (await send_authenticated(server, REQUEST, None)).status == 401
    assert server.seen == [REQUEST]


# --- Failures


def calls_of(handler: CallHandler, directory: Path | None = None) -> OutgoingCalls:
    """Calls of every kind, all made by one handler."""
    secrets = SecretDirectory(directory)
    return OutgoingCalls(
        secrets, MEMORY, http=handler, openapi=handler, grpc=handler, resource=handler
    )


async def run(calls: OutgoingCalls, request: CallRequest) -> CallResult:
    """The result of an activity, whose payloads are as the engine's."""
    environment = ActivityEnvironment()
    environment.payload_converter = DATA_CONVERTER.payload_converter
    [payload] = DATA_CONVERTER.payload_converter.to_payloads([request])
    result = await environment.run(calls.call_http, RawValue(payload))
    return DATA_CONVERTER.payload_converter.from_payload(result.payload, CallResult)


@dataclass(frozen=True)
class Broken(CallHandler):
    """Has a bug, whose text quotes a secret."""

    error: Exception

    async def call(self, call: EvaluatedCall) -> CallOutcome:
        raise self.error


class Quoting(CallHandler):
    """Quotes what it was given, as names of headers are quoted."""

    async def call(self, call: EvaluatedCall) -> CallOutcome:
        raise WorkflowError.of(CONFIGURATION, f"'{call.arguments}' of user is wrong")


@pytest.mark.parametrize(
    ("secret", "template", "detail"),
    [
        ("t0ken", "${ $secrets.api }", "'…' of user is wrong"),
        ("T/0ken", "${ $secrets.api | @uri | ascii_downcase }", "'…' of user is wrong"),
        ('{"user": ["t0ken"]}', "${ $secrets.api.user[0] }", "'…' of user is wrong"),
        ("key", "${ $secrets.api }", "'key' of user is wrong"),
    ],
)
async def test_no_error_quotes_a_secret(
    tmp_path: Path, secret: str, template: str, detail: str
) -> None:
    (tmp_path / "api").write_text(secret)
    calls = calls_of(Quoting(), tmp_path)
    deferred = [DeferredValue(path=[], template=template)]
    request = CallRequest(reference=REFERENCE, arguments={}, deferred=deferred, secrets=["api"])
    with pytest.raises(ApplicationError) as failure:
        await run(calls, request)
    assert failure.value.details[0]["detail"] == detail
    assert detail in failure.value.message


class Large(CallHandler):
    """Brings more than a payload takes."""

    async def call(self, call: EvaluatedCall) -> CallOutcome:
        return CallOutcome(output="x" * 2_000_000)


class Deep(CallHandler):
    """Brings what nests deeper than data may."""

    async def call(self, call: EvaluatedCall) -> CallOutcome:
        output: Any = None
        for _ in range(600):
            output = [output]
        return CallOutcome(output=output)


@pytest.mark.parametrize(
    ("handler", "kind", "detail"),
    [
        (Broken(KeyError("t0ken")), RUNTIME, "unexpected KeyError"),
        (Broken(TimeoutError("t0ken")), RUNTIME, "unexpected TimeoutError"),
        (Large(), COMMUNICATION, "larger than"),
        (Deep(), COMMUNICATION, "nested too deep"),
    ],
)
async def test_failures_are_final_and_have_a_problem(
    handler: CallHandler, kind: Any, detail: str
) -> None:
    calls = calls_of(handler)
    request = CallRequest(reference=REFERENCE, arguments={})
    with pytest.raises(ApplicationError) as failure:
        await run(calls, request)
    [problem] = failure.value.details
    assert failure.value.non_retryable
    assert failure.value.type == problem["type"] == kind.uri
    assert detail in problem["detail"]
    assert "t0ken" not in f"{failure.value.message}{problem}"
    is_expected = failure.value.category is ApplicationErrorCategory.BENIGN
    assert is_expected == (kind is not RUNTIME), "the SDK logs what is unexpected, and no other"


async def test_a_failure_is_logged_without_its_text() -> None:
    calls = calls_of(Quoting())
    request = CallRequest(reference=REFERENCE, arguments={"endpoint": "https://t0ken.example"})
    with capture_logs() as events, pytest.raises(ApplicationError):
        await run(calls, request)
    [event] = events
    assert event["event"] == "call_failed"
    assert event["reference"] == REFERENCE
    assert (event["error_type"], event["status"]) == ("configuration", 400)
    assert "t0ken" not in f"{event}"


async def test_a_request_of_another_release_is_left_to_its_workers() -> None:
    unknown = RawValue(json_payload({"arguments": {}}))
    with pytest.raises(ApplicationError, match="cannot be decoded") as failure:
        await ActivityEnvironment().run(calls_of(Quoting()).call_http, unknown)
    assert not failure.value.non_retryable


async def test_expressions_that_read_secrets_make_no_more_than_others(tmp_path: Path) -> None:
    (tmp_path / "api").write_text("t0ken")
    deferred = [DeferredValue(path=["body"], template="${ $secrets.api * 400000 }")]
    request = CallRequest(
        reference=REFERENCE, arguments={"body": None}, deferred=deferred, secrets=["api"]
    )
    with pytest.raises(WorkflowError, match="arguments are larger than") as failure:
        evaluation(request, tmp_path).evaluate(MEMORY.new_call())
    assert failure.value.problem["reason"] == "TOO_LARGE"
