"""One container: started, ended, frozen and cut off, with its output in a file."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import requests.exceptions
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

Defined = TypeVar("Defined", bound=DockerContainer)

_LOG_ENDS_WITHIN_SECONDS = 20


def confine(
    definition: Defined,
    network: Network,
    aliases: Sequence[str],
    *,
    ports: Mapping[int, int],
    user: str = "10001:10001",
    writable: Iterable[str] = ("/tmp",),
    entrypoint: Sequence[str] | None = None,
) -> Defined:
    """Give a container the rights that it has on a cluster: none.

    ``ports``: those of the container, and where this machine's loopback has them. ``writable``:
    directories in memory, the rest of its file system is read-only. ``entrypoint``: instead of the
    image's.
    """
    definition.with_network(network).with_network_aliases(*aliases)
    for inside, outside in ports.items():
        definition.ports[f"{inside}/tcp"] = ("127.0.0.1", outside)  # type: ignore[assignment]
    for directory in writable:
        definition.tmpfs[directory] = "mode=1777"
    return definition.with_kwargs(
        user=user,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        **({} if entrypoint is None else {"entrypoint": list(entrypoint)}),
    )


class Container:
    """A defined container. Kills and starts keep its name, ports, volumes and log.

    Its address on the network may be another after a start: others find it by name.
    """

    def __init__(
        self, definition: DockerContainer, network: Network, aliases: Sequence[str], log: Path
    ) -> None:
        self._definition = definition
        self._network = network
        self._aliases = list(aliases)
        self._log = log
        self._follower: threading.Thread | None = None
        self._exists = False
        self._frozen = False
        self._cut = False

    @property
    def exists(self) -> bool:
        """Whether it was started and not removed."""
        return self._exists

    def state(self) -> dict[str, Any]:
        """Docker's own: Running, Pid, ExitCode and others."""
        wrapped = self._definition.get_wrapped_container()
        wrapped.reload()
        return dict(wrapped.attrs["State"])

    async def start(self) -> None:
        """Create it, or start it again, and return when its process runs."""
        await asyncio.to_thread(self._start)

    async def send(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        await self.thaw()
        wrapped = self._definition.get_wrapped_container()
        await asyncio.to_thread(wrapped.kill, signal=int(number))

    async def ended(self, within: timedelta) -> int:
        """Wait for its end: the exit code. TimeoutError when it runs on."""
        wrapped = self._definition.get_wrapped_container()
        try:
            answer = await asyncio.to_thread(wrapped.wait, timeout=within.total_seconds())
        except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
            raise TimeoutError(f"{wrapped.name} runs on after {within}") from None
        if self._follower is not None:
            await asyncio.to_thread(self._follower.join, _LOG_ENDS_WITHIN_SECONDS)
        return int(answer["StatusCode"])

    async def kill(self) -> None:
        """SIGKILL and wait until it is gone."""
        await self.send(signal.SIGKILL)
        await self.ended(timedelta(seconds=60))

    async def run(self, *command: str) -> bool:
        """Run a program inside; whether it succeeded."""
        wrapped = self._definition.get_wrapped_container()
        if not self.state()["Running"]:
            raise RuntimeError(f"{wrapped.image} has ended: {self._log.read_text()[-1000:]}")
        return bool((await asyncio.to_thread(wrapped.exec_run, list(command))).exit_code == 0)

    async def freeze(self) -> None:
        """Stop its processes where they are: connections stay, nobody answers."""
        await asyncio.to_thread(self._definition.get_wrapped_container().pause)
        self._frozen = True

    async def thaw(self) -> None:
        """Let it go on after `freeze`."""
        if self._frozen:
            await asyncio.to_thread(self._definition.get_wrapped_container().unpause)
            self._frozen = False

    async def cut(self) -> None:
        """Pull its network cable: packets are lost, and nobody is told."""
        await asyncio.to_thread(self._networked().disconnect, self._id())
        self._cut = True

    async def reconnect(self) -> None:
        """Plug it in again, after `cut`."""
        if self._cut:
            await asyncio.to_thread(self._network.connect, self._id(), self._aliases)
            self._cut = False

    async def heal(self) -> None:
        """End what was done to it."""
        if self._exists:
            await self.thaw()
            await self.reconnect()

    async def remove(self) -> None:
        """Kill and forget it, with its volumes; its log stays."""
        if self._exists:
            await self.thaw()
            await asyncio.to_thread(self._definition.stop)
            self._exists = False

    def _start(self) -> None:
        started = time.time()
        if self._exists:
            self._definition.get_wrapped_container().start()
        else:
            self._exists = True  # even if it does not start
            self._definition.start()
        self._follower = threading.Thread(target=self._follow, args=(started,), daemon=True)
        self._follower.start()

    def _follow(self, since: float) -> None:
        """Write its output to the log until it ends."""
        output = self._definition.get_wrapped_container().logs(
            stream=True, follow=True, since=since
        )
        with self._log.open("ab") as file:
            for chunk in output:
                file.write(chunk)
                file.flush()

    def _networked(self) -> Any:
        client = self._definition.get_docker_client().client
        return client.networks.get(self._network.name)

    def _id(self) -> str:
        return self._definition.get_container_id()
