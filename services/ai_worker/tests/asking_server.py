"""An MCP server that asks, a program: `asking_server.py EFFECTS stdio|http [PORT] [OPTION...]`.

Its calls do not end at once: the tool `book` asks people as its argument says, and the tool `work`
becomes a task. What has an effect adds a line to the file EFFECTS, as in `mcp_server.py`. Options,
of the file EFFECTS.options too: `old` speaks 2025-11-25 only; `keyed` takes back what it gave
before a restart.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import mcp_types
import uvicorn
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.request_state import RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitRequestURLParams
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parents[3]))
from services.ai_worker.tests.mcp_old import OldOnly, refuse_discovery

EFFECTS = Path(sys.argv[1])
MORE_OPTIONS = EFFECTS.with_suffix(".options")
OPTIONS = {*sys.argv[3:], *(MORE_OPTIONS.read_text().split() if MORE_OPTIONS.exists() else ())}
PAGE = "https://bank.example/authorize?order=7&then=https://shop.example/"
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
SIZE = {
    "type": "object",
    "properties": {"size": {"type": "integer", "minimum": 1}, "late": {"type": "boolean"}},
    "required": ["size"],
}
KEY = RequestStateSecurity(keys=["k" * 32]) if "keyed" in OPTIONS else None


def note(kind: str, value: Any, meta: Mapping[str, Any]) -> None:
    """Note an effect."""
    kept = {key: meta[key] for key in meta if key.startswith("stigma.dev/")}
    with EFFECTS.open("a") as file:
        file.write(json.dumps([kind, value, kept]) + "\n")


def form(message: str, schema: dict[str, Any]) -> ElicitRequest:
    """A form to be filled in."""
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def page(message: str, url: str = PAGE) -> ElicitRequest:
    """A page to be opened."""
    return ElicitRequest(params=ElicitRequestURLParams(message=message, url=url))


QUESTIONS: dict[str, dict[str, Any]] = {
    "form": {"who": form("For whom?", NAME)},
    "page": {"pay": page("Authorize the payment.")},
    "two": {"who": form("For whom?", NAME), "pay": page("Authorize the payment.")},
    "twice": {"who": form("For whom?", NAME)},
    "again": {"who": form("For whom, again?", NAME)},
    "die": {"who": form("For whom?", NAME)},
    "wait": {"who": form("For whom?", NAME)},
    "large": {"who": form("For whom?", NAME)},
    "script": {"pay": page("Run this.", "javascript:alert(1)")},
    "sample": {
        "model": mcp_types.CreateMessageRequest(
            params=mcp_types.CreateMessageRequestParams(messages=[], max_tokens=1)
        )
    },
}


_STATES = {"large": "large" * 60_000, "patient": "p" * 150_000}


def asks(how: str, state: str) -> mcp_types.InputRequiredResult:
    """A result that asks for what `how` says, or for nothing."""
    return mcp_types.InputRequiredResult(input_requests=QUESTIONS.get(how), request_state=state)


class ElicitedName(BaseModel):
    """The form of a server that asks while its call is open."""

    name: str


server: MCPServer[Any]


async def book(
    context: Context[Any, Any], how: str, value: str = ""
) -> str | mcp_types.InputRequiredResult:
    """Book a room, and ask as `how` says before that."""
    if how == "open":
        answer = await context.elicit("For whom?", ElicitedName)
        note("book", value, dict(context.request_context.meta or {}))
        return f"booked: {answer.action}"
    state, given = context.request_state, context.input_responses or {}
    if state is None:
        return asks(how, _STATES.get(how, "first"))
    if how == "again":
        return asks(how, state + "+")
    if how == "twice" and state == "first":
        who = given["who"].model_dump(mode="json", exclude_none=True)
        return mcp_types.InputRequiredResult(
            input_requests={"size": form("How large?", SIZE)}, request_state=json.dumps(who)
        )
    answers = {key: each.model_dump(mode="json", exclude_none=True) for key, each in given.items()}
    note("book", value, dict(context.request_context.meta or {}))
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "wait":
        await anyio.sleep_forever()
    return json.dumps([state, {key: (a["action"], a.get("content")) for key, a in answers.items()}])


class TaskId(mcp_types.RequestParams):
    """Names a task."""

    task_id: str
    input_responses: dict[str, Any] | None = None


class Tasks(Extension):
    """Makes tasks of the calls of `work`, which end after some polls."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self) -> None:
        self._tasks: dict[str, dict[str, Any]] = {}

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding(method=f"tasks/{name}", params_type=TaskId, handler=handler)
            for name, handler in (
                ("get", self._get),
                ("update", self._update),
                ("cancel", self._cancel),
            )
        ]

    async def intercept_tool_call(
        self, params: mcp_types.CallToolRequestParams, ctx: Any, call_next: Any
    ) -> Any:
        if params.name != "work":
            return await call_next(ctx)
        arguments = params.arguments or {}
        id_ = f"task-{len(self._tasks)}-{os.getpid()}"
        self._tasks[id_] = {
            "how": arguments.get("how", ""),
            "polls": 0,
            "meta": dict(params.meta or {}),
        }
        note("work", arguments.get("value", ""), dict(params.meta or {}))
        return self._shown(id_, "working") | {"resultType": "task"}

    async def _get(self, ctx: Any, params: TaskId) -> Any:
        task = self._known(params)
        task["polls"] += 1
        id_, how, polls = params.task_id, task["how"], task["polls"]
        if how in {"asks", "refuses"} and "given" not in task:
            requests = {"who": form("For whom?", NAME).model_dump(mode="json", by_alias=True)}
            return self._shown(id_, "input_required") | {"inputRequests": requests}
        if how == "stuck":
            await anyio.sleep_forever()
        if how == "fail":
            return self._shown(id_, "failed") | {"error": {"code": -1, "message": "out of paper"}}
        if how in {"endless", "stuck"} or polls < 2:
            return self._shown(id_, "working")
        text = json.dumps(task.get("given", "worked"))
        result = {"resultType": "complete", "content": [{"type": "text", "text": text}]}
        return self._shown(id_, "completed") | {"result": result}

    async def _update(self, ctx: Any, params: TaskId) -> Any:
        if self._known(params)["how"] == "refuses":
            raise MCPError(code=mcp_types.INVALID_PARAMS, message="No such name")
        self._known(params).setdefault("given", params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: Any, params: TaskId) -> Any:
        task = self._known(params)
        note("cancelled", task["how"], task["meta"])
        return {"resultType": "complete"}

    def _known(self, params: TaskId) -> dict[str, Any]:
        if params.task_id not in self._tasks:
            raise MCPError(code=mcp_types.INVALID_PARAMS, message="Task not found")
        return self._tasks[params.task_id]

    def _shown(self, id_: str, status: str) -> dict[str, Any]:
        now = "2026-11-29T12:00:00Z"
        return {
            "resultType": "complete",
            "taskId": id_,
            "status": status,
            "createdAt": now,
            "lastUpdatedAt": now,
            "ttlMs": None,
            "pollIntervalMs": 10,
        }


async def work(how: str = "", value: str = "") -> str:
    """Work for long."""
    return value


if __name__ == "__main__":
    server = MCPServer(
        "asking", log_level="CRITICAL", extensions=[Tasks()], request_state_security=KEY
    )
    server.tool()(book)
    server.tool()(work)
    if sys.argv[2] == "stdio":
        if "old" in OPTIONS:
            refuse_discovery()
        server.run("stdio")
    else:
        app: Any = server.streamable_http_app()
        if "old" in OPTIONS:
            app = OldOnly(app)
        port = int(sys.argv[3])
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical", lifespan="on")
