"""Answers are checked against the output schema; errors never show content."""

import json

import pytest
from temporalio.exceptions import ApplicationError

from ai_worker.calls.failures import CallError
from ai_worker.models.output import OutputSchema
from stigma.agent.v1.agent_pb2 import Script, ScriptStep
from stigma.internal.v1.execution_pb2 import ModelCallRequest

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "scores": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["name"],
        "additionalProperties": {"type": "boolean"},
    }
)


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ('{"name": "x", "scores": [1]}', '{"name":"x","scores":[1]}'),
        ('  {"scores":[],"name":"é"}\n', '{"name":"é","scores":[]}'),
        ('```json\n{"name": "x"}\n```', '{"name":"x"}'),
        ('```\n{"name": "x"}\n```', '{"name":"x"}'),
        (
            '{"name":"x","scores":[12345678901234567890]}',
            '{"name":"x","scores":[12345678901234567890]}',
        ),
    ],
)
def test_accepts(answer, output):
    checked = OutputSchema(SCHEMA).check(answer)
    assert (checked.json, checked.error) == (output, "")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("confidential", "the output is not JSON: line 1, column 1"),
        ('{"name":\n confidential}', "the output is not JSON: line 2, column 2"),
        ('{"name": 7}', "the output breaks the rule 'type' of its schema at $.name"),
        ("[]", "the output breaks the rule 'type' of its schema at $"),
        ("{}", "the output breaks the rule 'required' of its schema at $: name is missing"),
        (
            '{"name": "x", "scores": [1, "confidential"]}',
            "the output breaks the rule 'type' of its schema at $.scores[1]",
        ),
        (
            '{"name": "x", "confidential": 1}',
            "the output breaks the rule 'type' of its schema at $.*",
        ),
    ],
)
def test_refuses_saying_where_and_which_rule(answer, error):
    checked = OutputSchema(SCHEMA).check(answer)
    assert (checked.json, checked.error) == ("", error)


@pytest.mark.parametrize(
    "answer", ["NaN", "-Infinity", "1e999", "[" * 100_000, "1" * 5000, '"\\ud800"']
)
def test_refuses_what_no_json_reader_could_take(answer):
    checked = OutputSchema("{}").check(answer)
    assert checked.json == ""
    assert checked.error.startswith("the output is JSON that cannot be carried")


def test_long_places_are_cut():
    schema: dict[str, object] = {"type": "integer"}
    answer = "true"
    for _ in range(30):
        schema = {"properties": {"property": schema}}
        answer = f'{{"property": {answer}}}'
    assert OutputSchema(json.dumps(schema)).check(answer).error.endswith("…")


def test_a_false_schema_refuses_all():
    checked = OutputSchema('{"properties": {"a": false}}').check('{"a": 1}')
    assert checked.error.endswith("at $.a")


@pytest.mark.parametrize(
    "schema",
    [
        "not json",
        "[]",
        "true",
        '{"type": "nonsense"}',
        '{"$ref": "https://example.com/schema.json"}',
        '{"$ref": "file:///etc/passwd"}',
        '{"$schema": "https://example.com/own-dialect"}',
    ],
)
def test_a_bad_schema_is_the_requests_fault(schema):
    with pytest.raises(CallError, match="not a valid JSON Schema") as caught:
        OutputSchema(schema)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ('{"allOf": [{"$ref": "#"}]}', "refers to itself"),
        (json.dumps({"anyOf": [{"pattern": f"a{n}"} for n in range(101)]}), "100 patterns"),
        ('{"items": ' * 300 + "{}" + "}" * 300, "nested more than 200 deep"),
    ],
)
def test_a_schema_that_takes_too_much(schema, reason):
    with pytest.raises(CallError, match=f"the output schema .*{reason}") as caught:
        OutputSchema(schema)
    assert not caught.value.retryable


def test_an_answer_that_takes_too_much():
    node = {"properties": {"x": {"allOf": [{"$ref": "#"}] * 2}}}
    checked = OutputSchema(json.dumps(node)).check('{"x": ' * 40 + "{}" + "}" * 40)
    assert checked.error.startswith("checking the output takes more than 200000 evaluations")


def test_an_answer_that_breaks_too_many_alternatives():
    schema = {"anyOf": [{"type": "integer", "title": str(n)} for n in range(1000)]}
    checked = OutputSchema(json.dumps(schema)).check(json.dumps("x" * 1_000_000))
    assert checked.error.startswith("the output breaks its schema, in too many alternatives")
    assert OutputSchema(json.dumps(schema)).check('"x"').error.endswith("at $")


async def test_the_activity_returns_output_or_error(new_bench):
    bench = await new_bench()

    async def call(text, schema=SCHEMA):
        script = Script(steps=[ScriptStep(text=text)])
        return await bench.call(
            ModelCallRequest(model="scripted:x", step=1, script=script, output_schema=schema)
        )

    good = await call('{"name": "x"}')
    assert (good.output_json, good.output_error) == ('{"name":"x"}', "")
    bad = await call("{}")
    assert bad.output_json == ""
    assert "name is missing" in bad.output_error
    with pytest.raises(ApplicationError) as caught:
        await call("{}", schema="{")
    assert caught.value.type == "INVALID_REQUEST"
