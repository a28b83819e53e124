"""People who answer in a browser what agents wait for, in front of a real installation."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from temporalio import activity
from temporalio.worker import Worker

from stigma.agent.v1.agent_execution_service_pb2 import (
    GetAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.agent.v1.agent_pb2 import (
    APPROVAL_REQUIREMENT_ALWAYS,
    ActivityTool,
    AgentSpec,
    ApprovalPolicy,
    ApprovalRule,
    ClientTool,
    QuestionTool,
    Script,
    ScriptStep,
    ScriptToolCall,
    Tool,
)
from tests.stack.channels import open_channel
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

    from tests.stack.plugin import StartStack
    from tests.stack.stack import Stack

HOSTILE = "<img src=x onerror=alert(1)>\u202e"
ACTIONS = ["agents.inline", *(f"executions.{each}" for each in ("start", "read", "cancel"))]
PEOPLE = {
    "alice": {"actions": ACTIONS},
    "bob": {"actions": [*ACTIONS, "executions.approve"]},
    "root": {"actions": ["admin"]},
    "carol": {"actions": ["executions.approve"]},
    "stranger": {"actions": [*ACTIONS, "executions.approve"], "agents": ["other-*"]},
}
SCHEMA = '{"type":"object","properties":{"amount":{"type":"number"}}}'


class Payments:
    """An activity of somebody else."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    @activity.defn(name="Pay")
    async def pay(self, arguments: dict[str, Any]) -> str:
        self.made.append(arguments)
        return "paid"


@dataclass
class Office:
    """An installation, and a browser for each who works there."""

    stack: Stack
    browser: Browser
    url: str
    payments: Payments

    async def start(self, *calls: ScriptToolCall, **rule: Any) -> str:
        """Start an inline agent of alice's whose model makes these calls at once."""
        queue = f"{self.stack.prefix}tools"
        tools = [
            Tool(
                name="pay",
                input_schema=SCHEMA,
                activity=ActivityTool(type="Pay", task_queue=queue),
            ),
            Tool(name="ask", question=QuestionTool()),
            Tool(name="locate", client=ClientTool()),
        ]
        ask = ApprovalRule(tools=["pay"], require=APPROVAL_REQUIREMENT_ALWAYS, **rule)
        spec = AgentSpec(
            model="scripted:clerk",
            tools=tools,
            approval=ApprovalPolicy(rules=[ask]),
            script=Script(steps=[ScriptStep(tool_calls=calls), ScriptStep(text="{results}")]),
        )
        async with self.executions() as stub:
            started = await stub.StartAgent(StartAgentRequest(spec=spec, message="go"))

            async def waits() -> bool:
                found = await stub.GetAgentExecution(GetAgentExecutionRequest(id=started.id))
                return len(found.status.pending_inputs) == len(calls)

            await eventually(waits, what="pending inputs")
        return str(started.id)

    @asynccontextmanager
    async def executions(self) -> AsyncIterator[Any]:
        async with open_channel(self.stack.api_address, api_key=key("alice")) as channel:
            yield AgentExecutionServiceStub(channel)

    async def output(self, execution_id: str) -> str:
        """Wait for the end; returns what the model said of the results."""
        async with self.executions() as stub:

            async def ended() -> str:
                found = await stub.GetAgentExecution(GetAgentExecutionRequest(id=execution_id))
                return str(found.status.output.text)

            return await eventually(ended, what="the end")

    @asynccontextmanager
    async def person(self, name: str, path: str = "/inbox") -> AsyncIterator[Page]:
        """A page of somebody who has signed in; fails when anything on it went wrong."""
        context = await self.browser.new_context(viewport={"width": 390, "height": 844})
        context.set_default_timeout(60_000)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        try:
            await page.goto(f"{self.url}{path}")
            await page.get_by_label("API key").fill(key(name))
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_role("button", name="Sign out").wait_for()
            yield page
        finally:
            await context.close()
        assert complaints == []

    def client(self, name: str) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {key(name)}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=60)


