"""Protos as descriptors: a file with all that it imports, compiled once for each content kept."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from zigflow_worker.rpc.shared_descriptors import MAX_BYTES, SharedDescriptors
from zigflow_worker.rpc.targets import misconfigured
from zigflow_worker.threads import run_in_thread

ReadText: TypeAlias = Callable[[str], Awaitable[str]]
"""Returns the text at a URI (raises WorkflowError)."""

MAX_FILES = 100
MAX_CHARACTERS = 1_000_000
"""Characters of a proto and all that it imports."""
_LAUNCHER = Path(__file__).with_name("protoc_process.py")
_SECONDS = 15.0
_MAX_MESSAGE_BYTES = 4096
_TOKENS = re.compile(
    r"""//[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/)?|"(?:\\.|[^"\\\n])*+"?|'(?:\\.|[^'\\\n])*+'?"""
    r"""|[A-Za-z_]\w*|[;}]""",
    re.DOTALL,
)
"""Comments, texts, words and ends. What does not end reaches to the end of the text: sought again
from each of its characters, it would take hours."""
_NAME = re.compile(r"(?!\.{1,2}(?:/|$))[\w.+-]+(?:/(?!\.{1,2}(?:/|$))[\w.+-]+)*", re.ASCII)
_MESSAGE = re.compile(r"(?!WARNING:|/)[\w./+-]+:", re.ASCII)
"""Lines of protoc about a file, which others of its libraries are not."""
_PARALLEL = 2


class ProtoCompiler:
    """Compiles protos.

    Args:
        shared: keeps their descriptors.
    """

    def __init__(self, shared: SharedDescriptors | None = None) -> None:
        self._shared = shared or SharedDescriptors()
        self._slots = asyncio.Semaphore(_PARALLEL)

    @asynccontextmanager
    async def descriptors(
        self, uri: str, read: ReadText, server: str = ""
    ) -> AsyncIterator[DescriptorPool]:
        """Use the descriptors of the proto at a URI; imports are beside it.

        Args:
            uri: of the proto.
            read: returns texts.
            server: where they come from.

        Raises:
            WorkflowError: of type `configuration` for protos that do not compile, or are too large;
                others are those of `read`.
        """
        name, sources = await _read_all(uri, read)
        key = hashlib.sha256(json.dumps(sorted(sources.items())).encode()).digest()
        files: Sequence[FileDescriptorProto] = ()
        if key not in self._shared:
            async with self._slots:
                if key not in self._shared:  # nor compiled meanwhile
                    files = await _compile(name, sources)
        del sources
        async with self._shared.use(key, server, files) as pool:
            yield pool


async def _read_all(uri: str, read: ReadText) -> tuple[str, dict[str, str]]:
    """Return the file's name, and the text of it and of all imports by name."""
    name = PurePosixPath(unquote(urlsplit(uri).path)).name
    if not _NAME.fullmatch(name):
        name = "main.proto"
    sources: dict[str, str] = {name: await read(uri)}
    left = MAX_CHARACTERS
    waiting = [name]
    while waiting:
        text = sources[waiting.pop()]
        left -= len(text)
        if left < 0:
            raise misconfigured(f"the proto has more than {MAX_CHARACTERS} characters")
        for imported in await run_in_thread(imports_of, text):
            if imported in sources or imported.startswith("google/protobuf/"):
                continue
            if len(sources) >= MAX_FILES:
                raise misconfigured(f"the proto imports more than {MAX_FILES} files")
            sources[imported] = _bundled(imported) or await read(urljoin(uri, imported))
            waiting.append(imported)
    return name, sources


@lru_cache(maxsize=16)
def imports_of(text: str) -> Sequence[str]:
    """Return the names of the files that a proto imports (raises WorkflowError)."""
    words = [word for word in _TOKENS.findall(text) if not word.startswith(("//", "/*"))]
    names: list[str] = []
    for index, word in enumerate(words):
        if word == "import" and (index == 0 or words[index - 1] in (";", "}")):
            following = words[index + 1 : index + 3]
            names += [each[1:-1] for each in following if each[0] in "\"'"][:1]
    for name in names:
        if not _NAME.fullmatch(name):
            raise misconfigured(f"the proto imports '{name[:100]}', which is no path beside it")
    return tuple(names)


@lru_cache(maxsize=256)
def _bundled(name: str) -> str:
    """Return the text of a common proto of Google's (google/api, google/rpc, …), "" for none."""
    package = ".".join(PurePosixPath(name).parts[:-1])
    if not re.fullmatch(r"google(\.\w+)+", package):
        return ""
    with suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder, PurePosixPath(name).name)
            if path.is_file():
                return path.read_text("utf-8")
    return ""


async def _compile(name: str, sources: Mapping[str, str]) -> Sequence[FileDescriptorProto]:
    with tempfile.TemporaryDirectory(prefix="stigma-protos-") as folder:
        root = Path(folder, "protos")
        await run_in_thread(_write_all, root, sources)
        output, messages = Path(folder, "descriptors"), Path(folder, "messages")
        code = await _run_protoc(root, name, output, messages)
        return await run_in_thread(_read_files, code, output, messages)


def _read_files(code: int, output: Path, messages: Path) -> Sequence[FileDescriptorProto]:
    if code != 0 or not output.exists():
        raise misconfigured(f"the proto does not compile: {_first_message(messages)}")
    if output.stat().st_size > MAX_BYTES:
        raise misconfigured(f"the proto has more than {MAX_BYTES} bytes, compiled")
    return FileDescriptorSet.FromString(output.read_bytes()).file


def _write_all(root: Path, sources: Mapping[str, str]) -> None:
    try:
        for each, text in sources.items():
            path = root / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", "surrogatepass")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise misconfigured(f"the proto imports '{each[:100]}' as a file and a folder") from None


async def _run_protoc(root: Path, name: str, output: Path, messages: Path) -> int:
    """Return protoc's exit code; a cancel kills it."""
    command = [
        *(sys.executable, "-I", str(_LAUNCHER)),
        *("-I.", f"-I{files('grpc_tools').joinpath('_proto')}"),
        *("--include_imports", f"--descriptor_set_out={output}", name),
    ]
    with messages.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=root,
            env={},  # of our own settings it needs none, and some are secret
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        async with asyncio.timeout(_SECONDS):
            return await process.wait()
    except TimeoutError:
        raise misconfigured(f"the proto took longer than {_SECONDS:.0f} s to compile") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _first_message(messages: Path) -> str:
    with messages.open("rb") as file:
        text = file.read(_MAX_MESSAGE_BYTES).decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if _MESSAGE.match(line) and "warning:" not in line]
    return lines[0][:300] if lines else "protoc stopped"
