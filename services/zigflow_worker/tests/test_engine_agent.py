"""`call: agent`: what is asked, what comes back, and what its failures are to a document."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    SESSION_POLICY_INTERRUPT,
    AgentExecution,
    AgentExecutionStatus,
    AgentOutput,
    Failure,
    Usage,
)
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_STEP_LIMIT
from stigma_client import (
    AgentExecutionCancelled,
    AgentExecutionError,
    AgentExecutionFailed,
    AgentExecutionTimedOut,
)
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.agent_execution import error_of
from zigflow_worker.tasks.registry import TASK_KINDS

BASE = "https://open-workflow-specification.org/spec/1.0.0/errors/agent/"


@pytest.mark.parametrize(
    ("raised", "name", "status"),
    [
        (AgentExecutionFailed, "failed", 502),
        (AgentExecutionTimedOut, "timeout", 408),
        (AgentExecutionCancelled, "cancelled", 499),
    ],
)
def test_failures_are_errors_of_the_document(
    raised: type[AgentExecutionError], name: str, status: int
) -> None:
    error = raised(
        "too many steps",
        reason="STEP_LIMIT",
        details={"execution": {"id": "agent-7"}, "reason": "STEP_LIMIT"},
    )
    mapped = error_of(error)
    assert mapped.problem["type"] == BASE + name
    assert mapped.problem["status"] == status
    assert mapped.problem["detail"] == "STEP_LIMIT: too many steps"
    assert mapped.execution_id == "agent-7"


COMPLETED = AgentExecutionStatus(
    phase=AGENT_EXECUTION_PHASE_COMPLETED,
    output=AgentOutput(json='{"approved": true}'),
    usage=Usage(input_tokens=10, output_tokens=5, model_calls=2, cost_usd=0.25),
)

CALL = """
do:
  - review:
      call: agent
      with:
        agent: code-reviewer@2
        message: ${ "Review \\(.pr.url)" }
        input: ${ .pr }
        env: {REPO: "${ .repo }", RETRIES: 3}
        session: s1
        sessionPolicy: INTERRUPT
        labels: {team: core}
        config:
          model: openai:gpt-5
          timeout: PT2H
          temperature: 0.2
          limits: {steps: 40, tokens: 200000, cost: 2.5}
        output:
          schema: {type: object, required: [approved]}
      export:
        as: $task.agent
  - tell:
      set: {approved: "${ .approved }", agent: "${ $context }"}
