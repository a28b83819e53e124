"""What the engine's tests share: a Temporal server, and an engine in this process."""

from __future__ import annotations

import asyncio
import textwrap
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from temporalio.client import (
    AsyncActivityHandle,
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, AgentExecutionStatus
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    AgentExecutionServiceServicer,
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.contracts.payloads import DATA_CONVERTER
from stigma_client import StigmaPlugin
from zigflow_worker.activities import engine as engine_activities
from zigflow_worker.activities.calls import OutgoingCalls
from zigflow_worker.activities.document_directory import DocumentDirectory
from zigflow_worker.activities.engine import DocumentActivities
from zigflow_worker.settings import EngineSettings
from zigflow_worker.worker import http_client, new_worker, outgoing_calls, rpc_client
from zigflow_worker.workflow import DocumentWorkflow

if TYPE_CHECKING:
    from services.zigflow_worker.tests.token_server import TokenCaller, TokenServer
    from services.zigflow_worker.tests.web_server import WebServer
    from zigflow_worker.outgoing.client import HttpClient

HEADER = """\
document:
  dsl: '1.0.3'
  namespace: test
  name: {name}
  version: '1.0.0'
"""


def document(body: str, name: str = "example") -> str:
    """A document with a header around its tasks."""
    return HEADER.format(name=name) + textwrap.dedent(body)


@dataclass
class Engine:
    """Runs documents as a client would, and replays every history at the end of the test."""

    client: Client
    task_queue: str
    handles: list[WorkflowHandle[Any, Any]] = field(default_factory=list)

    @staticmethod
    def document(body: str, name: str = "example") -> str:
        """A document with a header around its tasks."""
        return document(body, name)

    async def start(
        self,
        text: str | None,
        data: Any = None,
        *,
        name: str = "example",
        options: Mapping[str, int] | None = None,
    ) -> WorkflowHandle[Any, Any]:
        start: dict[str, Any] = {"input": data}
        if text is not None:
            start["document"] = text
        if options:
            start["options"] = dict(options)
        handle = await self.client.start_workflow(
            name, start, id=f"engine-{uuid.uuid4()}", task_queue=self.task_queue
        )
        self.handles.append(handle)
        return handle

    async def run(self, body: str, data: Any = None, **options: int) -> Any:
        """Run a document's body and return its output."""
        handle = await self.start(document(body), data, options=options)
        return await handle.result()

    async def fault(self, body: str, data: Any = None, **options: int) -> dict[str, Any]:
        """Run a document that must fail, and return its error."""
        handle = await self.start(document(body), data, options=options)
        return await self.fault_of(handle)

    @staticmethod
    async def fault_of(handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
        """The RFC 7807 error that a run failed with."""
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
        cause = failure.value.cause
        assert isinstance(cause, ApplicationError)
        problem: dict[str, Any] = cause.details[0]
        assert cause.type == problem["type"]
        return problem

    async def histories(self) -> AsyncIterator[WorkflowHistory]:
        """The histories of all runs, those continued as new included."""
        for handle in self.handles:
            run_id: str | None = handle.first_execution_run_id
            while run_id:
                run = self.client.get_workflow_handle(handle.id, run_id=run_id)
                history = await run.fetch_history()
                yield history
                last = history.events[-1]
                continued = last.workflow_execution_continued_as_new_event_attributes
                run_id = continued.new_execution_run_id


@pytest.fixture(scope="session")
async def temporal(temporal_server: Any) -> Client:
    return await Client.connect(
        temporal_server.address, namespace=temporal_server.namespace, data_converter=DATA_CONVERTER
    )


@pytest.fixture(scope="session")
async def web_server_of_all() -> AsyncIterator[WebServer]:
    """A web server on a port of this test run."""
    from services.zigflow_worker.tests.web_server import web_server

    async with web_server() as server:
        yield server


@pytest.fixture
def web(web_server_of_all: WebServer) -> WebServer:
    """That server, without what it had for another test."""
    web_server_of_all.routes.clear()
    web_server_of_all.seen.clear()
    return web_server_of_all


@pytest.fixture(scope="session")
async def client() -> AsyncIterator[HttpClient]:
    """The client of calls, which may reach this machine."""
    from services.zigflow_worker.tests.http_calls import new_client

    client = new_client()
    yield client
    await client.close()


@pytest.fixture(scope="session")
async def token_server() -> AsyncIterator[TokenServer]:
    """A token endpoint on a port of this test run."""
    from services.zigflow_worker.tests.token_server import TokenServer, serving

    server = TokenServer()
    async with serving(server.app) as server.url:
        yield server


@pytest.fixture
async def token_caller(token_server: TokenServer) -> AsyncIterator[TokenCaller]:
    """Calls with tokens of that endpoint, which is as new."""
    import httpx2

    from services.zigflow_worker.tests.token_server import Sender, TokenCaller

    token_server.reset()
    async with httpx2.AsyncClient() as client:
        yield TokenCaller(token_server, Sender(client))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """The directory in which the engine looks for documents."""
    return tmp_path


@dataclass
class StandInApi(AgentExecutionServiceServicer):
    """Ends every agent at once, as `ending` says; without it the agent runs until cancelled."""

    starts: list[StartAgentRequest] = field(default_factory=list)
    cancels: list[CancelAgentExecutionRequest] = field(default_factory=list)
    ending: AgentExecutionStatus | None = None
    address: str = ""

    async def StartAgent(self, request: StartAgentRequest, context: Any) -> AgentExecution:
        self.starts.append(request)
        return AgentExecution(id="agent-42", status=self.ending)

    async def CancelAgentExecution(
        self, request: CancelAgentExecutionRequest, context: Any
    ) -> AgentExecution:
        self.cancels.append(request)
        return AgentExecution(id="agent-42")


@pytest.fixture
async def api() -> AsyncIterator[StandInApi]:
    """A real gRPC server in the API's place."""
    stand_in = StandInApi()  # type: ignore[abstract] # what no caller uses stays unimplemented
    server = grpc.aio.server()
    add_AgentExecutionServiceServicer_to_server(stand_in, server)
    stand_in.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield stand_in
    await server.stop(grace=None)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The directory in which the engine looks for secrets."""
    directory = tmp_path / "secrets"
    directory.mkdir()
    return directory


@pytest.fixture
def settings(tmp_path: Path, secrets: Path) -> EngineSettings:
    """Settings of an engine whose calls may reach this machine."""
    return EngineSettings(
        secrets_dir=secrets,
        resources_dir=tmp_path / "resources",
        outgoing_allow=("127.0.0.0/8", "::1"),
    )


@pytest.fixture
async def calls(settings: EngineSettings) -> AsyncIterator[OutgoingCalls]:
    """Calls of the outside."""
    client, rpc = http_client(settings), rpc_client(settings)
    yield outgoing_calls(settings, client, rpc)
    rpc.close()
    await client.close()


@pytest.fixture
async def engine(
    temporal: Client, documents: Path, api: StandInApi, calls: OutgoingCalls
) -> AsyncIterator[Engine]:
    """An engine in the SDK's sandbox; every history it made must replay."""
    engine = Engine(temporal, f"engine-{uuid.uuid4()}")
    activities = DocumentActivities(DocumentDirectory(documents))
    async with new_worker(
        temporal,
        engine.task_queue,
        activities,
        calls,
        build_id="test",
        plugins=[StigmaPlugin(api.address)],
    ):
        yield engine
    replayer = Replayer(
        workflows=[DocumentWorkflow],
        data_converter=DATA_CONVERTER,
        build_id="test",
        plugins=[StigmaPlugin(api.address)],
    )
    await replayer.replay_workflows(engine.histories())


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Event until which no wait of less than a second is over, however late the test is."""
    over = asyncio.Event()
    complete = engine_activities._complete_after

    async def complete_when_over(_seconds: float, handle: AsyncActivityHandle) -> None:
        await over.wait()
        await complete(0, handle)

    monkeypatch.setattr(engine_activities, "_complete_after", complete_when_over)
    return over
