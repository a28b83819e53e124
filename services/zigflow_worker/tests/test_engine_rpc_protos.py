"""Protos, descriptors, messages and targets of gRPC calls, without a server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.stack.fifo import first_line
from zigflow_worker.errors import CONFIGURATION, VALIDATION, WorkflowError
from zigflow_worker.rpc import ProtoCompiler, Target, find_method, protos
from zigflow_worker.rpc.messages import decode_all, encode_arguments
from zigflow_worker.rpc.protos import imports_of

from .grpc_servers import PROTOS, compiled

COMPILER = ProtoCompiler()


async def read_file(uri: str) -> str:
    return (PROTOS / uri).read_text()


async def compile_files(files: Mapping[str, str], uri: str = "https://h/p/main.proto") -> Any:
    async def read(place: str) -> str:
        return files[place.removeprefix("https://h/p/")]

    return await compiled(COMPILER, uri, read)


async def wrong(files: Mapping[str, str], uri: str = "https://h/p/main.proto") -> WorkflowError:
    with pytest.raises(WorkflowError) as raised:
        await compile_files(files, uri)
    assert raised.value.type == CONFIGURATION.uri
    return raised.value


def test_imports_are_found_where_they_are_statements() -> None:
    text = """
    // import "a.proto";
    /* import "b.proto"; */ syntax = "proto3"; import "c.proto";
    import public 'd/e.proto'; option x = 'import "f.proto";';
    message import_x { string import = 1; }
    import weak "g.proto";
    """
    assert imports_of(text) == ("c.proto", "d/e.proto", "g.proto")


@pytest.mark.parametrize("text", ["/*x", '"\\\\"', "'\\\\'", "/**", "'"])
def test_texts_that_do_not_end_are_read_once(text: str) -> None:
    """Sought again from each of its characters, such a text takes an hour."""
    began = time.process_time()
    assert imports_of(f'import "a.proto"; {text * (900_000 // len(text))}') == ("a.proto",)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "name", ["../a.proto", "/etc/passwd", "a//b", "./a", "http://h/a.proto", ""]
)
def test_imports_are_beside_the_file(name: str) -> None:
    with pytest.raises(WorkflowError, match="which is no path beside it"):
        imports_of(f'import "{name}";')


async def test_a_proto_is_compiled_once_for_its_content() -> None:
    compiler = ProtoCompiler()
    first = await compiled(compiler, "greet.proto", read_file)
    assert await compiled(compiler, "greet.proto", read_file) is first
    greeter = find_method(first, "GreeterApi.Greeter", "SayHello")
    assert greeter.path == "/GreeterApi.Greeter/SayHello"


async def test_imports_are_beside_the_file_and_google_s_are_there() -> None:
    pool = await compiled(COMPILER, "echo.proto", read_file)
    assert pool.FindMessageTypeByName("parts.Item").fields_by_name["color"].enum_type is not None


async def test_a_url_s_odd_name_is_no_matter() -> None:
    pool = await compile_files(
        {"%20?a=b": 'syntax = "proto3"; package odd; message M {}'}, "https://h/p/%20?a=b"
    )
    assert pool.FindMessageTypeByName("odd.M")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not a proto", "main.proto:1:1: Expected top-level statement"),
        ('syntax = "proto3"; message M { Missing m = 1; }', '"Missing" is not defined'),
        ('syntax = "proto3";\n' + "// " + "x" * 1_000_000, "more than 1000000 characters"),
        (" " * 10_000_000, "more than 1000000 characters"),
        ('import "main.proto";', "main.proto"),
        ("message M {" * 10_000, "does not compile"),
    ],
)
async def test_a_proto_that_is_wrong_is_a_configuration_error(text: str, message: str) -> None:
    error = await wrong({"main.proto": text})
    assert message in str(error)
    assert "/tmp" not in str(error)


async def test_protoc_has_a_limit_of_time_and_may_die(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protos, "_SECONDS", 0.001)
    assert "took longer than" in str(await wrong({"main.proto": "package slow;"}))
    monkeypatch.undo()
    monkeypatch.setattr(protos, "_LAUNCHER", PROTOS / "none.py")
    assert "protoc stopped" in str(await wrong({"main.proto": "package gone;"}))


ENDLESS = """
import os, signal
with open({fifo!r}, "w") as fifo:
    fifo.write(f"{{os.getpid()}}\\n")