"""


async def test_an_agent_is_asked_and_its_output_goes_on(engine: Any, api: Any) -> None:
    api.ending = COMPLETED
    handle = await engine.start(
        engine.document(CALL), {"pr": {"url": "https://x/1"}, "repo": "stigma"}
    )
    assert await handle.result() == {
        "approved": True,
        "agent": {
            "executionId": "agent-42",
            "usage": {"inputTokens": 10, "outputTokens": 5, "modelCalls": 2},
            "cost": 0.25,
        },
    }
    (request,) = api.starts
    assert (request.agent_id, request.message) == ("code-reviewer@2", "Review https://x/1")
    assert request.input_json == '{"url":"https://x/1"}'
    assert dict(request.env) == {"REPO": "stigma", "RETRIES": "3"}
    assert (request.session_id, dict(request.labels)) == ("s1", {"team": "core"})
    assert request.session_policy == SESSION_POLICY_INTERRUPT
    assert request.config.timeout.ToSeconds() == 7200
    assert request.config.temperature == 0.2
    assert (request.config.limits.steps, request.config.limits.cost_usd) == (40, 2.5)
    trace = await handle.query("trace")
    assert trace[0]["executionId"] == "agent-42"
    history = await handle.fetch_history()
    [summary] = filter(None, (event.user_metadata.summary.data for event in history.events))
    assert json.loads(summary) == "code-reviewer@2 /do/0/review"


async def test_output_of_another_shape_is_an_error(engine: Any, api: Any) -> None:
    api.ending = AgentExecutionStatus(
        phase=AGENT_EXECUTION_PHASE_COMPLETED, output=AgentOutput(text="yes")
    )
    problem = await engine.fault(CALL, {"pr": {}, "repo": ""})
    assert problem["type"].endswith("/errors/validation")
    assert problem["instance"] == "/do/0/review"


async def test_an_inline_agent_has_the_output_schema(engine: Any, api: Any) -> None:
    api.ending = COMPLETED
    output = await engine.run(
        """
        do:
          - ask:
              call: agent
              with:
                spec:
                  model: ${ .model }
                  instructions: Be brief.
                  limits: {timeout: PT5M, steps: 3}
                  script: {steps: [{text: hello, delay: PT1S}]}
                output: {schema: {type: object}}
        """,
        {"model": "scripted:demo"},
    )
    assert output == {"approved": True}
    (request,) = api.starts
    assert request.spec.model == "scripted:demo"
    assert request.spec.output_schema == '{"type":"object"}'
    assert request.spec.limits.timeout.ToSeconds() == 300
    assert request.spec.script.steps[0].delay.ToSeconds() == 1


async def test_a_failed_agent_can_be_caught(engine: Any, api: Any) -> None:
    api.ending = AgentExecutionStatus(
        phase=AGENT_EXECUTION_PHASE_FAILED,
        failure=Failure(reason=FAILURE_REASON_STEP_LIMIT, message="too many steps"),
    )
    output = await engine.run(
        f"""
        do:
          - attempt:
              try:
                - ask: {{call: agent, with: {{agent: helper}}}}
              catch:
                errors: {{with: {{type: {BASE}failed}}}}
                do:
                  - note: {{set: {{detail: "${{ $error.detail }}", at: "${{ $error.instance }}"}}}}
        """
    )
    assert output["detail"].startswith("STEP_LIMIT: ")
    assert output["at"] == "/do/0/attempt/try/0/ask"


@pytest.mark.parametrize(
    ("declared", "seconds"),
    [
        ("", 300),
        (", heartbeatTimeout: PT20S", 20),
        (", heartbeatTimeout: {minutes: 1}", 60),
        (", heartbeatTimeout: '${ .patience }'", 7),
    ],
)
async def test_how_soon_a_loss_is_noticed(
    engine: Any, api: Any, declared: str, seconds: int
) -> None:
    api.ending = COMPLETED
    body = f"do:\n  - ask: {{call: agent, with: {{agent: a{declared}}}}}"
    assert await engine.run(body, {"patience": "PT7S"}) == {"approved": True}
    (request,) = api.starts
    assert request.caller.heartbeat_timeout.ToSeconds() == seconds


async def test_a_computed_heartbeat_timeout_is_checked_when_it_runs(engine: Any, api: Any) -> None:
    problem = await engine.fault(
        "do:\n  - ask: {call: agent, with: {agent: a, heartbeatTimeout: '${ .patience }'}}",
        {"patience": "PT0S"},
    )
    assert problem["type"].endswith("/errors/configuration")
    assert problem["detail"] == "a heartbeat timeout must be at least 1 second"
    assert api.starts == []


@pytest.mark.parametrize(
    ("declared", "asked"),
    [
        ("", False),
        (", partialText: true", True),
        (", partialText: '${ .live }'", True),
    ],
)
async def test_partial_text_is_asked_for(engine: Any, api: Any, declared: str, asked: bool) -> None:
    api.ending = COMPLETED
    body = f"do:\n  - ask: {{call: agent, with: {{agent: a{declared}}}}}"
    assert await engine.run(body, {"live": True}) == {"approved": True}
    (request,) = api.starts
    assert request.partial_text is asked


async def test_an_agent_that_loses_a_race_is_cancelled(engine: Any, api: Any) -> None:
    output = await engine.run(
        """
        do:
          - race:
              fork:
                compete: true
                branches:
                  - ask: {call: agent, with: {agent: slow}}
                  - timer:
                      do:
                        - pause: {wait: {milliseconds: 300}}
                        - won: {set: {winner: timer}}
        """
    )
    assert output == {"winner": "timer"}
    assert [cancel.request_id for cancel in api.cancels] == [api.starts[0].request_id]


async def test_a_config_made_of_expressions_is_checked_when_it_runs(engine: Any) -> None:
    problem = await engine.fault(
        "do:\n  - ask: {call: agent, with: {agent: a, config: '${ {colour: 1} }'}}"
    )
    assert problem["type"].endswith("/errors/configuration")
    assert "colour" in problem["detail"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{message: hi}", "expected either 'agent' or 'spec'"),
        ("{agent: a, spec: {model: x}}", "expected either 'agent' or 'spec'"),
        ("{agent: a, temperature: 1}", "unknown key 'temperature'"),
        ("{agent: a, config: {colour: red}}", "colour"),
        ("{agent: a, config: {timeout: soon}}", "not an ISO 8601 duration"),
        ("{agent: a, config: 5}", "expected a map, not 5"),
        ("{agent: a, output: {schema: {type: 5}}}", "not a valid JSON Schema"),
        ("{agent: a, heartbeatTimeout: soon}", "/heartbeatTimeout: 'soon' is not an ISO 8601"),
        (
            "{agent: a, heartbeatTimeout: {milliseconds: 999}}",
            "a heartbeat timeout must be at least 1 second",
        ),
        ("{agent: a, partialText: 1}", "/partialText: expected true or false, not 1"),
        ("{agent: a, sessionPolicy: REJECT}", "'sessionPolicy' needs a 'session'"),
        (
            "{agent: a, session: s, sessionPolicy: reject}",
            '/sessionPolicy: expected ENQUEUE, REJECT, INTERRUPT, not "reject"',
        ),
        ("{agent: a, session: s, sessionPolicy: []}", "expected ENQUEUE, REJECT, INTERRUPT"),
        ("{agent: a, heartbeatTimeout: 60}", "expected an ISO 8601 duration or a map of units"),
    ],
)
def test_wrong_arguments_are_found_before_a_run(arguments: str, message: str) -> None:
    text = (
        "document: {dsl: 1.0.3, namespace: a, name: b, version: 1.0.0}\n"
        f"do: [{{ask: {{call: agent, with: {arguments}}}}}]"
    )
    with pytest.raises(InvalidDocumentError, match=message):
        compile_text(text, TASK_KINDS)


FIVE_AGENTS = """
do:
  - all:
      fork:
        branches:
          - a: {call: agent, with: {agent: a, input: "${ . }"}}
          - b: {call: agent, with: {agent: b, input: "${ . }"}}
          - c: {call: agent, with: {agent: c, input: "${ . }"}}
          - d: {call: agent, with: {agent: d, input: "${ . }"}}
          - e: {call: agent, with: {agent: e, input: "${ . }"}}
