"""The API's reference, from the comments in protos/."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from tools.docs.markdown import code, head, one_line, table

PACKAGES = ("stigma.agent.v1", "stigma.workflow.v1", "stigma.diagnosis.v1")

_FILE = FileDescriptorProto
_INTRODUCTION = """\
gRPC, on port 7300. Every server answers `grpc.health.v1.Health` too, and reflection, v1 and
v1alpha (`STIGMA_API_REFLECTION=false` turns that off). A request that is not valid answers
`INVALID_ARGUMENT` with a `google.rpc.BadRequest` that names its fields; a call that should be
made again carries a `google.rpc.RetryInfo`. Callers send their key as
`authorization: Bearer KEY`. Durations and timestamps are those of `google.protobuf`; data is JSON
text, so that large integers stay whole. [How the handshake works](../handshake.md) says what the
calls are for; the files are in [`protos/`](../../protos/stigma).
"""


class _Comments:
    """The comments of a file, by path in its descriptor."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._found = {
            tuple(place.path): one_line(place.leading_comments)
            for place in file.source_code_info.location
        }

    def of(self, *path: int) -> str:
        return self._found.get(path, "")


class _Reference:
    def __init__(self, files: list[FileDescriptorProto]) -> None:
        self._files = files
        self._anchors = self._all_anchors()

    def lines(self) -> Iterator[str]:
        yield from head("API reference", "protos/")
        yield _INTRODUCTION
        for package in PACKAGES:
            files = [file for file in self._files if file.package == package]
            yield f"## {package}"
            yield ""
            for file in files:
                for index, service in enumerate(file.service):
                    yield from self._service(file, index, service)
            for file in files:
                for index, message in enumerate(file.message_type):
                    yield from self._message(file, index, message)
            for file in files:
                for index, enum in enumerate(file.enum_type):
                    yield from self._enum(file, index, enum)

    def _service(
        self, file: FileDescriptorProto, index: int, service: ServiceDescriptorProto
    ) -> Iterator[str]:
        comments, path = _Comments(file), (_FILE.SERVICE_FIELD_NUMBER, index)
        yield f"### {service.name}"
        yield ""
        yield comments.of(*path)
        yield ""
        rows = []
        for number, method in enumerate(service.method):
            reply = self._linked(method.output_type)
            rows.append(
                (
                    code(method.name),
                    self._linked(method.input_type),
                    f"stream of {reply}" if method.server_streaming else reply,
                    comments.of(*path, ServiceDescriptorProto.METHOD_FIELD_NUMBER, number),
                )
            )
        yield from table(("call", "request", "reply", "what it does"), rows)

    def _message(
        self, file: FileDescriptorProto, index: int, message: DescriptorProto
    ) -> Iterator[str]:
        comments, path = _Comments(file), (_FILE.MESSAGE_TYPE_FIELD_NUMBER, index)
        yield f"### {message.name}"
        yield ""
        yield comments.of(*path)
        yield ""
        if not message.field:
            return
        rows = (
            (
                str(field.number),
                code(field.name),
                self._type(message, field),
                comments.of(*path, DescriptorProto.FIELD_FIELD_NUMBER, number),
            )
            for number, field in enumerate(message.field)
        )
        yield from table(("", "field", "type", "meaning"), rows)

    def _enum(
        self, file: FileDescriptorProto, index: int, enum: EnumDescriptorProto
    ) -> Iterator[str]:
        comments, path = _Comments(file), (_FILE.ENUM_TYPE_FIELD_NUMBER, index)
        yield f"### {enum.name}"
        yield ""
        yield comments.of(*path)
        yield ""
        rows = (
            (
                str(value.number),
                code(value.name),
                comments.of(*path, EnumDescriptorProto.VALUE_FIELD_NUMBER, number),
            )
            for number, value in enumerate(enum.value)
        )
        yield from table(("", "value", "meaning"), rows)

    def _type(self, message: DescriptorProto, field: FieldDescriptorProto) -> str:
        for entry in message.nested_type:
            if entry.options.map_entry and field.type_name.endswith(
                f".{message.name}.{entry.name}"
            ):
                key, value = entry.field
                return f"map of {self._type(entry, key)} to {self._type(entry, value)}"
        if field.type_name:
            name = self._linked(field.type_name)
        else:
            name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return f"list of {name}"
        if field.proto3_optional:
            return f"optional {name}"
        if field.HasField("oneof_index"):
            return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
        return name

    def _linked(self, type_name: str) -> str:
        full = type_name.removeprefix(".")
        short = full.rpartition(".")[2]
        return f"[{short}](#{self._anchors[full]})" if full in self._anchors else f"`{full}`"

    def _all_anchors(self) -> dict[str, str]:
        """What leads to each heading: the second of the same name has a number after it."""
        seen: dict[str, int] = {}
        anchors: dict[str, str] = {}
        for package in PACKAGES:
            files = [file for file in self._files if file.package == package]
            kinds = (
                [each.name for file in files for each in file.service],
                [each.name for file in files for each in file.message_type],
                [each.name for file in files for each in file.enum_type],
            )
            for name in (name for kind in kinds for name in kind):
                slug = name.lower()
                count = seen.get(slug, 0)
                anchors[f"{package}.{name}"] = f"{slug}-{count}" if count else slug
                seen[slug] = count + 1
        return anchors


def page(protos: Path) -> str:
    """Return the page.

    Args:
        protos: the directory of the .proto files.
    """
    return "\n".join(_Reference(_descriptors(protos)).lines()).rstrip() + "\n"


def _descriptors(protos: Path) -> list[FileDescriptorProto]:
    files = sorted(
        path.relative_to(protos).as_posix()
        for package in PACKAGES
        for path in protos.joinpath(*package.split(".")).glob("*.proto")
    )
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "descriptors"
        command = [sys.executable, "-P", "-m", "grpc_tools.protoc", f"-I{protos}"]
        command += [f"--descriptor_set_out={out}", "--include_source_info", *files]
        subprocess.run(command, check=True)
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)
