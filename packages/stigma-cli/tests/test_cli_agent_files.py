"""Reading agents from files: strictly, with the line of every mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_RATE_LIMITED,
    Agent,
    AgentSpec,
    AgentTool,
    Tool,
)
from stigma_cli.agent_registry import called_first
from stigma_cli.definition_files import FileDefinition, read_agents
from stigma_cli.errors import CliError, Exit
from stigma_cli.yaml_files import parse_file

HEAD = "apiVersion: stigma/v1\nkind: Agent\nmetadata: {name: reviewer}\n"


def read(tmp_path: Path, text: str) -> Agent:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    (read,) = read_agents([file])
    assert read.file == str(file)
    return read.definition


def complaint(tmp_path: Path, text: str) -> str:
    """Return what is said of a text, without the column."""
    with pytest.raises(CliError) as raised:
        read(tmp_path, text)
    assert raised.value.code == Exit.USAGE
    message = raised.value.message.removeprefix(f"{tmp_path}/")
    return re.sub(r"^(agent\.yaml:\d+):\d+", r"\1", message)


def test_a_whole_agent(tmp_path: Path) -> None:
    agent = read(
        tmp_path,
        """\
apiVersion: stigma/v1
kind: Agent
metadata:
  name: reviewer
  labels: {team: core}
spec:
  model: scripted:demo
  limits: {timeout: 1h30m, steps: 5, costUsd: 2}
  modelSettings: {temperature: 0.5, maxTokens: 100, requestTimeout: PT2M}
  allowed_models: [openai:gpt-5]
  outputSchema:
    type: object
    required: [ok]
  script:
    steps:
      - text: hi
        delay: 1.5s
        pause: true
        failure: {reason: RATE_LIMITED, attempts: 2}
      - failure: {reason: FAILURE_REASON_RATE_LIMITED}
""",
    )
    assert (agent.name, dict(agent.labels)) == ("reviewer", {"team": "core"})
    spec = agent.spec
    assert spec.limits.timeout.ToSeconds() == 5400
    assert (spec.limits.steps, spec.limits.cost_usd) == (5, 2.0)
    assert spec.model_settings.request_timeout.ToSeconds() == 120
    assert list(spec.allowed_models) == ["openai:gpt-5"]
    assert json.loads(spec.output_schema) == {"type": "object", "required": ["ok"]}
    first, second = spec.script.steps
    assert (first.delay.ToMilliseconds(), first.pause, first.failure.attempts) == (1500, True, 2)
    assert first.failure.reason == second.failure.reason == FAILURE_REASON_RATE_LIMITED


def test_the_tools_of_an_agent(tmp_path: Path) -> None:
    agent = read(
        tmp_path,
        HEAD
        + """\
spec:
  model: scripted:demo
  limits: {toolCalls: 20}
  tools:
    - name: find
      inputSchema: {type: object, properties: {id: {type: string}}}
      outputSchema: '{"type": "object"}'
      activity: {type: FindOrder, taskQueue: orders}
      policy: {timeout: 30s, retrySafe: true, maxResultBytes: 100}
    - {name: ship, workflow: {name: shipping@2}}
    - {name: pay, nexus: {endpoint: e, service: s, operation: o}, activity: }
  script:
    steps:
      - toolCalls:
          - {name: find, argumentsJson: {id: A-1}}
          - {name: find, argumentsJson: '{"broken', id: again}
        usage: {inputTokens: 1, costUsd: 0.5}
        cut: {attempts: 2}
