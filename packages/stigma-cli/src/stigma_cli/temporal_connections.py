"""Connections to Temporal, configured by Temporal's own settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import cache
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from stigma.contracts.payloads import DATA_CONVERTER
from stigma_cli.connections import check_no_url
from stigma_cli.errors import CliError, Exit
from stigma_cli.slow_answers import noted_if_slow
from stigma_cli.temporal_errors import from_temporal

CONNECT_TIMEOUT_SECONDS = 10.0
DEFAULT_TEMPORAL_ADDRESS = "localhost:7233"

T = TypeVar("T")


def temporal_address() -> str:
    """Return Temporal's address from Temporal's own settings."""
    return str(_temporal_options()["target_host"])


async def connect_temporal() -> Client:
    """Connect to Temporal by Temporal's own settings.

    Raises:
        CliError: its address is malformed, or it cannot be reached.
    """
    options = _temporal_options()
    address = str(options["target_host"])
    connecting = Client.connect(**options, data_converter=DATA_CONVERTER, runtime=_silent_runtime())
    try:
        with noted_if_slow(f"Temporal at {address}"):
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                return await temporal_call(connecting, address)
    except TimeoutError:
        raise no_answer(address) from None
    except ValueError as error:
        raise CliError(
            f"{address} is not an address of Temporal: {error}",
            "set TEMPORAL_ADDRESS to host:port",
            code=Exit.USAGE,
        ) from None


def no_answer(address: str) -> CliError:
    """Return the error of a Temporal that does not answer."""
    return CliError(
        f"Temporal at {address} did not answer in time",
        "does it hang? see its log, or set TEMPORAL_ADDRESS",
        code=Exit.UNREACHABLE,
    )


async def temporal_call(call: Awaitable[T], address: str) -> T:
    """Await a call to Temporal.

    Raises:
        CliError: it failed.
    """
    try:
        return await call
    except (RPCError, RuntimeError) as error:
        raise from_temporal(error, address) from None


def _temporal_options() -> dict[str, Any]:
    try:
        options: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
    except (RuntimeError, ValueError, OSError) as error:
        raise CliError(
            f"Temporal's configuration cannot be read: {error}", code=Exit.USAGE
        ) from None
    options = {"target_host": DEFAULT_TEMPORAL_ADDRESS, "namespace": "default"} | options
    check_no_url("TEMPORAL_ADDRESS", str(options["target_host"]))
    return options


@cache
def _silent_runtime() -> Runtime:
    """Return what runs the SDK's core, whose logs would be written to stdout, into our output."""
    return Runtime(telemetry=TelemetryConfig(logging=None))