def key(name: str) -> str:
    return f"{name}-key-0123456789"


def pay(amount: float = 5, **more: Any) -> ScriptToolCall:
    arguments = json.dumps({"amount": amount, **more}, ensure_ascii=False)
    return ScriptToolCall(name="pay", arguments_json=arguments)


def ask(question: str, schema: Any = None) -> ScriptToolCall:
    given = {"question": question} | ({"schema": schema} if schema else {})
    return ScriptToolCall(name="ask", arguments_json=json.dumps(given))


@pytest.fixture(scope="module")
async def office(
    chromium: Browser, new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    listed = [
        {"name": name, "key_sha256": [hashlib.sha256(key(name).encode()).hexdigest()], **fields}
        for name, fields in PEOPLE.items()
    ]
    file = tmp_path_factory.mktemp("office") / "principals.yaml"
    file.write_text(json.dumps({"principals": listed}))
    stack = await new_stack(
        services=("stigma_api", "stigma_orchestrator", "ai_worker"),
        environment={
            "stigma_api": {
                "STIGMA_CONSOLE_ENABLED": "true",
                "STIGMA_CONSOLE_PORT": "0",
                "STIGMA_PRINCIPALS_FILE": str(file),
                "STIGMA_TOOL_TASK_QUEUES": "t*-tools",
            }
        },
    )
    listening = await stack.wait_for_event("stigma_api", "console_listening")
    payments = Payments()
    queue = f"{stack.prefix}tools"
    async with Worker(stack.client, task_queue=queue, activities=[payments.pay]):
        yield Office(stack, chromium, str(listening["url"]).rstrip("/"), payments)


def card(page: Page, execution_id: str) -> Any:
    return page.locator("article.input", has_text=execution_id)


async def test_an_approver_sees_the_arguments_and_approves(office: Office):
    from playwright.async_api import expect

    async with office.person("carol") as page:
        execution = await office.start(pay(7, to=HOSTILE))
        # It comes by itself.
        shown = card(page, execution)
        await expect(shown).to_be_visible(timeout=60_000)
        arguments = shown.get_by_label("Arguments")
        escaped = HOSTILE.replace("\u202e", "\\u202e")
        await expect(arguments).to_have_text(f'{{\n  "amount": 7,\n  "to": "{escaped}"\n}}')
        await expect(shown.get_by_text("Change the arguments")).to_have_count(0)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
        await shown.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("status")).to_have_text("Approved.")
        await expect(card(page, execution)).to_have_count(0)
    assert "paid" in await office.output(execution)
    assert {"amount": 7, "to": HOSTILE} in office.payments.made


async def test_the_navigation_counts_what_waits(office: Office):
    from playwright.async_api import expect

    execution = await office.start(pay(), pay())

    async def counted() -> bool:
        async with office.client("bob") as client:
            return 'class="count"' in (await client.get("/executions")).text

    await eventually(counted, what="the count")
    async with office.person("bob", "/executions") as page:
        link = page.get_by_role("link", name="Inbox")
        await expect(link.locator(".count")).to_have_text(re.compile(r"[2-9]|\d\d"))
        await link.click()
        shown = card(page, execution)
        await expect(shown).to_have_count(2)
        # What is typed stays while the list changes under it.
        reason = shown.nth(1).get_by_label("Reason")
        await reason.fill("too dear")
        async with office.client("carol") as client:
            path = str(await shown.nth(0).locator("form").first.get_attribute("action"))
            digest = await shown.nth(0).locator("[name=digest]").first.get_attribute("value")
            form = {"answer": "deny", "digest": str(digest)}
            assert (await client.post(path, data=form)).status_code == 303
        await expect(shown).to_have_count(1, timeout=60_000)
        await expect(shown.get_by_label("Reason")).to_have_value("too dear")
        await shown.get_by_role("button", name="Deny").click()
        await expect(page.get_by_role("status")).to_have_text("Denied.")
    assert "They say: too dear" in await office.output(execution)


