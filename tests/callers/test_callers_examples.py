"""The examples in every language: what a user copies runs, and does what its comments say."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from stigma.contracts.executions import Kind
from tests.callers.programs import JAVA, LANGUAGES, ROOT, TOOLS, Language, Run, build, copied
from tests.docs.commands import with_ports
from tests.docs.pages import read_page
from tests.observability.spans import Span, received
from tests.stack.faults import Fail, FaultProxy, LoseReply
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from tests.callers.caller_site import CallerSite
    from tests.integration.trace_receiver import TraceReceiver

# The first test of a language builds its program.
pytestmark = pytest.mark.timeout(600)

HAND_OFF = ["token_taken", "start_requested", "acknowledged", "pending"]


async def test_a_single_agent_and_its_trail_of_fingerprints(
    site: CallerSite, language: Language
) -> None:
    run = await Run.start(language, site.settings(), "single", *language.shown("single"))
    assert await run.ended() == "How does this read?"
    assert [event["event"] for event in run.events()] == HAND_OFF
    [pending] = run.events("pending")
    [fingerprint] = {event["callback_fingerprint"] for event in run.events()}
    assert len(fingerprint) == 12
    assert pending["token_length"] > 100
    assert pending["agent"] == "style-reviewer"
    assert pending["workflow_id"] == run.id
    request_id = pending["request_id"]
    assert pending["execution_id"] == site.execution_id(request_id)
    for service, event in [
        ("stigma_api", "request_received"),
        ("stigma_api", "workflow_started"),
        ("stigma_orchestrator", "delivering"),
        ("stigma_orchestrator", "delivered"),
    ]:
        await site.stack.wait_for_event(
            service, event, request_id=request_id, callback_fingerprint=fingerprint
        )
    # No token ever gets to the AI workers: they are found by the request.
    await site.stack.wait_for_event("ai_worker", "model_call_completed", request_id=request_id)


async def test_three_in_parallel_have_a_token_each(site: CallerSite, language: Language) -> None:
    agents = ["style-reviewer", "security-reviewer", "style-reviewer"]
    run = await Run.start(language, site.settings(), "parallel", *language.shown("parallel"))
    assert (await run.ended()).splitlines() == [f"{agent}: Look at this" for agent in agents]
    pending = run.events("pending")
    assert sorted(event["agent"] for event in pending) == sorted(agents)
    assert len({event["callback_fingerprint"] for event in pending}) == 3
    assert len({event["request_id"] for event in pending}) == 3


async def test_a_workflow_that_is_done_in_time(site: CallerSite, language: Language) -> None:
    shown = language.shown("wait")
    run = await Run.start(language, site.settings(), "wait", *shown)
    # The greatest number that JavaScript has exactly; those of other languages are greater.
    assert json.loads(shown[-1])["order"] >= 2**53 - 1
    assert json.loads(await run.ended()) == {"shipped": json.loads(shown[-1])["order"]}
    [pending] = run.events("pending")
    assert pending["execution_id"] == site.execution_id(pending["request_id"], Kind.WORKFLOW)
    assert pending["workflow"] == "shipping"
    await site.stack.wait_for_event(
        "stigma_orchestrator", "delivered", callback_fingerprint=pending["callback_fingerprint"]
    )


async def test_a_workflow_that_takes_too_long_is_answered_by_the_fallback(
    site: CallerSite, language: Language
) -> None:
    arguments = ["--workflow", "slow", "--timeout", language.duration(5), "{}"]
    run = await Run.start(language, site.settings(), "wait", *arguments)
    answer = await run.ended()
    [pending] = run.events("pending")
    assert answer == f'"later" (WORKFLOW_EXECUTION_TIMEOUT, {pending["execution_id"]})'
    assert await site.ended(pending["execution_id"]) == "TIMED_OUT"


async def test_a_workflow_that_fails_fails_its_caller(site: CallerSite, language: Language) -> None:
    run = await Run.start(language, site.settings(), "wait", "--workflow", "broken", "{}")
    await run.ended(code=1)
    assert run.error().startswith("error: WORKFLOW_EXECUTION_FAILED: WORKFLOW_ERROR: ")
    assert "nothing in stock" in run.error()


async def test_without_a_token_the_execution_is_watched(
    site: CallerSite, language: Language
) -> None:
    run = await Run.start(language, site.settings(), "watch", *language.shown("watch"))
    *events, text = (await run.ended()).splitlines()
    assert text == "Nobody waits"
    names = [line.split()[-1] for line in events]
    assert (names[0], names[-1]) == ("started", "ended")
    assert "model_call_completed" in names
    assert run.events() == []


async def test_a_watched_agent_that_fails_says_so(site: CallerSite, language: Language) -> None:
    run = await Run.start(language, site.settings(), "watch", "--agents", "broken", "hi")
    assert "ended" in await run.ended(code=1)
    assert "no such parameter" in run.error()


async def test_an_answer_is_not_retried(site: CallerSite, language: Language) -> None:
    """A failed agent has its reason and step, a refused start has the gRPC code."""
    expected = {
        "broken": "AGENT_EXECUTION_FAILED: INVALID_REQUEST: ",
        "nobody": "AGENT_EXECUTION_FAILED: NOT_FOUND: ",
    }
    runs = {
        agent: await Run.start(language, site.settings(), "single", "--agents", agent, "hi")
        for agent in expected
    }
    for agent, run in runs.items():
        await run.ended(code=1)
        assert run.error().startswith(f"error: {expected[agent]}")
        assert len(run.events("token_taken")) == 1


async def test_a_timeout_and_a_cancellation_have_types_of_their_own(
    site: CallerSite, language: Language
) -> None:
    late, stopped = [
        await Run.start(
            language, site.settings(), "single", "--agents", "slow", "--timeout", timeout, "hi"
        )
        for timeout in (language.duration(5), language.duration(7200))
    ]
    await site.cancel((await stopped.event("pending"))["execution_id"])
    await stopped.ended(code=1)
    assert stopped.error().startswith("error: AGENT_EXECUTION_CANCELLED: ")
    await late.ended(code=1)
    assert late.error().startswith("error: AGENT_EXECUTION_TIMEOUT: DEADLINE: ")


async def test_a_cancelled_caller_cancels_its_agent(site: CallerSite, language: Language) -> None:
    run = await Run.start(language, site.settings(), "single", "--agents", "slow", "hi")
    pending = await run.event("pending")
    await site.stack.client.get_workflow_handle(run.id).cancel()
    await run.ended(code=1)
    assert run.error() == "error: cancelled"
    assert await site.ended(pending["execution_id"]) == "CANCELLED"


async def test_a_workflow_is_cancelled_through_the_api_and_by_its_caller(
    site: CallerSite, language: Language
) -> None:
    """The one fails its caller with type and reason, the other is cancelled with its caller."""
    stopped, left = [
        await Run.start(language, site.settings(), "wait", "--workflow", "slow", "{}")
        for _ in range(2)
    ]
    stopped_id, left_id = [(await run.event("pending"))["execution_id"] for run in (stopped, left)]
    await site.cancel(stopped_id, reason="sold out")
    await site.stack.client.get_workflow_handle(left.id).cancel()
    await stopped.ended(code=1)
    assert stopped.error().startswith("error: WORKFLOW_EXECUTION_CANCELLED: CANCELLED: ")
    assert stopped.error().endswith("sold out")
    assert any("resumed" in line and stopped_id in line for line in stopped.lines)
    await left.ended(code=1)
    assert left.error() == "error: cancelled"
    assert await site.ended(left_id) == "CANCELLED"


async def test_what_cannot_be_asked_fails_its_caller(site: CallerSite) -> None:
    """With a failure's type, not with a workflow task that is retried for ever, as in Python."""
    runs = [
        await Run.start(
            *(language, site.settings(), "wait"),
            *("--timeout", language.duration(-2), "{}"),
        )
        for language in copied()
    ]
    for run in runs:
        await run.ended(code=1)
        refused = "error: WORKFLOW_EXECUTION_FAILED: INVALID_ARGUMENT: "
        assert run.error().startswith(refused)
        assert run.error().endswith(" must be positive (at start_workflow)")
        assert run.events() == []


