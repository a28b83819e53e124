"""What can be done to a container for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.containers.container import Container

ContainerFault = Callable[[Container], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def frozen(container: Container) -> AsyncIterator[None]:
    """It stands still, and its connections stay."""
    await container.freeze()
    try:
        yield
    finally:
        await container.thaw()


@asynccontextmanager
async def cut_off(container: Container) -> AsyncIterator[None]:
    """Its packets are lost. It may come back with another address."""
    await container.cut()
    try:
        yield
    finally:
        await container.reconnect()


@asynccontextmanager
async def killed(container: Container) -> AsyncIterator[None]:
    """SIGKILL; it is started again at the end."""
    await container.kill()
    try:
        yield
    finally:
        await container.start()