async def test_of_two_approvers_one_wins_and_the_other_is_told(office: Office):
    from playwright.async_api import expect

    execution = await office.start(pay(), ask("Go on?"))
    path = f"/executions/{execution}/inputs/approval-1-1"
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(office.person("bob", path))
        carol = await stack.enter_async_context(office.person("carol", path))
        for page in (bob, carol):
            await expect(page.get_by_role("button", name="Approve")).to_be_visible()
        await asyncio.gather(
            bob.get_by_role("button", name="Approve").click(),
            carol.get_by_role("button", name="Deny").click(),
        )
        told = re.compile("(bob approved|carol denied) it already")
        shown = [page.get_by_text("Nothing of this id is waited for") for page in (bob, carol)]
        await expect(shown[0].or_(bob.get_by_role("status"))).to_be_visible()
        await expect(shown[1].or_(carol.get_by_role("status"))).to_be_visible()
        losers = [page for page in (bob, carol) if await page.get_by_role("alert").count()]
        [loser] = losers
        await expect(loser.get_by_role("alert")).to_have_text(told)
        winner = carol if loser is bob else bob
        await expect(winner.get_by_role("status")).to_have_text(re.compile("Approved|Denied"))
    # The same form once more is the same answer.
    async with office.client("bob") as client:
        late = await client.get(path)
        assert "Not pending any more" in late.text


async def test_an_edit_shows_what_it_changes_before_it_is_sent(office: Office):
    from playwright.async_api import expect

    execution = await office.start(pay(5), allow_edit=True, allow_remember=True)
    async with office.person("root", f"/executions/{execution}") as page:
        shown = page.locator("article.input")
        await shown.get_by_text("Change the arguments").click()
        field = shown.get_by_label("Arguments, a JSON object")
        await expect(field).to_have_value('{\n  "amount": 5\n}')
        await field.fill("{")
        await shown.get_by_role("button", name="Show the change").click()
        await expect(page.get_by_role("alert")).to_contain_text("The arguments are no JSON")
        await page.get_by_label("Arguments, a JSON object").first.fill('{"amount": "much"}')
        await page.get_by_role("button", name="Show the change").first.click()
        await page.get_by_role("button", name="Approve with this change").click()
        await expect(page.get_by_role("alert")).to_contain_text("of its schema")
        await page.get_by_label("Arguments, a JSON object").first.fill('{"amount": 3.50}')
        await page.get_by_role("button", name="Show the change").first.click()
        changed = page.get_by_label("Change of the arguments")
        await expect(changed.locator(".removed")).to_have_text('-   "amount": 5')
        await expect(changed.locator(".added")).to_have_text('+   "amount": 3.50')
        assert not any(each.get("amount") == 3.5 for each in office.payments.made)
        await page.get_by_role("button", name="Approve with this change").click()
        await expect(page.get_by_role("status")).to_have_text("Approved.")
    assert "A person changed the arguments of this call" in await office.output(execution)
    assert {"amount": 3.5} in office.payments.made
    # What was only shown has changed nothing.
    form = "POST /executions/{id}/inputs/{input}"
    at = f"executions/{execution}/inputs/approval-1-1"
    told = office.stack.events("audit", method=form, principal="root", resource=at)
    assert [(event["effect"], event["outcome"]) for event in told] == [
        ("mutation", "INVALID_ARGUMENT"),
        ("read", "OK"),
        ("mutation", "FAILED_PRECONDITION"),
        ("read", "OK"),
        ("mutation", "OK"),
    ]
    assert str(told[-1]["request_id"]).startswith("console-")