async def test_a_call_goes_on_in_the_trace_of_its_caller(
    site: CallerSite, traces: TraceReceiver
) -> None:
    """All languages at once; how Python's client does it, tests/observability shows."""
    languages = copied()
    parents = {uuid.uuid4().hex: uuid.uuid4().hex[:16] for _ in languages}
    runs = [
        await Run.start(
            *(language, site.settings() | {"TRACEPARENT": f"00-{trace_id}-{span_id}-01"}),
            *("single", "hi"),
        )
        for language, (trace_id, span_id) in zip(languages, parents.items(), strict=True)
    ]
    for run, (trace_id, span_id) in zip(runs, parents.items(), strict=True):
        await run.ended()
        [pending] = run.events("pending")
        for service, event in [
            ("stigma_api", "workflow_started"),
            ("ai_worker", "model_call_completed"),
            ("stigma_orchestrator", "delivered"),
        ]:
            logged = await site.stack.wait_for_event(
                service, event, request_id=pending["request_id"]
            )
            assert logged["trace_id"] == trace_id, event
        starts = await children(traces, trace_id, span_id)  # several, if a reply took too long
        assert {span.key for span in starts} == {
            ("stigma_api", "/stigma.agent.v1.AgentExecutionService/StartAgent")
        }
        assert {span.attributes["stigma.request_id"] for span in starts} == {pending["request_id"]}


