"""`emit`: the event that a task makes, and events that it refuses to make."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.zigflow_worker.tests.conftest import document
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS


def emit(attributes: str) -> str:
    return f"do: [{{tell: {{emit: {{event: {{with: {attributes}}}}}}}}}]"


async def test_an_event_has_an_id_a_source_and_a_time(engine: Any) -> None:
    before = datetime.now(UTC)
    events = await engine.run(
        """
        do:
          - twice:
              for: {in: "[1, 2]"}
              do:
                - keep: {set: {kept: "${ .kept + [.event | select(. != null)] }"}}
                - tell:
                    emit: {event: {with: {type: com.example.told}}}
                    output: {as: "{event: ., kept: $input.kept}"}
          - list: {set: "${ .kept + [.event] }"}
        """
    )
    assert [set(event) for event in events] == [
        {"specversion", "id", "source", "type", "time"},
        {"specversion", "id", "source", "type", "time"},
    ]
    first, second = events
    assert (first["specversion"], first["type"]) == ("1.0", "com.example.told")
    assert first["source"] == "/test/example/1.0.0"
    assert uuid.UUID(first["id"]) != uuid.UUID(second["id"])
    time = datetime.fromisoformat(first["time"])
    assert before - timedelta(seconds=5) < time < datetime.now(UTC) + timedelta(seconds=5)


async def test_attributes_given_win_and_may_be_expressions(engine: Any) -> None:
    event = await engine.run(
        emit(
            """{id: "${ .n }", source: 'https://example.com/${x}', type: "${ .t }",
            time: 2026-01-31T12:00:00+01:00, subject: "${ null }", datacontenttype: text/plain,
            dataschema: urn:schema, traceparent: 00-1, sampled: true, priority: 7, data: "${ .d }"}
            """.replace("${x}", "x")
        ),
        {"n": "event-1", "t": "com.example.told", "d": {"deep": ["${ no expression }"]}},
    )
    assert event == {
        "specversion": "1.0",
        "id": "event-1",
        "source": "https://example.com/x",
        "type": "com.example.told",
        "time": "2026-01-31T12:00:00+01:00",
        "datacontenttype": "text/plain",
        "dataschema": "urn:schema",
        "traceparent": "00-1",
        "sampled": True,
        "priority": 7,
        "data": {"deep": ["${ no expression }"]},
    }


async def test_data_may_be_null_and_an_id_that_is_null_is_made(engine: Any) -> None:
    event = await engine.run(emit('{type: t, id: "${ null }", data: null}'))
    assert uuid.UUID(event["id"])
    assert event["data"] is None


@pytest.mark.parametrize(
    ("attributes", "detail"),
    [
        ('{type: "${ .none }"}', "the type of an event must be a string that is not empty"),
        ('{type: t, subject: "${ {} }"}', "the subject of an event must be a string"),
        ('{type: t, source: "${ \\"a b\\" }"}', "the source of an event must be a URI"),
        ('{type: t, time: "${ \\"noon\\" }"}', "the time of an event must be an RFC 3339"),
        ('{type: t, level: "${ 1.5 }"}', "the level of an event must be a string, a boolean"),
    ],
)
async def test_an_event_that_is_none_is_an_expression_error(
    engine: Any, attributes: str, detail: str
) -> None:
    problem = await engine.fault(emit(attributes))
    assert problem["type"].endswith("/errors/expression")
    assert problem["instance"] == "/do/0/tell"
    assert detail in problem["detail"]


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ("{emit: {}}", "/emit: 'event' is required"),
        ("{emit: {event: {}}}", "/emit/event: 'with' is required"),
        ("{emit: {event: {with: {source: urn:a}}}}", "/emit/event/with: 'type' is required"),
        ("{emit: {event: {with: {type: ''}}}}", "/with/type: the type of an event must be"),
        ("{emit: {event: {with: {type: t, id: 5}}}}", "/with/id: the id of an event must be"),
        ("{emit: {event: {with: {type: t, source: a b}}}}", "/with/source: the source of an"),
        ("{emit: {event: {with: {type: t, time: '2026-13-01T00:00:00Z'}}}}", "/with/time: the"),
        ("{emit: {event: {with: {type: t, time: noon}}}}", "/with/time: the time of an event"),
        ("{emit: {event: {with: {type: t, subject: []}}}}", "/with/subject: the subject of an"),
        ("{emit: {event: {with: {type: t, datacontenttype: 1}}}}", "the datacontenttype of an"),
        ("{emit: {event: {with: {type: t, dataschema: '{x}'}}}}", "/with/dataschema: the"),
        ("{emit: {event: {with: {type: t, specversion: '0.3'}}}}", "specversion of an event is"),
        ("{emit: {event: {with: {type: t, roomId: a}}}}", "'roomId' is not an attribute of an"),
        ("{emit: {event: {with: {type: t, level: 3000000000}}}}", "an integer of 32 bits"),
        ("{emit: {event: {with: {type: t, data: '${ }'}}}}", "/with/data: invalid expression"),
        ("{emit: {event: {with: {type: t}, to: x}}}", "unknown key 'to'"),
    ],
)
def test_wrong_events_are_found_before_a_run(task: str, problem: str) -> None:
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(document(f"do: [{{tell: {task}}}]"), TASK_KINDS)
    assert problem in str(invalid.value)
