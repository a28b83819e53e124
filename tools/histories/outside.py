"""Servers and workers of tools that the recorded workflows call, on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import nexusrpc.handler
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.stigma_orchestrator.tests.mcp_agents import ASKING, PROGRAM, McpServer
from services.stigma_orchestrator.tests.tool_agents import Book, Effects, ReadHeaders
from services.zigflow_worker.tests.web_server import WebServer, web_server

SECRET = "hunter2-of-the-records"
"""In every secret of documents: no history has it."""
NEXUS_ENDPOINT = "recorded-rates"
_PROTO = """\
syntax = "proto3";
package records.v1;
message Word { string text = 1; }
service Mirror {
  rpc Say(Word) returns (Word);
  rpc Fail(Word) returns (Word);
}
"""
_OPENAPI: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Orders", "version": "1"},
    "paths": {
        "/orders/{id}": {
            "get": {
                "operationId": "getOrder",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "responses": {"200": {"description": "An order"}},
            }
        }
    },
}


@dataclass
class Outside:
    """Servers that are there before the services, which are told of them by `environment`."""

    directory: Path
    web: WebServer
    grpc_port: int
    effects: Effects
    servers: dict[str, McpServer]

    @property
    def environment(self) -> dict[str, dict[str, str]]:
        """The variables of services, by service."""
        return {
            "stigma_api": {
                "STIGMA_TOOL_TASK_QUEUES": "*",
                "STIGMA_TOOL_NEXUS_ENDPOINTS": "*",
                "STIGMA_SUB_AGENT_DEPTH": "2",
            },
            "ai_worker": {"STIGMA_PROVIDERS_FILE": str(self.directory / "providers.yaml")},
            "zigflow_worker": {
                "STIGMA_SECRETS_DIR": str(self.directory / "secrets"),
                "STIGMA_RESOURCES_DIR": str(self.directory / "resources"),
                "STIGMA_OUTGOING_ALLOW": "127.0.0.0/8",
            },
        }

    @asynccontextmanager
    async def tools(self, client: Client, queue: str) -> AsyncIterator[None]:
        """Serve tools: an activity, a workflow and a Nexus operation."""
        target = EndpointTarget.Worker(namespace=client.namespace, task_queue=queue)
        spec = EndpointSpec(name=NEXUS_ENDPOINT, target=EndpointTarget(worker=target))
        await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
        async with Worker(
            client,
            task_queue=queue,
            workflows=[Book],
            workflow_runner=UnsandboxedWorkflowRunner(),
            activities=[self.effects.act, self.effects.nothing],
            interceptors=[ReadHeaders()],
            nexus_service_handlers=[_Rates()],
        ):
            yield


@asynccontextmanager
async def open_outside(directory: Path) -> AsyncIterator[Outside]:
    """Start the servers; files are written below `directory`."""
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(web_server())
        _add_routes(web)
        port = await stack.enter_async_context(_mirror())
        servers = {
            "fx": McpServer(directory / "fx", True, [], program=PROGRAM),
            "rooms": McpServer(directory / "rooms", True, ["keyed"], program=ASKING),
        }
        for server in servers.values():
            stack.push_async_callback(server.kill)
            await server.start()
        _write_files(directory, web, servers)
        yield Outside(directory, web, port, Effects(), servers)


def _add_routes(web: WebServer) -> None:
    web.answer("/orders/7", '{"id": "7", "total": 12.5}', media_type="application/json")
    web.answer("/openapi.json", json.dumps(_OPENAPI), media_type="application/json")
    web.answer("/schema.json", '{"type": "object", "required": ["n"]}')
    token = {"access_token": SECRET, "token_type": "Bearer", "expires_in": 3600}
    web.answer("/oauth2/token", json.dumps(token), media_type="application/json")

    async def echo(request: Request) -> Response:
        body = (await request.body()).decode()
        return JSONResponse({"method": request.method, "body": body})

    async def silence(request: Request) -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return Response()

    web.routes |= {"/echo": echo, "/silence": silence}


def _write_files(directory: Path, web: WebServer, servers: dict[str, McpServer]) -> None:
    for name in ("secrets", "resources"):
        (directory / name).mkdir()
    secret = {"username": "ann", "password": SECRET, "key": SECRET}
    (directory / "secrets" / "shop").write_text(json.dumps(secret))
    (directory / "resources" / "mirror.proto").write_text(_PROTO)
    resources: list[dict[str, Any]] = [
        {
            "apiVersion": "stigma/v1",
            "kind": "McpServer",
            "metadata": {"name": name},
            "spec": {"http": {"url": f"http://127.0.0.1:{server.port}/mcp"}},
        }
        for name, server in servers.items()
    ]
    resources.append(
        {
            "apiVersion": "stigma/v1",
            "kind": "Provider",
            "metadata": {"name": "unpriced"},
            "spec": {"type": "openai-compatible", "base_url": f"{web.url}/v1"},
        }
    )
    text = "\n---\n".join(json.dumps(each) for each in resources)
    (directory / "providers.yaml").write_text(text)


@asynccontextmanager
async def _mirror() -> AsyncIterator[int]:
    """Serve `records.v1.Mirror`, which answers a message with the same bytes, or fails."""

    async def say(request: bytes, _context: Any) -> bytes:
        return request

    async def fail(_request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such word")
        return b""

    methods: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(method)
        for name, method in (("Say", say), ("Fail", fail))
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("records.v1.Mirror", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(grace=None)


@nexusrpc.handler.service_handler(name="rates")
class _Rates:
    """A Nexus service as a tool."""

    @nexusrpc.handler.sync_operation(name="convert")
    async def convert(
        self, _context: nexusrpc.handler.StartOperationContext, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        if arguments.get("how") == "fail":
            state = nexusrpc.OperationErrorState.FAILED
            raise nexusrpc.OperationError("no such currency", state=state)
        return {"converted": arguments}
