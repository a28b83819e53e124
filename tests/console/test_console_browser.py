"""The console in a real browser, in front of a real installation."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any
from urllib.parse import urlencode

from playwright.async_api import Page, expect

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, Script, ScriptStep
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from stigma_cli.definition_files import read_agents
from tests.console.console_browser import PATIENCE, ROOT, ConsoleBrowser, assert_accessible, steps
from tests.integration.callers import Job, PythonCaller
from tests.integration.installation import KEY
from tests.stack.channels import open_channel
from tests.stack.waiting import eventually

EXAMPLE = ROOT / "examples" / "code-review"
HOSTILE = "<img src=x onerror=alert(1)><script>window.taken = true</script>"


async def shown(page: Page, text: str | re.Pattern[str]) -> None:
    await expect(page.locator("main")).to_contain_text(text, timeout=PATIENCE)


async def test_a_handshake_is_followed_from_start_to_resumed_without_a_reload(
    console: ConsoleBrowser,
):
    installation, group = console.installation, f"g-{uuid.uuid4().hex[:8]}"
    message = f"Is this safe? {group}"
    agent = Agent(name="reviewer", spec=AgentSpec(model="gate:held"))
    await installation.agents.ApplyAgent(ApplyAgentRequest(agent=agent))
    async with console.seated() as page, console.filmed(page, "live") as recording:
        await page.get_by_label("Filter").fill(f'labels.group = "{group}"')
        await page.get_by_role("button", name="Find").click()
        await shown(page, "No execution is like that")
        await recording.shoot()
        await installation.stack.kill("stigma_orchestrator")
        job = Job("reviewer", message, group=group, timeout=120)
        called = await installation.call(PythonCaller, job)
        # The list comes up to date by itself.
        link = page.get_by_role("link", name=called.execution_id)
        await expect(link).to_be_visible(timeout=PATIENCE)
        await recording.shoot()
        await link.click()
        await page.evaluate("window.loaded = 'once'")
        await expect(page.locator(".badge")).to_have_text("pending", timeout=PATIENCE)
        chart = page.locator("[data-fragment=timeline]")
        await expect(chart.locator("[data-step=pending]")).to_be_visible(timeout=PATIENCE)
        await shown(page, "waiting")
        assert set(steps(await chart.inner_html())) == {"taken", "acknowledged", "pending"}
        await recording.shoot()
        await installation.stack.start("stigma_orchestrator")
        await expect(page.locator(".badge")).to_have_text("running", timeout=PATIENCE)
        at_work = chart.locator("[data-step=model_call].open")
        await expect(at_work).to_be_visible(timeout=PATIENCE)
        before = steps(await chart.inner_html())
        assert {"taken", "acknowledged", "pending", "started", "model_call"} <= set(before)
        assert not {"delivered", "ended", "resumed"} & set(before)
        await shown(page, "waiting")
        await expect(page).to_have_title(re.compile("^running"))
        await recording.shoot()
        await recording.shoot_once_changed(at_work)

        (await installation.gate.held(group)).refuse(429, "rate_limit_exceeded")
        held = await installation.gate.held(group, nth=2)
        await expect(at_work).to_contain_text("attempt 2", timeout=PATIENCE)
        await expect(at_work).to_contain_text("last attempt:")
        await recording.shoot()
        held.answer("Nothing to fear.")
        assert await called.result() == "Nothing to fear."
        await expect(page.locator(".badge")).to_have_text("completed", timeout=PATIENCE)
        for step in ("delivered", "ended", "resumed"):
            await expect(chart.locator(f"[data-step={step}]")).to_be_visible(timeout=PATIENCE)
        await recording.shoot()
        await shown(page, "Nothing to fear.")
        await shown(page, "delivered")
        await expect(page.get_by_role("status")).to_have_text("completed")
        await expect(page).to_have_title(re.compile("^completed"))
        assert await page.evaluate("window.loaded") == "once"
        # Nothing will change any more: nothing is asked any more.
        await expect(page.locator("[data-live-mark]")).to_be_hidden()
        links = page.get_by_role("link", name=re.compile("^(execution|caller)$"))
        addresses = [await each.get_attribute("href") for each in await links.all()]
        ui = "http://localhost:8233/namespaces/default/workflows"
        assert addresses[0] == f"{ui}/{called.execution_id}"
        assert str(addresses[1]).startswith(f"{ui}/{called.workflow.id}/")


async def test_hostile_content_is_text(console: ConsoleBrowser):
    called = await console.installation.call(PythonCaller, Job("echo", HOSTILE, session="hostile"))
    assert await called.result() == HOSTILE
    async with console.seated() as page:
        await page.goto(f"{console.url}/executions/{called.execution_id}")
        await shown(page, HOSTILE)
        await page.goto(f"{console.url}/executions?session=%3Cscript%3Ewindow.taken=1%3C/script%3E")
        assert await page.evaluate("window.taken") is None


async def test_text_is_shown_while_a_model_writes_it(console: ConsoleBrowser):
    # Three words a second, for some ten seconds.
    words = " ".join(f"word{number}" for number in range(30))
    step = ScriptStep(text=f"{HOSTILE} {words}")
    step.chunk_delay.FromSeconds(1)
    spec = AgentSpec(model="scripted:writer", script=Script(steps=[step]))
    request = StartAgentRequest(spec=spec, message="Write.", partial_text=True)
    started = await console.installation.stub.StartAgent(request)
    async with console.seated() as page:
        await page.goto(f"{console.url}/executions/{started.id}")
        writing = page.locator("[data-fragment=writing]")
        await expect(writing).to_contain_text("writes: step 1", timeout=PATIENCE)
        await expect(writing.locator("pre")).to_contain_text(HOSTILE, timeout=PATIENCE)
        await expect(writing.locator("pre")).to_contain_text("word9", timeout=PATIENCE)
        # Once it is in the conversation, it is nowhere else.
        conversation = page.locator("[data-fragment=conversation]")
        await expect(conversation).to_contain_text("word29", timeout=PATIENCE)
        await expect(writing).to_be_empty(timeout=PATIENCE)
        assert not await page.evaluate("window.taken")


async def test_who_is_not_signed_in_gets_to_the_page_by_signing_in(console: ConsoleBrowser):
    async with console.seated(signed_in=False) as page:
        await page.goto(f"{console.url}/agents")
        await expect(page.get_by_label("API key")).to_be_focused()
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("not known")
        await page.get_by_label("API key").fill(KEY)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Agents")).to_be_visible()
        await expect(page.get_by_text("echo@1")).to_be_visible()
        assert KEY not in await page.content()
        [cookie] = await page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert KEY not in str(cookie.get("value"))
        await page.get_by_role("button", name="Sign out").click()
        await page.goto(f"{console.url}/agents")
        await expect(page.get_by_label("API key")).to_be_visible()


async def test_pages_are_used_by_keyboard_and_fit_a_phone(console: ConsoleBrowser):
    called = await console.installation.call(PythonCaller, Job("echo", "hello", session="phone"))
    await called.result()
    size: dict[str, Any] = {"viewport": {"width": 390, "height": 844}}
    async with console.seated(color_scheme="dark", **size) as page:
        for path in ("executions", f"executions/{called.execution_id}", "stuck", "agents"):
            await page.goto(f"{console.url}/{path}")
            await expect(page.locator("h1")).to_have_count(1)
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, path
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.locator("#main")).to_be_focused()
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    async with console.seated() as page:
        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light


async def test_a_workflow_and_its_agents(console: ConsoleBrowser):
    """The example, from which the documents' pictures are."""
    installation = console.installation
    for each in read_agents([EXAMPLE / "agents"]):
        await installation.agents.ApplyAgent(ApplyAgentRequest(agent=each.definition))
    document = (EXAMPLE / "workflow.yaml").read_text()
    given = (EXAMPLE / "input.json").read_text()
    async with open_channel(installation.stack.api_address, api_key=KEY) as channel:
        spec = WorkflowSpec(document=document, description="Two agents review a change.")
        workflow = Workflow(name="code-review", spec=spec, labels={"example": "code-review"})
        await WorkflowServiceStub(channel).ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))
        started = await WorkflowExecutionServiceStub(channel).StartWorkflow(
            StartWorkflowRequest(
                workflow_id="code-review",
                input_json=given,
                session_id="change-4711",
                labels={"team": "core"},
            )
        )
    slow = await installation.start(agent_id="slow", message="m", session_id="nightly")
    await installation.start(agent_id="broken", message="m", labels={"team": "core"})
    async with console.seated() as page:
        await page.goto(f"{console.url}/executions/{started.id}")
        await expect(page.locator("[data-step=engine_run]")).to_be_visible(timeout=PATIENCE)
        await page.goto(f"{console.url}/executions?name=security-reviewer")
        row = page.locator("tbody tr", has_text="security-reviewer").first
        await row.locator("a[href^='/executions/']").first.click()
        # A step that runs for a second may have ended before a slow browser shows it.
        await console.picture(page, "running", of=page.locator("[data-step=model_call].open"))
        await expect(page.locator("[data-step=resumed]")).to_be_visible(timeout=PATIENCE)
        await shown(page, "Use a parameter.")
        await console.picture(page, "execution")
        await page.get_by_role("link", name=started.id).click()
        await expect(page.locator(".badge")).to_have_text("completed", timeout=PATIENCE)
        await shown(page, "Use a parameter.")
        await shown(page, json.loads(given)["title"])
        await expect(page.get_by_role("link", name="engine run")).to_be_visible()
        await console.picture(page, "workflow")
        await page.goto(f"{console.url}/workflows")
        await expect(page.get_by_text("code-review@1")).to_be_visible()
        await page.get_by_role("link", name="Its executions").click()
        await expect(page.get_by_role("link", name=started.id)).to_be_visible(timeout=PATIENCE)
        await page.goto(f"{console.url}/executions")
        await shown(page, started.id)
        await shown(page, slow.id)
        await console.picture(page, "executions")
        await installation.cancel(slow.id)
    async with console.seated(color_scheme="dark", viewport={"width": 390, "height": 844}) as page:
        await page.goto(f"{console.url}/executions?name=security-reviewer")
        await page.locator("tbody tr").first.locator("a[href^='/executions/']").first.click()
        await shown(page, "Use a parameter.")
        await console.picture(page, "phone")