async def children(traces: TraceReceiver, trace_id: str, span_id: str) -> list[Span]:
    """The spans right below one of ours, once they are there."""
    return await eventually(
        lambda: [span for span in received(traces, trace_id) if span.parent_id == span_id],
        what=f"spans below {span_id} of {trace_id}",
    )


async def test_what_passes_is_retried_and_what_was_lost_is_found_again(
    site: CallerSite, language: Language
) -> None:
    async with FaultProxy(site.stack.api_address) as proxy:
        proxy.inject("StartAgent", Fail(grpc.StatusCode.UNAVAILABLE), times=1)
        proxy.inject("StartAgent", LoseReply(), times=1)
        run = await Run.start(language, site.settings(proxy.address), "single", "Once more")
        assert await run.ended() == "Once more"
    taken = run.events("token_taken")
    # A third one only if the second fails before the agent, which it did start, has answered it.
    assert [event["attempt"] for event in taken] in ([1, 2], [1, 2, 3])
    assert len({event["callback_fingerprint"] for event in taken}) == len(taken)
    [request_id] = {event["request_id"] for event in taken}
    started = site.stack.events("workflow_started", request_id=request_id)
    assert len({event["run_id"] for event in started}) == 1
    # Temporal's SDK for TypeScript logs a failed attempt with its token.
    assert not any("taskToken" in line for line in run.lines)


async def test_nobody_answers_before_temporals_own_timeout(site: CallerSite) -> None:
    """All languages at once: for this the orchestrator is down, which is who would answer."""
    copied()
    await site.stack.stop("stigma_orchestrator")
    try:
        runs = [
            await Run.start(
                *(language, site.settings(), "wait"),
                *("--workflow", "slow", "--timeout", language.duration(2), "{}"),
            )
            for language in LANGUAGES.values()
        ]
        answers = await asyncio.gather(*(run.ended() for run in runs))
    finally:
        await site.stack.start("stigma_orchestrator")
    for answer in answers:
        assert answer.startswith('"later" (TEMPORAL_TIMEOUT, ')
    for run in runs:
        [pending] = run.events("pending")
        assert await site.ended(pending["execution_id"]) in {"TIMED_OUT", "CANCELLED"}


async def test_grpcurl_starts_and_watches(site: CallerSite) -> None:
    """The lines of the README, without any code."""
    build("grpcurl")
    page = read_page(ROOT / "examples" / "callers" / "README.md")
    start, watch = page.block("grpcurl").text.splitlines()
    started = await shell(site, start)
    execution_id = json.loads(started)["id"]
    watched = await shell(site, watch.replace("agent-…", execution_id))
    assert '"started"' in watched
    assert '"text": "Nobody waits"' in watched.partition('"ended"')[2]
    # Nothing but reflection has told it what there is: by the version that is not deprecated.
    described = await shell(
        site, "grpcurl -plaintext localhost:7300 describe grpc.reflection.v1.ServerReflection"
    )
    assert "rpc ServerReflectionInfo ( stream .grpc.reflection.v1.S" in described
    metrics = (await site.stack.process("stigma_api").admin("/metrics"))[1]
    assert 'method="/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"' in metrics
    assert "grpc.reflection.v1alpha.ServerReflection/" not in metrics


async def shell(site: CallerSite, line: str) -> str:
    """Run a line as a reader would, here."""
    line = with_ports(line, {7300: site.stack.api_port})
    process = await asyncio.create_subprocess_shell(
        line,
        env={"PATH": f"{TOOLS}:{os.environ['PATH']}", **site.settings()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    sys.stdout.write(f"$ {line}\n{output.decode()}")
    assert process.returncode == 0, errors.decode()
    return output.decode()


def test_the_generated_go_is_of_these_protos(tmp_path: Path) -> None:
    build("go")
    generated = ROOT / "examples" / "callers" / "go"
    subprocess.run([generated / "generate", tmp_path], check=True, timeout=300)
    fresh = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.go")}
    kept = generated / "gen"
    assert {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*.go")} == fresh, (
        "run examples/callers/go/generate"
    )


def test_the_go_that_people_copy_is_formatted_and_sound() -> None:
    build("go")
    for command in (["gofmt", "-l", "."], ["go", "vet", "./..."]):
        done = subprocess.run(
            command,
            cwd=ROOT / "examples" / "callers" / "go",
            env=os.environ | {"CGO_ENABLED": "0"},
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), command


def test_the_java_that_people_copy_compiles_without_a_warning(tmp_path: Path) -> None:
    build("java")
    sources = sorted((JAVA / "src").rglob("*.java"))
    done = subprocess.run(
        [
            *("javac", "-J-XX:TieredStopAtLevel=1", "--release", "17", "-Xlint:all"),
            *("-d", str(tmp_path), "-cp", f"{JAVA}/target/classes:{JAVA}/target/lib/*"),
            *map(str, sources),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