signal.pause()
"""


async def test_a_cancel_ends_protoc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fifo, launcher = tmp_path / "fifo", tmp_path / "endless.py"
    os.mkfifo(fifo)
    launcher.write_text(ENDLESS.format(fifo=str(fifo)))
    monkeypatch.setattr(protos, "_LAUNCHER", launcher)
    compiling = asyncio.create_task(compile_files({"main.proto": "package endless;"}))
    process = int(await first_line(fifo))
    compiling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await compiling
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    monkeypatch.undo()
    assert await compile_files({"main.proto": "package endless;"})


async def test_imports_have_a_limit() -> None:
    files = {f"f{n}.proto": f'import "f{n + 1}.proto";' for n in range(150)}
    error = await wrong({"main.proto": 'import "f0.proto";', **files})
    assert "imports more than 100 files" in str(error)


async def test_an_import_that_is_a_file_and_a_folder() -> None:
    error = await wrong({"main.proto": 'import "a"; import "a/b";', "a": "", "a/b": ""})
    assert "as a file and a folder" in str(error)


@pytest.mark.parametrize(
    ("service", "method", "message"),
    [
        ("GreeterApi.Other", "SayHello", "there is no service 'GreeterApi.Other'"),
        ("Greeter", "SayHello", "there is no service 'Greeter'"),
        ("GreeterApi.Greeter", "SayBye", "the service 'GreeterApi.Greeter' has no method 'SayBye'"),
        ("GreeterApi.Greeter", "sayhelo", "has no method 'sayhelo', did you mean 'SayHello'?"),
    ],
)
async def test_an_unknown_name_is_a_configuration_error(
    service: str, method: str, message: str
) -> None:
    pool = await compiled(COMPILER, "greet.proto", read_file)
    with pytest.raises(WorkflowError) as raised:
        find_method(pool, service, method)
    assert raised.value.type == CONFIGURATION.uri
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("Say", {"colour": "red"}, CONFIGURATION, 'no field named "colour"'),
        ("Say", {"firstItem": {"size": 1}}, CONFIGURATION, 'no field named "size"'),
        ("Say", {"firstItem": {"color": "BLUE"}}, CONFIGURATION, "BLUE"),
        ("Say", {"times": "many"}, VALIDATION, "times"),
        ("Say", {"times": 2**40}, VALIDATION, "times"),
        ("Say", {"text": "\ud800"}, VALIDATION, "text"),
        ("Say", {"text": 5, "colour": "red"}, VALIDATION, "text"),
        ("Say", {"sentAt": "noon"}, VALIDATION, "sentAt"),
        ("Say", [{"text": "a"}], VALIDATION, "a message of 'Say' has to be a map"),
        (
            "Collect",
            {"text": "a"},
            VALIDATION,
            "'Collect' takes a stream: its arguments have to be",
        ),
        ("Collect", ["a"], VALIDATION, "a message of 'Collect' has to be a map"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(
    name: str, arguments: Any, error: Any, message: str
) -> None:
    pool = await compiled(COMPILER, "echo.proto", read_file)
    with pytest.raises(WorkflowError) as raised:
        encode_arguments(find_method(pool, "echo.v1.Echo", name), arguments)
    assert (raised.value.type, raised.value.problem["status"]) == (error.uri, 400)
    assert message in str(raised.value)


async def test_a_response_that_is_none_is_a_communication_error() -> None:
    pool = await compiled(COMPILER, "greet.proto", read_file)
    method = find_method(pool, "GreeterApi.Greeter", "SayHello")
    assert decode_all(method, [b""]) == [{"message": ""}]
    with pytest.raises(WorkflowError, match=r"the response is no GreeterApi\.HelloReply"):
        decode_all(method, [b"\xff"])


@pytest.mark.parametrize(
    ("host", "port", "target"),
    [
        ("localhost", 5011, Target("localhost", 5011, secure=False)),
        ("api.example.com", None, Target("api.example.com", 443, secure=True)),
        ("api.example.com", 443, Target("api.example.com", 443, secure=True)),
        ("api.example.com:8080", None, Target("api.example.com", 8080, secure=False)),
        ("https://api.example.com", None, Target("api.example.com", 443, secure=True)),
        ("https://api.example.com/", 8443, Target("api.example.com", 8443, secure=True)),
        ("http://api.example.com", None, Target("api.example.com", 80, secure=False)),
        ("http://api.example.com:443", None, Target("api.example.com", 443, secure=False)),
        ("[::1]", 5011, Target("::1", 5011, secure=False)),
    ],
)
def test_tls_is_used_on_443_or_for_https(host: str, port: int | None, target: Target) -> None:
    assert Target.of(host, port) == target


def test_an_authority_has_the_port() -> None:
    assert Target.of("[::1]", 5011).url == "http://[::1]:5011"
    assert Target.of("https://h", None).url == "https://h:443"


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("", 1),
        ("ftp://h", 1),
        ("h:1", 2),
        ("h/path", 1),
        ("user@h", 1),
        ("h:x", None),
        ("h", 70_000),
        ("a b", 1),
        ("ä", 1),
    ],
)
def test_a_host_that_is_none_is_a_configuration_error(host: str, port: int | None) -> None:
    with pytest.raises(WorkflowError) as raised:
        Target.of(host, port)
    assert raised.value.type == CONFIGURATION.uri
