"""Checks of the calls of an answer: ids, refusals and what models are told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_worker.conversations.toolset import MALFORMED, Toolset
from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_MODEL,
    TOOL_OUTCOME_OK,
    TOOL_OUTCOME_REFUSED,
    Message,
    Part,
    ToolCall,
    ToolResult,
)
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import conversation, limits, tools
from stigma.internal.v1.execution_pb2 import ConverseResponse

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2},
        "unit": {"enum": ["C", "F"]},
        "days": {"$ref": "#/$defs/days"},
        "at": {"type": "array", "items": {"$ref": "#/$defs/point"}},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {
        "days": {"type": ["integer", "null"], "maximum": 7},
        "point": {
            "type": "object",
            "properties": {"lat": {}, "lon": {}},
            "required": ["lat", "lon"],
            "additionalProperties": False,
        },
    },
}
AGENT_TOOLS = [
    Tool(name="get_weather", input_schema=json.dumps(WEATHER)),
    Tool(name="now"),
    Tool(name="any", input_schema="{}"),
]
TOOLSET = Toolset(AGENT_TOOLS)
KNOWN = "The tools are: any, get_weather, now."


def message(*calls):
    parts = [Part(tool_call=ToolCall(name=n, arguments_json=a)) for n, a in calls]
    return Message(role=ROLE_MODEL, parts=parts)


def check(*calls, toolset=TOOLSET):
    return toolset.check(1, message(*calls))


def refusal(name, arguments, toolset=TOOLSET):
    checked, refused, _ = check((name, arguments), toolset=toolset)
    (result,) = refused
    assert result.outcome == TOOL_OUTCOME_REFUSED
    assert result.call_id == checked.parts[0].tool_call.call_id == "1-1"
    assert isinstance(json.loads(checked.parts[0].tool_call.arguments_json), dict)
    return result.content


@pytest.mark.parametrize("arguments", ["", "  ", "null", " null\n", "{}"])
def test_no_arguments_are_an_empty_object(arguments):
    checked, refused, _ = check(("now", arguments))
    assert checked.parts[0].tool_call.arguments_json == "{}"
    assert not refused


def test_arguments_stay_as_the_model_wrote_them():
    text = '{ "city" : "Zürich", "days": 1.0 }'
    checked, refused, _ = check(("get_weather", f"\n{text} "))
    assert checked.parts[0].tool_call.arguments_json == text
    assert not refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("{", "the arguments are not JSON: line 1, column 2."),
        ('{"city":\n}', "the arguments are not JSON: line 2, column 1."),
        ("[]", "the arguments are not a JSON object."),
        ('"{}"', "the arguments are not a JSON object."),
        ('{"city": NaN}', "the arguments have a number that is out of range."),
        ('{"city": 1e999}', "the arguments have a number that is out of range."),
        ('{"city": %s}' % ("1" * 5000), "the arguments have a number that is out of range."),
        ('{"city": "\\ud800"}', "the arguments have half of a surrogate pair"),
        ('{"\\udc00": 1}', "the arguments have half of a surrogate pair"),
        ('{"city":' * 101 + "1" + "}" * 101, "the arguments are nested more than 100 deep."),
        ('{"city":' + "[" * 100_000, "the arguments are nested more than 100 deep."),
        ("", "without arguments: the arguments object breaks its schema: 'city' is missing at $."),
        ("{}", "not made: the arguments object breaks its schema: 'city' is missing at $."),
        ('{"city": 1}', "breaks its schema: must be string at $.city."),
        ('{"city": "x"}', "the rule 'minLength' (2) does not hold at $.city."),
        ('{"city": "xx", "unit": "K"}', """must be one of ["C","F"] at $.unit."""),
        ('{"city": "xx", "days": 8}', "the rule 'maximum' (7) does not hold at $.days."),
        ('{"city": "xx", "days": "8"}', "must be integer or null at $.days."),
        (
            '{"city": "xx", "town": "x"}',
            ": 'town' is not allowed at $ (allowed: city, unit, days, at).",
        ),
        (
            '{"town": "x", "ci\\nty": "x"}',
            ": 'ci\\nty', 'town' are not allowed at $ (allowed: city, unit, days, at); "
            "'city' is missing.",
        ),
        (
            '{"city": "xx", "at": [{"lat": 1, "lng": 2}]}',
            ": 'lng' is not allowed at $.at[0] (allowed: lat, lon); 'lon' is missing.",
        ),
        ('{"city": "xx", "%s": 1}' % ("x" * 100_000), f": '{'x' * 64}…' is not allowed at $"),
        ('{"city": "xx", "at": [{"lat": 1}]}', ": 'lon' is missing at $.at[0]."),
        (json.dumps({f"k{n}": 1 for n in range(100)}), "'k15' and 92 more are not allowed at $"),
    ],
    ids=lambda value: value[:40],
)
def test_a_refusal_names_the_place_and_the_keys(arguments, says):
    said = refusal("get_weather", arguments)
    assert said.startswith("The call was not made")
    assert says in said
    assert len(said.encode()) <= limits.MAX_TOOL_ERROR_BYTES


def test_nesting_as_deep_as_allowed_passes():
    assert not check(("any", '{"a":' * 100 + "1" + "}" * 100))[1]


def test_a_value_that_is_long_in_the_schema_is_not_repeated():
    schema = {"type": "object", "properties": {"x": {"enum": [f"value {n}" for n in range(100)]}}}
    toolset = Toolset([Tool(name="any", input_schema=json.dumps(schema))])
    assert refusal("any", '{"x": 1}', toolset).endswith("the rule 'enum' does not hold at $.x.")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("get-weather", f"There is no tool 'get-weather'. Did you mean 'get_weather'? {KNOWN}"),
        ("functions.now", f"There is no tool 'functions.now'. {KNOWN}"),
        ("", f"There is no tool ''. {KNOWN}"),
        ("x" * 100_000, f"There is no tool '{'x' * 64}'. {KNOWN}"),
        ("a\nb", f"There is no tool 'a\\nb'. {KNOWN}"),
    ],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("arguments", ["{}", "{", ""])
def test_an_unknown_tool_is_refused_with_the_names(name, says, arguments):
    assert refusal(name, arguments) == says


def test_many_long_names_are_cut():
    many = Toolset([Tool(name=f"{n:03}{'x' * 60}") for n in range(limits.MAX_TOOLS)])
    said = refusal("none", "{}", many)
    assert len(said.encode()) <= limits.MAX_TOOL_ERROR_BYTES


def test_what_is_malformed_goes_back_as_json_and_in_part():
    checked, _, _ = check(("now", "{" + "x" * 100_000))
    (part,) = checked.parts
    assert json.loads(part.tool_call.arguments_json) == {MALFORMED: "{" + "x" * 3_999}


def test_huge_arguments_are_refused_and_leave_room_for_the_others():
    half = json.dumps({"x": "é" * 200_000}, ensure_ascii=False)
    huge = json.dumps({"x": "x" * 1_100_000})
    checked, refused, _ = check(
        ("any", huge), ("any", half), ("any", half), ("any", half), ("now", "")
    )
    assert [result.call_id for result in refused] == ["1-1", "1-4"]
    assert "the arguments have 1100009 bytes" in refused[0].content
    assert len(checked.SerializeToString()) < limits.MAX_PAYLOAD_BYTES


def test_ten_thousand_calls_are_refused_in_one_result():
    checked, refused, _ = check(*[("any", '{"x": 1}')] * 10_000)
    assert len(checked.parts) == limits.MAX_CALLS_AT_ONCE + 1
    (result,) = refused
    assert result.call_id == f"1-{limits.MAX_CALLS_AT_ONCE + 1}"
    assert "at most 128 tools at once; this one called 10000." in result.content


def test_as_many_calls_as_allowed_are_made():
    checked, refused, _ = check(*[("any", "{}")] * limits.MAX_CALLS_AT_ONCE)
    assert len(checked.parts) == limits.MAX_CALLS_AT_ONCE
    assert not refused


def test_text_after_too_many_calls_stays():
    answer = message(*[("any", "{}")] * 200)
    answer.parts.add(text="Done.")
    checked, _, _ = TOOLSET.check(1, answer)
    assert checked.parts[-1].text == "Done."


def test_the_output_is_the_first_call_of_the_output_tool():
    checked, refused, output = check(
        ("now", ""), (tools.OUTPUT_TOOL, ' {"n": 1} '), (tools.OUTPUT_TOOL, '{"n": 2}')
    )
    assert output == "1-2"
    assert checked.parts[1].tool_call.arguments_json == '{"n": 1}'
    (result,) = refused
    assert result.call_id == "1-3"
    assert "twice" in result.content


def test_an_agent_without_an_output_has_no_output_tool():
    toolset = Toolset(AGENT_TOOLS, has_output=False)
    _, refused, output = check((tools.OUTPUT_TOOL, "{}"), toolset=toolset)
    assert output == ""
    assert refused[0].content.startswith(f"There is no tool '{tools.OUTPUT_TOOL}'")


def test_what_else_a_part_has_is_kept():
    answer = message(("now", "{}"))
    answer.parts[0].provider_state = b"state"
    answer.parts.add(thinking="Hm", provider_state=b"signed")
    checked, _, _ = TOOLSET.check(1, answer)
    assert [part.provider_state for part in checked.parts] == [b"state", b"signed"]
    assert answer.parts[0].tool_call.call_id == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.text(st.characters(exclude_categories=["Cs"])) | JSON.map(json.dumps)
NAMES = st.sampled_from(["get_weather", "now", "any", tools.OUTPUT_TOOL]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=80
)


@given(st.lists(st.tuples(NAMES, ARGUMENTS), max_size=12))
def test_every_call_has_exactly_one_result_and_result_k_is_of_call_k(calls):
    checked, refused, output = check(*calls)
    made = [part.tool_call for part in checked.parts]
    assert [call.call_id for call in made] == [f"1-{n + 1}" for n in range(len(calls))]
    for call in made:
        if call.call_id != output:
            assert isinstance(json.loads(call.arguments_json), dict)
    refused_ids = [result.call_id for result in refused]
    assert len(refused_ids) == len(set(refused_ids))
    assert output not in refused_ids
    answer = ConverseResponse(message=checked, refused=refused, output_call_id=output)
    to_make = list(conversation.calls(answer))
    assert {call.call_id for call in to_make}.isdisjoint(refused_ids)
    for call in to_make:
        assert call.name in {"get_weather", "now", "any"}
    done = {
        call.call_id: ToolResult(
            call_id=call.call_id, name=call.name, outcome=TOOL_OUTCOME_OK, content=call.call_id
        )
        for call in reversed(to_make)  # they may end in any order
    }
    said = conversation.messages(answer, done)
    told = [part.tool_result for part in said[1].parts] if len(said) > 1 else []
    assert [result.call_id for result in told] == [call.call_id for call in made]
    for call, result in zip(made, told, strict=True):
        assert result.name == call.name
        if result.outcome == TOOL_OUTCOME_OK and call.call_id != output:
            assert result.content == call.call_id
