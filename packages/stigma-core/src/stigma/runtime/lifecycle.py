"""The life of a service, on one screen: see `_run`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, NoReturn, Protocol, TypeVar

import structlog
from prometheus_client import CollectorRegistry
from temporalio.client import Client, Interceptor, Plugin
from temporalio.converter import DataConverter

from stigma.runtime import logging
from stigma.runtime.admin import AdminServer
from stigma.runtime.errors import ConfigurationError
from stigma.runtime.health import CHECK_INTERVAL, Readiness, keep_checking
from stigma.runtime.metrics import export_readiness, export_task_count, new_registry
from stigma.runtime.settings import ServiceSettings
from stigma.runtime.telemetry import Telemetry
from stigma.runtime.temporal import TemporalConnector, check_server

STOP_MARGIN = timedelta(seconds=5)
"""After the grace, for activities to notice their cancellation; then the process ends anyway."""

_CANCEL_ATTEMPTS = 5
_CANCEL_INTERVAL = timedelta(seconds=1)

_OK, _FAILED, _MISCONFIGURED = 0, 1, 2

T = TypeVar("T")


class Component(Protocol):
    """A part of a service that starts, runs and stops: a worker, a server."""

    @property
    def name(self) -> str:
        """For logs."""
        ...

    async def start(self) -> None:
        """Return when it serves; raise when it cannot."""
        ...

    async def stop(self, grace: timedelta) -> None:
        """Refuse new work and end what runs, by force when `grace` is over."""
        ...

    async def wait_failed(self) -> None:
        """Wait for ever while it serves; raise the reason when it no longer does."""
        ...


Build = Callable[["ServiceRuntime"], Awaitable[Sequence[Component]]]


class ServiceRuntime:
    """The parts that a service is built with; handed to its `build`."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.settings = settings
        self.metrics: CollectorRegistry = new_registry(name)
        export_task_count(self.metrics, asyncio.get_running_loop())
        self.readiness = Readiness()
        export_readiness(self.metrics, self.readiness)
        self.telemetry = Telemetry(name)
        self.resources = contextlib.AsyncExitStack()
        """Closed in reverse order after all components have stopped: channels, databases."""
        self._temporal = TemporalConnector()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed_task: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect_temporal(
        self,
        *,
        data_converter: DataConverter,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Interceptor] = (),
        namespace: str | None = None,
    ) -> Client:
        """Return a traced client, whose connection `readiness` follows: `TemporalConnector`."""
        check = "temporal" if namespace is None else f"temporal:{namespace}"
        if check not in self.readiness.checks:
            self.readiness.set(check, False, "not connected")
        client = await self._temporal.connect(
            data_converter=data_converter,
            plugins=[*self.telemetry.temporal_plugins(), *plugins],
            interceptors=interceptors,
            namespace=namespace,
        )
        if not self.readiness.checks[check].ready:
            self.readiness.set(check, True)
            self.add_check(check, lambda: check_server(client))
        return client

    def add_check(
        self,
        name: str,
        probe: Callable[[], Awaitable[object]],
        interval: timedelta = CHECK_INTERVAL,
    ) -> None:
        """Let `probe` decide a readiness check from now on, every `interval`."""
        self.spawn(keep_checking(self.readiness, name, probe, interval))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the components, until shutdown; its failure is the service's."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    async def wait_failed(self) -> None:
        """Raise the error of a spawned task; wait for ever otherwise."""
        await asyncio.shield(self._failed_task)

    def new_admin_server(self) -> AdminServer:
        """Return the server of this service's admin port."""
        return AdminServer(
            self.settings.admin_host,
            self.settings.admin_port,
            readiness=self.readiness,
            metrics=self.metrics,
            sdk_metrics=lambda: self._temporal.metrics_address,
        )

    async def close(self) -> None:
        """End spawned tasks, close resources, export the spans still held."""
        await self._end_tasks()
        await self.resources.aclose()
        await asyncio.to_thread(self.telemetry.shutdown)

    async def _end_tasks(self) -> None:
        # A library may take a cancellation for an error of its own, and its caller continue.
        for _ in range(_CANCEL_ATTEMPTS):
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_CANCEL_INTERVAL.total_seconds())
        if self._tasks:
            structlog.get_logger().critical("did_not_stop", tasks=len(self._tasks))
            _exit(_FAILED)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._failed_task.done():
            self._failed_task.set_exception(error)


