"""What MCP servers ask, and the states of tasks, as the workflow is told of them."""

from __future__ import annotations

from typing import Any

import pytest

from ai_worker.mcp.failures import NotSentError
from ai_worker.mcp.questions import QuestionError, read_questions, responses_to
from ai_worker.mcp.tasks import read_task
from stigma.agent.v1.agent_execution_pb2 import ToolOutcome
from stigma.contracts import limits
from stigma.internal.v1.execution_pb2 import McpQuestion

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


def form(**params: Any) -> dict[str, Any]:
    given = {"message": "Who?", "requestedSchema": SCHEMA} | params
    return {"method": "elicitation/create", "params": given}


def page(url: Any) -> dict[str, Any]:
    params = {"mode": "url", "message": "Sign in.", "url": url}
    return {"method": "elicitation/create", "params": params}


def test_forms_and_pages_are_read_with_the_state() -> None:
    asked = read_questions(
        {"inputRequests": {"a": form(), "b": page("https://a.example/x")}, "requestState": "s"}
    )
    first, second = asked.asked
    assert (first.key, first.message, first.url) == ("a", "Who?", "")
    assert (second.key, second.schema, second.url) == ("b", "", "https://a.example/x")
    assert (asked.request_state, asked.outcome) == ("s", 0)
    # A state alone may be empty, and is not the same as none.
    assert read_questions({"requestState": ""}).HasField("request_state")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({}, "does not say for which"),
        ({"inputRequests": [form()]}, "more than 16 inputs"),
        ({"inputRequests": {str(n): form() for n in range(17)}}, "more than 16 inputs"),
        ({"inputRequests": {"a": {"method": "roots/list"}}}, "folders (roots)"),
        ({"inputRequests": {"a": {"method": "other"}}}, "cannot be asked for"),
        ({"inputRequests": {"a": 3}}, "cannot be asked for"),
        ({"inputRequests": {"a": form(requestedSchema=None)}}, "schema cannot be used"),
        ({"inputRequests": {"a": form(requestedSchema={"type": 3})}}, "schema cannot be used"),
        (
            {"inputRequests": {"a": form(requestedSchema={"$ref": "http://a.example/b"})}},
            "schema cannot be used",
        ),
        (
            {"inputRequests": {"a": form(requestedSchema={"title": "x" * 70_000})}},
            "schema cannot be used",
        ),
        (
            {
                "inputRequests": {
                    str(n): form(requestedSchema={"title": "x" * 60_000}) for n in range(5)
                }
            },
            "more than 262144 bytes",
        ),
        ({"inputRequests": {"a": page("file:///etc/passwd")}}, "not one of the web"),
        ({"inputRequests": {"a": page("https://a.example/\u202e")}}, "not one of the web"),
        ({"inputRequests": {"a": page("https://[")}}, "not one of the web"),
        ({"inputRequests": {"a": page(f"https://a.example/{'x' * 2048}")}}, "not one of the web"),
        ({"inputRequests": {"a": page(None)}}, "not one of the web"),
    ],
)
def test_what_people_cannot_be_asked_is_said(result: dict[str, Any], said: str) -> None:
    with pytest.raises(QuestionError) as refused:
        read_questions(result)
    assert said in str(refused.value)


def test_long_texts_are_cut() -> None:
    asked = read_questions({"inputRequests": {"a": form(message="ü" * 20_000)}})
    assert len(asked.asked[0].message.encode()) <= limits.MAX_MCP_QUESTION_BYTES


def test_responses_are_those_of_the_protocol() -> None:
    given = McpQuestion(key="a", response_json='{"action":"accept","content":{"n":1,"b":true}}')
    responses = responses_to([given, McpQuestion(key="b", response_json='{"action":"decline"}')])
    assert responses is not None
    assert responses["a"].content == {"n": 1, "b": True}
    assert (responses["b"].action, responses["b"].content) == ("decline", None)
    assert responses_to([]) is None
    given.response_json = '{"action":"accept","content":{"n":{"m":1}}}'
    with pytest.raises(NotSentError):
        responses_to([given])


@pytest.mark.parametrize(
    ("state", "outcome", "content"),
    [
        ({"status": "completed", "result": {"content": []}}, "OK", ""),
        (
            {"status": "completed", "result": {"content": [], "isError": True}},
            "ERROR",
            "The tool failed, and does not say why.",
        ),
        ({"status": "completed"}, "ERROR", "The MCP server's answer is not a result of a tool."),
        ({"status": "failed", "error": {"message": "no"}}, "ERROR", "The task failed: no"),
        ({"status": "failed", "statusMessage": "off"}, "ERROR", "The task failed: off"),
        (
            {"status": "cancelled"},
            "CANCELLED",
            "The MCP server cancelled the task of the call.",
        ),
    ],
)
def test_a_task_that_has_ended_is_a_result(
    state: dict[str, Any], outcome: str, content: str
) -> None:
    response = read_task({"taskId": "t"} | state, 1000)
    assert ToolOutcome.Name(response.outcome).removeprefix("TOOL_OUTCOME_") == outcome
    assert response.content == content


@pytest.mark.parametrize(
    ("interval", "seconds"), [(1500, 1.5), (None, 0.0), (-1, 0.0), (10**9, 300.0), ("x", 0.0)]
)
def test_a_task_goes_on_after_a_bounded_time(interval: Any, seconds: float) -> None:
    response = read_task({"taskId": "t", "status": "working", "pollIntervalMs": interval}, 1000)
    assert (response.task.id, response.outcome) == ("t", 0)
    assert response.task.poll_interval.ToTimedelta().total_seconds() == seconds
    unnamed = read_task({"status": "working"}, 1000)
    assert "may have happened" in unnamed.content
