"""Documents: one of each kind of task, and runs that go on in another."""

from __future__ import annotations

import contextlib
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

from stigma.contracts import engine
from stigma.contracts.engine_calls import CALL_HTTP
from tests.reliability.calls import SCHEDULED, events
from tests.reliability.documents import DOCUMENTS, HEADER, Document
from tests.stack.waiting import eventually
from tools.histories.document_texts import CALLS, OF_TODAY
from tools.histories.outside import Outside
from tools.histories.scenario import Recorder, Scenario


async def _start(record: Recorder, name: str, document: Document) -> WorkflowHandle[Any, Any]:
    text = _placed(document.text, record.outside)
    return await record.stack.client.start_workflow(
        name,
        {"document": text, "input": document.input, "options": document.options},
        id=f"document-{name}",
        task_queue=record.stack.queues.engine,
    )


def _placed(text: str, outside: Outside) -> str:
    """Return a document's text with the addresses of what it calls."""
    return text.replace("WEB_URL", outside.web.url).replace("GRPC_PORT", str(outside.grpc_port))


def _scenario(name: str, document: Document, *features: str) -> Scenario:
    async def record_it(record: Recorder) -> None:
        handle = await _start(record, name, document)
        await record.ended(f"document-{name}", handle)
        has_failed = (await handle.describe()).status == WorkflowExecutionStatus.FAILED
        assert has_failed == document.faults, f"document {name}: {has_failed=}"
        if "historyLength" in document.options:
            assert record.runs(f"document-{name}") > 1

    record_it.__name__ = f"document_{name}"
    return Scenario(record_it, features)


async def document_of_a_directory(record: Recorder) -> None:
    """A document of the engine's directory, by its name."""
    directory = record.stack.directory / "workflows"
    (directory / "kept.yaml").write_text(
        HEADER.replace("name: recorded", "name: kept") + "do: [{say: {set: {n: '${ .n }'}}}]\n"
    )
    handle = await record.stack.client.start_workflow(
        "kept", {"input": {"n": 1}}, id="document-kept", task_queue=record.stack.queues.engine
    )
    await handle.result()
    await record.workflow("document-of-a-directory", handle)


async def document_suspended(record: Recorder) -> None:
    """A run is suspended, and goes on."""
    document = Document("do: [{pause: {wait: {milliseconds: 1500}}}, {say: {set: {n: 1}}}]\n")
    handle = await _start(record, "suspended", document)
    await handle.signal("suspend")

    async def suspended() -> bool:
        return bool((await handle.query("status"))["phase"] == "suspended")

    await eventually(suspended, what="a run that is suspended")
    await handle.signal("resume")
    await handle.result()
    await record.workflow("document-suspended", handle)


async def document_cancelled(record: Recorder) -> None:
    """A run is cancelled during a call and a wait."""
    handle = await _start(record, "cancelled", CALLS["cancelled"])

    async def called() -> bool:
        return any(
            event.activity_task_scheduled_event_attributes.activity_type.name == CALL_HTTP
            for event in await events(handle, SCHEDULED)
        )

    await eventually(called, what="a call")
    await handle.cancel()
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    await record.workflow("document-cancelled", handle)


async def document_input_refused(record: Recorder) -> None:
    """An input that JSON cannot say."""
    text = HEADER + "do: [{say: {set: {n: '${ .n }'}}}]\n"
    handle = await record.stack.client.start_workflow(
        "infinite",
        engine.start_argument(text, '{"n": 1e999}'),
        id="document-infinite",
        task_queue=record.stack.queues.engine,
    )
    await record.ended("document-input-refused", handle)


SCENARIOS = (
    *(
        _scenario(name, document, *features)
        for (name, document), features in zip(
            DOCUMENTS.items(),
            (
                ("task: set", "task: switch", "task: do"),
                ("task: for",),
                ("task: fork", "task: fork, compete"),
                ("task: try", "task: try, retry", "task: raise"),
                ("task: raise",),
                ("task: wait", "timeout"),
                ("task: call agent",),
                ("task: call agent",),
                ("document continued as new",),
                ("document of many turns",),
            ),
            strict=True,
        )
    ),
    *(_scenario(name, document, *features) for name, (document, features) in OF_TODAY.items()),
    Scenario(document_of_a_directory, ("document of a directory",)),
    Scenario(document_suspended, ("document suspended",)),
    Scenario(document_cancelled, ("document cancelled",)),
    Scenario(document_input_refused, ("document input refused",)),
)