"""


async def test_agents_in_flight_are_bounded(
    monkeypatch: pytest.MonkeyPatch, engine: Any, api: Any
) -> None:
    monkeypatch.setattr("zigflow_worker.execution.scheduler.MAX_EFFECTS", 2)
    api.ending = COMPLETED
    handle = await engine.start(engine.document(FIVE_AGENTS))
    assert await handle.result() == [{"approved": True}] * 5
    in_flight = most = 0
    for event in (await handle.fetch_history()).events:
        in_flight += event.HasField("activity_task_scheduled_event_attributes")
        in_flight -= event.HasField("activity_task_completed_event_attributes")
        most = max(most, in_flight)
    assert (most, in_flight) == (2, 0)


async def test_commands_of_one_workflow_task_stay_small(engine: Any, api: Any) -> None:
    api.ending = COMPLETED
    handle = await engine.start(engine.document(FIVE_AGENTS), "x" * 900_000)
    await handle.result()
    sizes: list[int] = []
    async for history in engine.histories():
        of_tasks: dict[int, int] = {}
        for event in history.events:
            scheduled = event.activity_task_scheduled_event_attributes
            task = scheduled.workflow_task_completed_event_id
            of_tasks[task] = of_tasks.get(task, 0) + scheduled.input.ByteSize()
        sizes += of_tasks.values()
    assert sum(sizes) > 5 * 900_000
    assert max(sizes) < 3_000_000


async def test_a_run_continues_as_new_when_its_agents_have_ended(engine: Any, api: Any) -> None:
    handle = await engine.start(
        engine.document(
            """
            do:
              - both:
                  fork:
                    branches:
                      - ask: {call: agent, with: {agent: slow}}
                      - ticking:
                          for: {in: "[range(8)]"}
                          do:
                            - tick: {wait: {milliseconds: 5}}
            """
        ),
        options={"historyLength": 6},
    )
    async with asyncio.timeout(30):
        while len((await handle.fetch_history()).events) < 28:
            pass
    caller = engine.client.get_async_activity_handle(task_token=api.starts[0].callback_token)
    await caller.complete(AgentExecution(id="agent-42", status=COMPLETED))
    assert await handle.result() == [{"approved": True}, None]
    assert len([history async for history in engine.histories()]) > 1
