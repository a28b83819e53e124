"""Definitions as text, and what one version has otherwise than another."""

from __future__ import annotations

from stigma.agent.v1.agent_pb2 import (
    APPROVAL_EXPIRY_DENY,
    APPROVAL_REQUIREMENT_NEVER,
    CONTEXT_STRATEGY_DROP,
    Agent,
    AgentSpec,
    ApprovalPolicy,
    ApprovalRule,
    ContextPolicy,
    McpToolDefinition,
    QuestionTool,
    Tool,
)
from stigma.contracts.definition_text import MAX_LINES, changed_lines, definition_text
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec


def reviewer(instructions: str) -> Agent:
    spec = AgentSpec(
        model="scripted:demo",
        instructions=instructions,
        output_schema='{"type":"object"}',
        env=["CITY"],
        tools=[Tool(name="ask", question=QuestionTool())],
    )
    spec.limits.steps = 3
    listed = McpToolDefinition(exposed_name="time", digest="d1")
    return Agent(name="reviewer", spec=spec, labels={"b": "2", "a": "1"}, mcp_tools=[listed])


def test_a_definition_is_shown_a_field_a_line() -> None:
    assert definition_text(reviewer("Be kind.\nBe brief.")).splitlines() == [
        "labels:",
        "  a: 1",
        "  b: 2",
        "model: scripted:demo",
        "instructions: |",
        "  Be kind.",
        "  Be brief.",
        "outputSchema: |",
        "  {",
        '    "type": "object"',
        "  }",
        "limits:",
        "  steps: 3",
        "env:",
        "- CITY",
        "tools:",
        "- name: ask",
        "  question: {}",
        "mcpTools:",
        "  time: d1",
    ]
    workflow = Workflow(name="flow", spec=WorkflowSpec(document="a: 1\nb: 2\n"))
    assert definition_text(workflow) == "document: |\n  a: 1\n  b: 2"


def test_enums_are_shown_as_files_have_them() -> None:
    rule = ApprovalRule(require=APPROVAL_REQUIREMENT_NEVER, on_expiry=APPROVAL_EXPIRY_DENY)
    spec = AgentSpec(
        model="APPROVAL_REQUIREMENT_NEVER",
        context=ContextPolicy(strategy=CONTEXT_STRATEGY_DROP),
        approval=ApprovalPolicy(rules=[rule]),
    )
    assert definition_text(Agent(name="asked", spec=spec)).splitlines() == [
        "model: APPROVAL_REQUIREMENT_NEVER",
        "approval:",
        "  rules:",
        "  - require: NEVER",
        "    onExpiry: DENY",
        "context:",
        "  strategy: DROP",
    ]


def test_what_differs_comes_with_the_lines_around_it() -> None:
    before, after = (definition_text(reviewer(text)) for text in ("Be kind.", "Be brief."))
    changes = changed_lines(before, after)
    assert [(each.sign, each.text) for each in changes] == [
        ("@", "@@ -2,7 +2,7 @@"),
        (" ", "  a: 1"),
        (" ", "  b: 2"),
        (" ", "model: scripted:demo"),
        ("-", "instructions: Be kind."),
        ("+", "instructions: Be brief."),
        (" ", "outputSchema: |"),
        (" ", "  {"),
        (" ", '    "type": "object"'),
    ]
    assert changed_lines(before, before) == []


def test_the_comparison_of_long_texts_is_bounded() -> None:
    before = "\n".join(str(number) for number in range(MAX_LINES + 10))
    assert changed_lines(before, f"{before}\nmore") == []
