"""The examples' programs: how each is built, called, and what it said."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pytest

from tests.docs.pages import read_page
from tests.stack.tables import ResultTable
from tests.stack.waiting import eventually

ROOT = Path(__file__).parents[2]
_OUR_TOOLS = ROOT / ".tools" / "callers"
TOOLS = Path(os.environ.get("STIGMA_TOOLS_DIR", ROOT / ".tools"), "callers")
JAVA = ROOT / "examples" / "callers" / "java"
TYPESCRIPT = TOOLS / "typescript"
NODE = TOOLS.parent / "node" / "bin" / "node"

_MISSING = 3
_BUILD_SECONDS = 600

Event = dict[str, Any]


@functools.cache
def build(what: str) -> None:
    """Build once a session; a test without the programs for it is skipped with one line."""
    # Node comes with the packages, not with the machine.
    if what == "typescript" and TOOLS != _OUR_TOOLS and not TYPESCRIPT.exists():
        pytest.skip(f"Node and the TypeScript callers are not in {TOOLS}")
    done = subprocess.run(
        [ROOT / "tools" / "callers" / "ensure", what],
        check=False,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
    )
    if done.returncode == _MISSING:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Language:
    """One language's program, and how it wants a duration written."""

    name: str
    command: tuple[str, ...]
    duration: Callable[[float], str]
    readme: str
    typed: str
    """How the README calls the program."""

    def __str__(self) -> str:
        return self.name

    def shown(self, example: str) -> list[str]:
        """The arguments that the README shows for an example."""
        lines = read_page(ROOT / "examples" / self.readme).block("examples").text.splitlines()
        start = f"{self.typed} {example} "
        [line] = [line for line in lines if line.startswith(start)]
        return shlex.split(line.removeprefix(start))


# For a program that lives for seconds: less compiling, and its classes loaded as they were before.
_CLASSES = JAVA / "target" / "callers.jsa"
_JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xlog:disable")
_COMPILED = TYPESCRIPT / "build" / "compiled"
_JAR = ("-jar", str(JAVA / "target" / "callers.jar"))

LANGUAGES = {
    "go": Language(
        "go",
        (str(TOOLS / "go-callers"),),
        "{}s".format,
        readme="callers/go/README.md",
        typed="go run .",
    ),
    "java": Language(
        "java",
        (*_JAVA, f"-XX:SharedArchiveFile={_CLASSES}", *_JAR),
        "PT{}S".format,
        readme="callers/java/README.md",
        typed="java -jar target/callers.jar",
    ),
    "typescript": Language(
        "typescript",
        ("env", f"NODE_COMPILE_CACHE={_COMPILED}", str(NODE), str(TYPESCRIPT / "src" / "main.ts")),
        "{}s".format,
        readme="callers/typescript/README.md",
        typed="node src/main.ts",
    ),
    "python": Language(
        "python",
        (sys.executable, str(ROOT / "examples" / "python-caller" / "callers.py")),
        "{}".format,
        readme="python-caller/README.md",
        typed="python examples/python-caller/callers.py",
    ),
}


def copied() -> list[Language]:
    """The languages whose helper people copy, their programs built."""
    names = ("go", "java", "typescript")
    for name in names:
        build(name)
    return [LANGUAGES[name] for name in names]


async def archive_classes(environment: Mapping[str, str]) -> None:
    """Let Java's runs start in half the time; once a build."""
    if not _CLASSES.exists():
        archiving = (*_JAVA, f"-XX:ArchiveClassesAtExit={_CLASSES}", *_JAR)
        java = replace(LANGUAGES["java"], command=archiving)
        await (await Run.start(java, environment, "single", "hi")).ended()


@dataclass
class Run:
    """One run of a program, under way or over."""

    id: str
    typed: str
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    output: str = ""
    _reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, language: Language, environment: Mapping[str, str], example: str, *arguments: str
    ) -> Self:
        """Start an example; its workflow's id is ours."""
        run_id = f"caller-{uuid.uuid4().hex}"
        flags = ["--id", run_id, "--queue", f"queue-{run_id}"]
        process = await asyncio.create_subprocess_exec(
            *language.command,
            example,
            *flags,
            *arguments,
            env={**_without_settings(), **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        run = cls(run_id, f"{language.typed} {example} {shlex.join(arguments)}", process)
        run._reading = asyncio.create_task(run._read())
        _RUNS.append(run)
        return run

    async def ended(self, code: int = 0) -> str:
        """Wait for the end, and return what it printed."""
        assert self.process.stdout is not None
        assert self._reading is not None
        self.output = (await self.process.stdout.read()).decode().strip()
        await self._reading
        ended = await self.process.wait()
        sys.stdout.write("".join(f"{line}\n" for line in [*self.lines, self.output]))
        assert ended == code, (ended, self.lines, self.output)
        return self.output

    async def event(self, name: str) -> Event:
        """Return such an event of the hand-off, once it is there."""
        found = await eventually(lambda: self.events(name), what=f"event {name} of {self.lines}")
        return found[0]

    def events(self, name: str | None = None) -> list[Event]:
        """Events of the hand-off so far."""
        parsed = [json.loads(line) for line in self.lines if line.startswith("{")]
        ours = [event for event in parsed if "callback_fingerprint" in event]
        return [event for event in ours if name in {None, event["event"]}]

    def error(self) -> str:
        """The line that says what went wrong."""
        return next(line for line in self.lines if line.startswith("error: "))

    def summary(self) -> list[str]:
        """What was typed, each token's steps by its fingerprint, and what came of it."""
        steps: dict[str, list[str]] = {}
        for event in self.events():
            steps.setdefault(event["callback_fingerprint"], []).append(event["event"])
        errors = [line for line in self.lines if line.startswith("error: ")]
        tokens = [f"{token}: {' '.join(names)}" for token, names in steps.items()]
        said = [f"    {line}" for line in (*tokens, *self.output.splitlines(), *errors)]
        return [f"$ {self.typed}", *said]

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines.append(line.decode().rstrip("\n"))


class ProgramRuns(ResultTable):
    """Every run of a program in this process."""

    name = "callers"
    title = "callers of every language"

    def rows(self) -> list[Any]:
        """Return the lines of each run."""
        return [run.summary() for run in _RUNS]

    @classmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        """Yield the runs' lines."""
        yield from itertools.chain.from_iterable(rows)


_RUNS: list[Run] = []


def _without_settings() -> dict[str, str]:
    ours = ("STIGMA_", "TEMPORAL_", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
