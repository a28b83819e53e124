"""The caller and the worker of `benchmarks.peers` as services of Restate, in its own Python.

Usage: PYTHON -P benchmarks/peers_restate.py caller|worker PORT. Runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import sys

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

caller = restate.Service("caller")
worker = restate.Service("worker")


@caller.handler()
async def ask(ctx: restate.Context, message: str) -> str:
    """Hand an awakeable's id to the worker, and wait until it is resolved."""
    awakeable_id, answered = ctx.awakeable(type_hint=str)
    ctx.service_send(answer, {"id": awakeable_id, "message": message})
    text: str = await answered
    return text


@worker.handler()
async def answer(ctx: restate.Context, request: dict[str, str]) -> None:
    """Make an answer in a durable step, and resolve the awakeable with it."""
    text = await ctx.run_typed("answer", compose, message=request["message"])
    ctx.resolve_awakeable(request["id"], text)


def compose(message: str) -> str:
    """Return what the scripted model of the other peers says."""
    return f"done {message}"


async def main(role: str, port: str) -> None:
    """Serve one of them until told to stop."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = None
    await serve(restate.app([caller if role == "caller" else worker]), config)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