async def test_an_execution_is_found_cancelled_and_asked_again(console: ConsoleBrowser):
    spec = AgentSpec(model="scripted:asker", script=Script(steps=[ScriptStep(text="{message}!")]))
    for description in ("First.", "Second."):
        spec.description = description
        agent = Agent(name="asker", spec=spec)
        await console.installation.agents.ApplyAgent(ApplyAgentRequest(agent=agent))
    session = f"chat {uuid.uuid4().hex[:8]}"
    request_id = f"order {uuid.uuid4().hex}"
    started = await console.installation.start(
        agent_id="asker", message="hello", session_id=session, request_id=request_id
    )
    slow = await console.installation.start(agent_id="slow", message="m")
    async with console.seated() as page:
        box = page.get_by_label("An id, or a filter")
        await box.fill(request_id)
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(f"{console.url}/executions/{started.id}")
        await expect(page.locator(".badge")).to_have_text("completed", timeout=PATIENCE)
        await shown(page, "hello!")
        await assert_accessible(page)
        await page.get_by_role("link", name="Ask again").click()
        await assert_accessible(page)
        await page.get_by_label("Task").fill("goodbye")
        await page.get_by_label("the newest").check()
        await page.get_by_role("button", name="Ask again").click()
        await shown(page, "goodbye!")
        await expect(page.get_by_role("link", name="Cancel")).to_have_count(0)

        await page.goto(f"{console.url}/session?id={session}")
        await shown(page, "hello!")
        await expect(page.get_by_role("link", name=started.id)).to_be_visible(timeout=PATIENCE)
        await assert_accessible(page)
        await page.goto(f"{console.url}/sessions")
        await page.get_by_role("link", name=session).click()
        await shown(page, "hello!")

        await page.goto(f"{console.url}/executions/{slow.id}")
        await page.get_by_role("link", name="Cancel").click()
        await assert_accessible(page)
        await page.get_by_label("Reason").fill("not needed")
        await page.get_by_role("button", name="Cancel the execution").click()
        await expect(page.locator(".badge")).to_have_text("cancelled", timeout=PATIENCE)
        await shown(page, "not needed")


