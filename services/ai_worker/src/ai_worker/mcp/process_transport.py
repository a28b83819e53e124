"""A server that is a process: its messages are lines, of a bounded length.

The `mcp` client's own transport keeps a line of any length in memory until it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import mcp_types
from anyio.abc import (
    ByteReceiveStream,
    ByteSendStream,
    ObjectReceiveStream,
    ObjectSendStream,
    Process,
)
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage

from stigma.contracts.limits import MAX_PROVIDER_RESPONSE_BYTES

MAX_LINE_BYTES = MAX_PROVIDER_RESPONSE_BYTES

_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
# Seconds at the end: to write what was handed over, to exit when the input has ended, to exit
# after SIGTERM, and until a process that was killed is seen to be gone.
_FLUSH, _EXIT, _TERMINATE, _REAP = 0.5, 2.0, 2.0, 2.0

_Received = SessionMessage | Exception


class LineTooLongError(Exception):
    """A line that is longer than lines may be."""


@asynccontextmanager
async def process_transport(
    command: Sequence[str],
    environment: Mapping[str, str],
    on_end: Callable[[bool], None],
) -> AsyncIterator[TransportStreams]:
    """Run a server that leads a process group, and yield the streams of its messages.

    Args:
        command: with its arguments.
        environment: of the process; nothing is added.
        on_end: called when it takes or gives no more messages, with whether a line was too long.
    """
    process = await anyio.open_process(
        command, env=dict(environment), stderr=subprocess.DEVNULL, start_new_session=True
    )
    output, into = process.stdout, process.stdin
    if output is None or into is None:  # both are pipes, if nothing else is asked for
        raise OSError("a process without pipes")
    received_in, received = anyio.create_memory_object_stream[_Received](0)
    sent, sent_out = anyio.create_memory_object_stream[SessionMessage](0)
    written = anyio.Event()

    async def read() -> None:
        too_long = False
        async with received_in:
            try:
                await _read(output, received_in)
            except LineTooLongError:
                too_long = True
                _signal(process, signal.SIGKILL)
            on_end(too_long)

    async def write() -> None:
        try:
            async with sent_out:
                await _write(sent_out, into)
        except _GONE:
            # It may live on, but takes no request any more.
            on_end(False)
            await received_in.aclose()
        finally:
            written.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        try:
            yield received, sent
        finally:
            with anyio.CancelScope(shield=True):
                received.close()  # what comes now is read and dropped, so that it can end
                sent.close()
                with anyio.move_on_after(_FLUSH):
                    await written.wait()
                await _stop(process, output, into)
            tasks.cancel_scope.cancel()


async def _read(output: ByteReceiveStream, received: ObjectSendStream[_Received]) -> None:
    """Hand on the messages of a process's output until that ends.

    Raises:
        LineTooLongError: a line is longer than lines may be.
    """
    line = bytearray()
    with suppress(*_GONE):
        async for piece in output:
            first, *rest = piece.split(b"\n")
            line += first
            for next_line in rest:
                await _hand_on(bytes(line), received)
                line = bytearray(next_line)
            if len(line) > MAX_LINE_BYTES:
                raise LineTooLongError


async def _hand_on(line: bytes, received: ObjectSendStream[_Received]) -> None:
    message: _Received
    try:
        message = SessionMessage(
            mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        )
    except ValueError as error:  # something else that it prints
        message = error
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await received.send(message)


async def _write(sent: ObjectReceiveStream[SessionMessage], into: ByteSendStream) -> None:
    async for each in sent:
        text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
        await into.send(text.encode() + b"\n")


async def _stop(process: Process, output: ByteReceiveStream, into: ByteSendStream) -> None:
    """End a process and its group: by the end of its input, SIGTERM, SIGKILL."""
    with suppress(*_GONE):
        await into.aclose()
    for seconds, number in ((_EXIT, signal.SIGTERM), (_TERMINATE, signal.SIGKILL)):
        if await _has_exited(process, seconds):
            break
        _signal(process, number)
    await _has_exited(process, _REAP)
    with suppress(*_GONE):
        await output.aclose()
    # Its pipes are closed with it, also where something is left in them, or holds them.
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        with suppress(PermissionError):
            transport.close()


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


async def _has_exited(process: Process, seconds: float) -> bool:
    """Return whether a process exits in time; its pipes may be open longer than it lives."""
    with anyio.move_on_after(seconds):
        while process.returncode is None:  # noqa: ASYNC110 - `wait` waits for the pipes too
            await anyio.sleep(0.01)
    return process.returncode is not None
