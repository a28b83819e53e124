"""What the commands of the documents run against: everything as `stigma up` would start it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stigma.contracts.task_queues import TaskQueues
from stigma_cli.devserver import DevServer
from tests.docs.commands import Command, commands_of, missing, with_ports
from tests.docs.pages import ROOT, Block, Page
from tests.docs.shell import Shell
from tests.stack.forked import write_stigma
from tests.stack.stack import Stack

_SETTINGS = ("STIGMA_", "TEMPORAL_", "OTEL_", "OPENAI_", "ANTHROPIC_")
_ADMIN_PORTS = {
    "stigma_api": 7310,
    "stigma_orchestrator": 7311,
    "ai_worker": 7312,
    "zigflow_worker": 7313,
}

_EXAMPLE = (
    "stigma agent apply -f examples/code-review/agents",
    "stigma run examples/code-review/workflow.yaml --input @examples/code-review/input.json",
)

# For directives: what a reader copies from a list. The example's execution is every page's;
# of pages that run side by side, the newest one of an agent is only its own page's.
# Temporal's lists are late by a moment.
_FUNCTIONS = """\
newest() {  # AGENT
    for attempt in $(seq 60); do
        stigma execution list --filter "agent = \\"$1\\"" --limit 1000 --output json |
            python -c 'import json, sys
executions = json.load(sys.stdin)["executions"]
ids = {each["status"]["startTime"]: each["id"] for each in executions}
print(ids[max(ids)]) if ids else sys.exit(1)' && return
        sleep 0.2
    done
    return 1
}
"""


class WrongDocumentError(AssertionError):
    """A page's command does not do what the page says."""


class DocumentedStack(Stack):
    """A stack with the usual names of the task queues: the documents use them."""

    def __init__(self, temporal_address: str, directory: Path, **options: Any) -> None:
        super().__init__(temporal_address, directory, **options)
        self.prefix = ""
        self.queues = TaskQueues()


class DocumentedSite:
    """A running stack, and sessions of a user who reads the documents beside it."""

    def __init__(self, stack: Stack, directory: Path, temporal: Path) -> None:
        self.stack = stack
        self._directory = directory
        self._temporal = temporal
        self._example = ""

    async def prepare(self) -> None:
        """Apply the example's agents, and run it once: pages need something to look at."""
        async with self.session("example") as session:
            for command in _EXAMPLE:
                await session.run(Command(command))
            self._example = (await session.run(Command("newest security-reviewer"))).strip()

    @property
    def ports(self) -> dict[int, int]:
        """The stack's port for each usual one."""
        return {
            7233: int(self.stack.temporal_address.rpartition(":")[2]),
            7300: self.stack.api_port,
            **{
                usual: self.stack.process(service).admin_port
                for service, usual in _ADMIN_PORTS.items()
            },
        }

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Session]:
        """Open a shell in a directory of its own that has what a checkout has."""
        home = self._directory / name.replace("/", "-").removesuffix(".md")
        directory = home / "checkout"
        directory.mkdir(parents=True)
        shutil.copytree(ROOT / "examples", directory / "examples", ignore=_BUILT)
        for part in ("deploy", "protos"):
            (directory / part).symlink_to(ROOT / part)
        _link_environment(directory / ".venv")
        (directory / ".stigma").mkdir()
        for service in _ADMIN_PORTS:
            log = self.stack.process(service).log.path
            (directory / ".stigma" / f"{service}.log").symlink_to(log)
        async with Shell(directory, self._environment(home), home / "commands") as shell:
            session = Session(shell, directory, self)
            await session.run(Command(_FUNCTIONS))
            yield session

    def _environment(self, home: Path) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_SETTINGS)}
        programs = (home / "checkout/.venv/bin", self._temporal.parent)
        return inherited | {
            "PATH": os.pathsep.join([*map(str, programs), inherited.get("PATH", "")]),
            "HOME": str(home),
            "COLUMNS": "200",
            "BASH_ENV": "",
            "STIGMA_API_ADDRESS": self.stack.api_address,
            "TEMPORAL_ADDRESS": self.stack.temporal_address,
            "EXAMPLE_ID": self._example,
            "STIGMA_WORKFLOWS_DIR": str(self.stack.directory / "workflows"),
        }

    async def follow(self, page: Page) -> list[Block]:
        """Do what a page says, block by block, in a session; returns the blocks.

        Raises:
            WrongDocumentError: something is not as written.
        """
        blocks = [b for b in page.blocks if b.file or (b.is_commands and not b.not_run)]
        async with self.session(page.name) as session:
            for block in blocks:
                await session.follow(block)
        return blocks


class Session:
    """A user's shell, and the directory it began in."""

    def __init__(self, shell: Shell, directory: Path, site: DocumentedSite) -> None:
        self._shell = shell
        self._directory = directory
        self._site = site

    async def follow(self, block: Block) -> str:
        """Do what a block says; returns all output.

        Raises:
            WrongDocumentError: a command ends otherwise, or shows something else, than written.
        """
        if block.file:
            file = self._directory / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
            return ""
        commands = commands_of(block)
        if block.exit_code and len(commands) != 1:
            raise WrongDocumentError(f"{block.place}: an exit code is of one command")
        try:
            for line in block.values("before"):
                await self.run(Command(line))
            output = "".join([await self.run(one, block.exit_code) for one in commands])
        except WrongDocumentError as error:
            raise WrongDocumentError(f"{block.place}: {error}") from None
        for text in block.values("shows"):
            if text not in output:
                raise WrongDocumentError(f"{block.place}: {text!r} is not in\n{output}")
        return output

    async def run(self, command: Command, code: int = 0) -> str:
        """Run one command; returns its output.

        Raises:
            WrongDocumentError: it ends with another code, or shows something else.
        """
        ran = await self._shell.run(with_ports(command.text, self._site.ports))
        if ran.code != code:
            raise WrongDocumentError(
                f"ended with {ran.code}, not {code}: {command.text}\n{ran.output}"
            )
        absent = missing(ran.output, command.shown)
        if absent is not None:
            raise WrongDocumentError(f"does not show {absent!r}: {command.text}\n{ran.output}")
        return ran.output


@asynccontextmanager
async def open_site(temporal: Path, directory: Path) -> AsyncIterator[DocumentedSite]:
    """Start everything, with the example's agents applied and the example run once."""
    async with (
        DevServer(temporal) as server,
        DocumentedStack(
            server.address,
            directory,
            namespace=server.namespace,
            # As `stigma up` has it.
            environment={"stigma_api": {"STIGMA_TOOL_TASK_QUEUES": "*"}},
        ) as stack,
    ):
        site = DocumentedSite(stack, directory / "pages", temporal)
        await site.prepare()
        yield site


def _link_environment(directory: Path) -> None:
    """Make a virtual environment of links to this one, whose `stigma` is forked."""
    programs = directory / "bin"
    programs.mkdir(parents=True)
    for path in Path(sys.prefix).iterdir():
        if path.name != programs.name:
            (directory / path.name).symlink_to(path)
    for path in Path(sys.executable).parent.iterdir():
        if path.name != "stigma":
            (programs / path.name).symlink_to(path)
    write_stigma(programs)


_BUILT = shutil.ignore_patterns("node_modules", "target", "build", "gen", "bin", "__pycache__")