async def test_lists_charts_and_agents_on_a_desk_and_on_a_phone(console: ConsoleBrowser):
    group = f"g-{uuid.uuid4().hex[:8]}"
    broken = await console.installation.start(
        agent_id="broken", message="m", labels={"group": group}
    )
    spec = AgentSpec(model="scripted:twice", instructions="Be kind.")
    for instructions in ("Be kind.", "Be brief."):
        spec.instructions = instructions
        agent = Agent(name="twice", spec=spec)
        await console.installation.agents.ApplyAgent(ApplyAgentRequest(agent=agent))
    query = urlencode({"filter_text": f'labels.group = "{group}"', "range": "1h"})
    async with console.seated() as page:
        await page.goto(f"{console.url}/executions?{query}")
        row = page.locator("tbody tr", has_text=broken.id)
        await expect(row.locator(".badge")).to_have_text("failed", timeout=PATIENCE)
        await expect(row.locator(".why")).not_to_be_empty()
        await page.reload()
        counts = page.locator(".outcomes")
        await expect(counts.get_by_role("img", name="1 failed")).to_be_visible()
        await assert_accessible(page)
        await counts.get_by_role("link", name="1 failed").click()
        await expect(row).to_be_visible()
        await expect(page.get_by_label("Phase")).to_have_value("FAILED")
        await row.get_by_role("link", name="broken").click()
        await expect(page.get_by_role("heading", name="broken")).to_be_visible()
        await page.goto(f"{console.url}/agents/twice")
        await page.get_by_label("Compared with").select_option("1")
        await page.get_by_role("button", name="Show").click()
        diff = page.get_by_label("Changes")
        await expect(diff.locator(".removed")).to_have_text("- instructions: Be kind.")
        await expect(diff.locator(".added")).to_have_text("+ instructions: Be brief.")
        await console.picture(page, "agent")
        for path in ("agents/twice?version=2&compare=1", "agents", "stuck", "inbox"):
            await page.goto(f"{console.url}/{path}")
            await assert_accessible(page)
    size: dict[str, Any] = {"viewport": {"width": 390, "height": 844}}
    async with console.seated(color_scheme="dark", **size) as page:
        await page.goto(f"{console.url}/executions?{query}")
        row = page.locator("tbody tr", has_text=broken.id)
        # A card: what stands side by side on a desk is below each other.
        # The page may just be replacing its rows.
        box = await eventually(row.bounding_box, what="the row's place")
        assert box["height"] > 80
        assert box["width"] <= 390
        await assert_accessible(page)
        await row.get_by_role("link", name=broken.id).click()
        more = page.locator("details.more")
        await expect(more.get_by_text("Principal")).to_be_hidden()
        await more.locator("summary").click()
        await expect(more.get_by_text("Principal")).to_be_visible()
        for path in (f"executions/{broken.id}", "sessions", "agents/twice?compare=1"):
            await page.goto(f"{console.url}/{path}")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 390, path
            await assert_accessible(page)