def serve(name: str, settings: ServiceSettings, build: Build) -> NoReturn:
    """Run a service until a signal stops it, and end the process with one of these codes.

    0: stopped by SIGTERM or SIGINT, drained, also while still starting. 1: a component failed, or
    did not stop within the grace. 2: the configuration cannot work. The reason is the last
    event logged.
    """
    logging.configure(name, settings)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_run_reporting_errors(name, settings, build))
    # Everything is closed and sent. Leaving through the interpreter's finalization would now and
    # then crash in a thread of the SDK's core that is still calling back (seen with 1.35).
    _exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loop, or asyncio's own where uvloop cannot be had.

    Most of what a call costs in Python is the loop: each step of the SDK's is a wake-up from one
    of its core's threads.
    """
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run_reporting_errors(name: str, settings: ServiceSettings, build: Build) -> int:
    log = structlog.get_logger()
    try:
        return await _run(name, settings, build)
    except ConfigurationError as error:
        log.critical("misconfigured", reason=str(error))
        return _MISCONFIGURED
    except Exception as error:
        log.critical("failed", reason=f"{type(error).__name__}: {error}", exc_info=error)
        return _FAILED


async def _run(name: str, settings: ServiceSettings, build: Build) -> int:
    log = structlog.get_logger()
    stop_requested = _on_signals()
    async with _with_admin_server(ServiceRuntime(name, settings)) as runtime:
        log.info("starting")
        runtime.readiness.set("service", False, "starting")
        components = await _or_stop(stop_requested, build(runtime))
        started: list[Component] = []
        try:
            for component in components or ():
                started.append(component)
                await _or_stop(stop_requested, component.start())
            if not stop_requested.is_set():
                _tune_gc()
                runtime.readiness.set("service", True)
                await _wait_first(stop_requested, [runtime, *started])
        finally:
            log.info("stopping", grace_seconds=settings.shutdown_grace.total_seconds())
            runtime.readiness.set("service", False, "stopping")
            await _stop(started, settings.shutdown_grace)
    log.info("stopped")
    return _OK


@contextlib.asynccontextmanager
async def _with_admin_server(runtime: ServiceRuntime) -> AsyncIterator[ServiceRuntime]:
    admin = runtime.new_admin_server()
    try:
        await admin.start()
    except OSError as error:
        raise ConfigurationError(f"cannot open the admin port: {error}") from error
    try:
        yield runtime
    finally:
        await runtime.close()
        await admin.stop()


async def _or_stop(stop_requested: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return the result of `work`; None when the stop was requested before it was done."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(stop_requested.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None
    finally:
        stop.cancel()


class _Fallible(Protocol):
    async def wait_failed(self) -> None: ...


async def _wait_first(stop_requested: asyncio.Event, parts: Sequence[_Fallible]) -> None:
    """Return when the stop is requested; raise as soon as a part fails."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop_requested.wait())]
    tasks += [asyncio.ensure_future(part.wait_failed()) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stop(components: Sequence[Component], grace: timedelta) -> None:
    """Stop all at once, so that the grace is one for all."""
    if not components:
        return
    log = structlog.get_logger()
    stops = {asyncio.ensure_future(c.stop(grace)): c.name for c in components}
    done, late = await asyncio.wait(stops, timeout=(grace + STOP_MARGIN).total_seconds())
    if late:
        # An activity that ignores its cancellation would keep the process for ever.
        names = ", ".join(stops[task] for task in late)
        log.critical("did_not_stop", components=names)
        _exit(_FAILED)
    for task in done:
        if error := task.exception():
            log.error("stop_failed", component=stops[task], exc_info=error)


def _tune_gc() -> None:
    """Collect garbage less often, and never again what was imported.

    By default every 700 allocations start a collection, and the oldest generation holds each
    module's objects: that is some 8 % of the CPU of a call.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _exit(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second SIGINT ends the process at once."""
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if stop_requested.is_set():
            loop.remove_signal_handler(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        stop_requested.set()

    loop.add_signal_handler(signal.SIGTERM, stop_requested.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    return stop_requested
