"""Pending inputs as pages show them."""

from __future__ import annotations

import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    PendingInput,
)
from stigma.contracts.typed_answers import typed_answer
from stigma_api.console.input_views import changes, input_view, printable
from stigma_api.console.rendering import Assets, TemplateRenderer


def test_what_reorders_or_hides_text_is_shown() -> None:
    assert printable("a\u202eb\u200bc\n\td\U000e0041") == "a\\u202eb\\u200bc\n\td\\udb40\\udc41"
    assert printable("grün 日本 🎉") == "grün 日本 🎉"


def test_arguments_are_whole_and_as_the_model_wrote_them() -> None:
    found = PendingInput(
        id="approval-1-1",
        kind=PENDING_INPUT_KIND_APPROVAL,
        execution_id="agent-1",
        arguments_json='{"amount":1.50,"to":"eve\u202e"}',
        allow_edit=True,
    )
    shown = input_view(found, may_answer=True)
    assert shown.arguments == '{\n  "amount": 1.50,\n  "to": "eve\\u202e"\n}'
    assert (shown.is_approval, shown.allow_edit, shown.is_whole) == (True, True, True)
    assert shown.path == "/executions/agent-1/inputs/approval-1-1"
    brief = PendingInput(kind=PENDING_INPUT_KIND_QUESTION, question="Which?", allow_edit=True)
    shown = input_view(brief, may_answer=True)
    assert (shown.kind, shown.arguments, shown.is_whole) == ("question", "", False)
    assert not shown.allow_edit
    brief.kind = 99  # type: ignore[assignment] # of a later release
    assert input_view(brief, may_answer=True).kind == "99"


def test_a_change_has_the_lines_that_differ() -> None:
    before, after = '{"a":1,"b":[2]}', '{"a":1.0,"b":[2]}'
    assert [(line.sign, line.text) for line in changes(before, after)] == [
        ("same", "{"),
        ("removed", '  "a": 1,'),
        ("added", '  "a": 1.0,'),
        ("same", '  "b": ['),
        ("same", "    2"),
        ("same", "  ]"),
        ("same", "}"),
    ]
    assert {line.sign for line in changes(before, before)} == {"same"}


@pytest.mark.parametrize(
    ("has_more", "told"), [(False, "Nothing waits for you"), (True, "More executions wait than")]
)
def test_an_empty_inbox_says_whether_all_was_looked_through(has_more: bool, told: str) -> None:
    templates = TemplateRenderer(Assets())
    shown = templates.part("_inbox.html", inputs=[], has_more=has_more, next="/inbox")
    assert told in shown


def test_what_cannot_be_shown_whole_has_no_form() -> None:
    templates = TemplateRenderer(Assets())
    brief = PendingInput(id="approval-1-1", kind=PENDING_INPUT_KIND_APPROVAL, tool="<b>pay</b>")
    views = [input_view(brief, may_answer=True)]
    shown = templates.part("_inbox.html", inputs=views, has_more=False, next="/inbox")
    assert "&lt;b&gt;pay&lt;/b&gt;" in shown
    assert "<form" not in shown
    brief.arguments_json = "{}"
    views = [input_view(brief, may_answer=True)]
    shown = templates.part("_inbox.html", inputs=views, has_more=False, next="/inbox")
    assert shown.count("<form") == 2


def test_a_page_is_shown_as_text_and_a_form_with_its_schema() -> None:
    templates = TemplateRenderer(Assets())
    page = PendingInput(
        kind=PENDING_INPUT_KIND_AUTHORIZATION,
        question="Sign in",
        url="https://bank.example/?a=1&b=<2>\u202e",
        arguments_json="{}",
    )
    views = [input_view(page, may_answer=True)]
    shown = templates.part("_inbox.html", inputs=views, has_more=False, next="/inbox")
    assert "https://bank.example/?a=1&amp;b=&lt;2&gt;\\u202e</pre>" in shown
    assert 'href="https://bank.example' not in shown
    assert 'name="text" value="done"' in shown
    form = PendingInput(
        kind=PENDING_INPUT_KIND_ELICITATION,
        question="For whom?",
        schema='{"type":"object"}',
        arguments_json="{}",
    )
    views = [input_view(form, may_answer=True)]
    shown = templates.part("_inbox.html", inputs=views, has_more=False, next="/inbox")
    assert "Answer, a JSON object" in shown
    assert "Schema of the answer" in shown


@pytest.mark.parametrize(
    ("schema", "text", "content"),
    [
        ("", "7", "text"),
        ('{"type":"string"}', "7", "text"),
        ('{"type":"integer"}', "7", "json"),
        ("true", "7", "json"),
        ('{"type":"integer"}', "seven", "text"),
        ('{"type":"integer"}', "1e999", "text"),
    ],
)
def test_typed_text_is_json_where_the_schema_asks_for_it(
    schema: str, text: str, content: str
) -> None:
    assert typed_answer(schema, text).WhichOneof("content") == content
