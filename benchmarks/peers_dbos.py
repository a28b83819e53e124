"""The caller and the worker of `benchmarks.peers` on DBOS, in its own Python: HTTP services.

POST /ask runs the caller's workflow and returns its result. That calls POST /answer, which starts
the worker's workflow; the answer comes by `DBOS.send`.

Usage: PYTHON -P benchmarks/peers_dbos.py caller|worker PORT WORKER_PORT DATABASE_URL. Runs until
SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
from dbos import DBOS, SetWorkflowID
from hypercorn.asyncio import serve
from hypercorn.config import Config

TIMEOUT_SECONDS = 600

http = httpx.AsyncClient(timeout=60)
worker_url = ""


@DBOS.workflow()
async def ask(message: str) -> str:
    """Call the worker, and wait for the message that has its answer."""
    await call_worker(DBOS.workflow_id or "", message)
    answered: str = await DBOS.recv_async("answer", TIMEOUT_SECONDS)
    return answered


@DBOS.step()
async def call_worker(workflow_id: str, message: str) -> None:
    """Hand the work over; the id makes a repeated call the same."""
    request = {"id": workflow_id, "message": message}
    (await http.post(worker_url, json=request)).raise_for_status()


@DBOS.workflow()
async def answer(caller_id: str, message: str) -> None:
    """Make an answer in a durable step, and send it to the caller."""
    await DBOS.send_async(caller_id, await compose(message), "answer")


@DBOS.step()
async def compose(message: str) -> str:
    """Return what the scripted model of the other peers says."""
    return f"done {message}"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve the two paths as an ASGI application."""
    if scope["type"] != "http":
        return
    request = json.loads(await _body(receive))
    if scope["path"] == "/ready":
        text = "ready"
    elif scope["path"] == "/ask":
        text = await (await DBOS.start_workflow_async(ask, request["message"])).get_result()
    else:
        with SetWorkflowID(f"answer-{request['id']}"):
            await DBOS.start_workflow_async(answer, request["id"], request["message"])
        text = "accepted"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    return body


async def main(role: str, port: str, worker_port: str, database: str) -> None:
    """Serve until told to stop."""
    global worker_url  # noqa: PLW0603 - of the process
    worker_url = f"http://127.0.0.1:{worker_port}/answer"
    DBOS(
        config={
            "name": "peer",
            "system_database_url": database,
            "executor_id": role,
            "application_version": "1",
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = None
    await serve(app, config)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