async def test_questions_and_results_are_typed(office: Office):
    from playwright.async_api import expect

    locate = ScriptToolCall(name="locate", arguments_json="{}")
    execution = await office.start(
        ask("How many?", {"type": "integer"}), ask("Where?\nWhen?"), locate
    )
    async with office.person("alice", f"/executions/{execution}") as page:
        shown = page.locator("article.input")
        await expect(shown).to_have_count(3)
        many = shown.filter(has_text="How many?")
        await many.get_by_label("Answer").fill("seven")
        await many.get_by_role("button", name="Answer").click()
        await expect(page.get_by_role("alert")).to_contain_text("of its schema")
        await page.get_by_label("Answer").fill("7")
        await page.get_by_role("button", name="Answer").click()
        await page.goto(f"{office.url}/executions/{execution}")
        where = shown.filter(has_text="Where?")
        await where.get_by_label("Answer").fill("here\nnow")
        await where.get_by_role("button", name="Answer").click()
        await expect(shown).to_have_count(1)
        await shown.get_by_label("Reason").fill("no signal")
        await shown.get_by_role("button", name="Decline").click()
        await expect(shown).to_have_count(0)
    output = await office.output(execution)
    assert "7" in output
    assert "here\nnow" in output
    assert "They say: no signal" in output


async def test_who_may_not_answer_sees_no_buttons(office: Office):
    execution = await office.start(pay(), not_starter=True)
    path = f"/executions/{execution}/inputs/approval-1-1"
    async with office.client("alice") as starter:
        for page in (f"/executions/{execution}", path):
            shown = (await starter.get(page)).text
            assert "&#34;amount&#34;: 5" in shown
            assert "Somebody else has to answer." in shown
            assert 'value="approve"' not in shown
        assert execution not in (await starter.get("/inbox")).text
        refused = await starter.post(path, data={"answer": "approve", "digest": "d"})
        assert refused.status_code == 403
    async with office.client("stranger") as stranger:
        assert (await stranger.get(path)).status_code == 404
        answer = {"answer": "deny", "reason": "mine"}
        assert (await stranger.post(path, data=answer)).status_code == 404
        assert execution not in (await stranger.get("/inbox")).text
    async with office.client("carol") as approver:
        # She sees what waits, and nothing else of the execution.
        assert (await approver.get(path)).status_code == 200
        assert (await approver.get(f"/executions/{execution}")).status_code == 403
        assert (await approver.get("/")).headers["location"] == "/inbox"
        mismatch = await approver.post(path, data={"answer": "approve", "digest": "other"})
        assert mismatch.status_code == 409
        assert "the answer is for other arguments" in mismatch.text
        assert 'value="approve"' in mismatch.text
        unknown = await approver.post(path, data={"answer": "perhaps"})
        assert unknown.status_code == 400
        shown = (await approver.get(path)).text
        form = {"answer": "deny", "digest": re.findall('name="digest" value="(.*?)"', shown)[0]}
        denied = await approver.post(path, data=form)
        assert denied.headers["location"] == "/inbox?done=deny"
        # Sent twice it counts once; of an execution that has ended nobody asks any more.
        repeated = await approver.post(path, data=form)
        assert (repeated.status_code, "has ended" in repeated.text) in {(303, False), (409, True)}
    await office.output(execution)


async def test_another_sites_form_answers_nothing(office: Office):
    execution = await office.start(pay())
    path = f"/executions/{execution}/inputs/approval-1-1"
    async with office.client("bob") as client:
        for headers in (
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "https://evil.example"},
        ):
            sent = await client.post(path, data={"answer": "deny"}, headers=headers)
            assert sent.status_code == 403
        assert "Deny" in (await client.get(path)).text
    async with office.person("bob", path) as page:
        cookies = await page.context.cookies()
        assert {each.get("sameSite") for each in cookies} == {"Strict"}
        await page.goto("data:text/html,<h1>evil</h1>")
        await page.set_content(
            f'<form method="post" action="{office.url}{path}">'
            '<input name="answer" value="deny"><button>Win</button></form>'
        )
        async with page.expect_navigation():
            await page.get_by_role("button", name="Win").click()
        assert "Denied" not in await page.content()
        await page.goto(f"{office.url}{path}")
        await page.get_by_role("button", name="Deny").click()
    await office.output(execution)