""",
    )
    find, ship, pay = agent.spec.tools
    assert json.loads(find.input_schema)["properties"] == {"id": {"type": "string"}}
    assert find.output_schema == '{"type": "object"}'
    assert (find.activity.type, find.activity.task_queue) == ("FindOrder", "orders")
    assert (find.policy.timeout.seconds, find.policy.retry_safe) == (30, True)
    assert find.policy.max_result_bytes == 100
    assert ship.workflow.name == "shipping@2"
    assert (pay.WhichOneof("kind"), pay.nexus.operation) == ("nexus", "o")
    [step] = agent.spec.script.steps
    assert [call.arguments_json for call in step.tool_calls] == ['{"id":"A-1"}', '{"broken']
    assert (step.usage.cost_usd, step.cut.attempts) == (0.5, 2)
    assert agent.spec.limits.tool_calls == 20


def test_agents_that_others_call_are_registered_first() -> None:
    def agent(name: str, *calls: str) -> FileDefinition[Agent]:
        tools = [Tool(agent=AgentTool(agent=each)) for each in calls]
        made = Agent(name=name, spec=AgentSpec(tools=tools))
        return FileDefinition(made, parse_file(name, ""), index=0)

    boss, lead, worker = agent("boss", "lead"), agent("lead", "worker@2", "lead"), agent("worker")
    assert called_first([boss, lead, worker]) == [worker, lead, boss]
    other = agent("other", "boss")
    assert called_first([other, boss, agent("lead", "other")])[-1] == other


def test_absent_values_are_the_defaults(tmp_path: Path) -> None:
    agent = read(tmp_path, HEAD + "spec: {model: scripted:a, limits: , outputSchema: '{}'}\n")
    assert not agent.spec.HasField("limits")
    assert agent.spec.output_schema == "{}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("  modle: x", "agent.yaml:5: unknown key 'modle' in spec, did you mean 'model'?; known: "),
        ("  model: 3", "agent.yaml:5: spec.model must be a text"),
        ("  limits: [1]", "agent.yaml:5: spec.limits must be a mapping"),
        ("  limits:\n    steps: many", "agent.yaml:6: spec.limits.steps must be a whole number"),
        ("  limits:\n    steps: true", "agent.yaml:6: spec.limits.steps must be a whole number"),
        (
            "  limits:\n    steps: 3000000000",
            "agent.yaml:6: spec.limits.steps does not fit",
        ),
        (
            "  limits:\n    timeout: 5 min",
            "agent.yaml:6: spec.limits.timeout: '5 min' is not",
        ),
        ("  limits:\n    timeout: 30", "agent.yaml:6: spec.limits.timeout: '30' is not a duration"),
        ("  env: NAME", "agent.yaml:5: spec.env must be a list"),
        ("  env:\n    - 1", "agent.yaml:6: spec.env[0] must be a text"),
        (
            "  script:\n    steps:\n      - txt: a",
            "agent.yaml:7: unknown key 'txt' in spec",
        ),
        ("  allowedModels: []\n  allowed_models: []", "agent.yaml:6: spec.allowed_models is given"),
        (
            "  script: {steps: [{failure: {reason: BAD}}]}",
            "agent.yaml:5: spec.script.steps[0].failure.reason must be one of INTERNAL, RATE_",
        ),
        ("  model: a\n  model: b", "agent.yaml:6: found duplicate key"),
        (
            "  tools:\n    - activity: {type: t}\n      workflow: {name: w}",
            "agent.yaml:7: spec.tools[0] has activity already: give one of activity, "
            "workflow, nexus",
        ),
        (
            "  tools:\n    - name: a\n      policy: {timeout: 1 week}",
            "agent.yaml:7: spec.tools[0].policy.timeout: '1 week' is not",
        ),
        (
            "  tools:\n    - name: a\n      http: {}",
            "agent.yaml:7: unknown key 'http' in spec.tools[0]; known: name, description",
        ),
        (
            "  tools:\n    - inputSchema: {a: .nan}",
            "agent.yaml:6: spec.tools[0].inputSchema is not JSON",
        ),
    ],
)
def test_a_mistake_in_the_spec_is_named_with_its_line(
    tmp_path: Path, spec: str, expected: str
) -> None:
    assert complaint(tmp_path, f"{HEAD}spec:\n{spec}\n").startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apiVersion: v1", "agent.yaml:1: apiVersion must be stigma/v1"),
        ("apiVersion: stigma/v1\nkind: Pod", "agent.yaml:2: kind must be Agent"),
        ("- a", "agent.yaml:1: the document must be a mapping"),
        (HEAD, "agent.yaml:1: spec must be a mapping"),
        (
            HEAD + "sepc: {}",
            "agent.yaml:4: unknown key 'sepc' in an agent, did you mean 'spec'?; known: apiVersion",
        ),
        (HEAD.replace("reviewer", "1"), "agent.yaml:3: metadata.name must be a text"),
        (HEAD.replace("{name", "{nam"), "agent.yaml:3: unknown key 'nam' in metadata"),
        (HEAD.replace("}", ", labels: {a: 1}}"), "agent.yaml:3: metadata.labels.a must be a text"),
        ("a: [", "agent.yaml:1: "),
        ("a: \x00", "agent.yaml: "),
        ("", "there is no agent in these files"),
    ],
)
def test_a_mistake_in_the_envelope_is_named_with_its_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert complaint(tmp_path, text).startswith(expected)


def test_a_directory_is_read_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(
            f"apiVersion: stigma/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec: {{}}\n"
        )
    (tmp_path / "README.md").write_text("not an agent")
    assert [each.definition.name for each in read_agents([tmp_path])] == ["a", "b"]


def test_several_agents_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(f"{HEAD}spec: {{}}\n---\n{HEAD.replace('reviewer', 'b')}spec: {{}}\n")
    assert [each.definition.name for each in read_agents([file])] == ["reviewer", "b"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xff", "is not UTF-8 text"), (b"#" * 5_000_000, "larger than 4194304 bytes")],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "agent.yaml"
    file.write_bytes(content)
    with pytest.raises(CliError, match=expected):
        read_agents([file])


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="No such file"):
        read_agents([tmp_path / "absent.yaml"])


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    bad = "apiVersion: v2\nkind: Agent\nmetadata: {name: 1, labels: {a: 2}}\nspec:\n"
    bad += "  modle: x\n  limits: {timeout: soon, steps: many}\n  allowedModels: [1, a]\n"
    file.write_text(f"{bad}---\n{HEAD}spec: {{instructions: 5}}\n")
    with pytest.raises(CliError) as raised:
        read_agents([file])
    lines = [raised.value.message, *raised.value.more]
    assert [line.removeprefix(f"{file}:").partition(",")[0] for line in lines] == [
        "1:1: apiVersion must be stigma/v1 (/apiVersion)",
        "3:12: metadata.name must be a text (/metadata/name)",
        "3:30: metadata.labels.a must be a text (/metadata/labels/a)",
        "5:3: unknown key 'modle' in spec",
        "6:12: spec.limits.timeout: 'soon' is not a duration such as \"30s\"",
        "6:27: spec.limits.steps must be a whole number (/spec/limits/steps)",
        "7:19: spec.allowedModels[0] must be a text (/spec/allowedModels/0)",
        "12:8: spec.instructions must be a text (/spec/instructions)",
    ]


def test_plain_scalars_are_the_engines(tmp_path: Path) -> None:
    """A date is a text, and only what YAML 1.2's core schema calls a number is one."""
    schema = (
        "{const: 2024-01-01, examples: [2024-01-01T00:00:00Z, 1_000, 0o17, 010, 0x1F, 1e3, .5, yes,"
        " No, ~, '1', 12:30, TRUE]}"
    )
    agent = read(tmp_path, f"{HEAD}spec: {{outputSchema: {schema}}}\n")
    assert json.loads(agent.spec.output_schema) == {
        "const": "2024-01-01",
        "examples": [
            *("2024-01-01T00:00:00Z", "1_000", 15, 10, 31, 1000.0, 0.5, "yes"),
            *("No", None, "1", "12:30", True),
        ],
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("outputSchema: {const: .inf}", "spec.outputSchema is not JSON: Out of range float values"),
        ("outputSchema: {const: .nan}", "spec.outputSchema is not JSON: Out of range float values"),
        ("limits: {costUsd: .inf}", "spec.limits.costUsd must be a finite number"),
        ('description: "half \\ud83d"', "spec.description has half of a surrogate pair, \\ud83d"),
        ('outputSchema: {const: "\\ud83d"}', "spec.outputSchema has half of a surrogate pair"),
        ("limits: {timeout: 2024-01-01}", "spec.limits.timeout: '2024-01-01' is not a duration"),
    ],
)
def test_what_json_has_not_is_named(tmp_path: Path, spec: str, expected: str) -> None:
    assert complaint(tmp_path, f"{HEAD}spec: {{{spec}}}\n").startswith(f"agent.yaml:4: {expected}")


@pytest.mark.parametrize("depth", [150, 900])
def test_deep_nesting_is_read_or_named(tmp_path: Path, depth: int) -> None:
    text = f"{HEAD}spec: {{outputSchema: {'{a: ' * depth}1{'}' * depth}}}\n"
    if depth == 900:
        assert complaint(tmp_path, text).endswith("is nested too deeply")
    else:
        assert read(tmp_path, text).spec.output_schema.count("{") == depth
