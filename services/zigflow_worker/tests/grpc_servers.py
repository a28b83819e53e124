"""A gRPC server in Go, `grpc_server/`, and what it serves."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_tools import protoc

from tests.callers.programs import TOOLS, build
from zigflow_worker.errors import AUTHORIZATION, WorkflowError
from zigflow_worker.outgoing.memory import MemoryBudget
from zigflow_worker.rpc import Connection, ProtoCompiler, SharedDescriptors
from zigflow_worker.rpc.calls import Metadata
from zigflow_worker.rpc.protos import ReadText
from zigflow_worker.rpc.reflection import reflect

PROTOS = Path(__file__).with_name("grpc_server") / "protos"
_COMMON = str(Path(protoc.__file__).with_name("_proto"))
_GOOGLE = str(Path(protoc.__file__).parents[1])


@dataclass
class Loopback:
    """Every host is this one, at a port of its own where `ports` names it."""

    port: int = 0
    ips: Sequence[str] = ("127.0.0.1",)
    ports: Mapping[str, int] = field(default_factory=dict)

    async def addresses(self, host: str, port: int) -> list[tuple[str, int]]:
        if host == "denied":
            raise WorkflowError.of(AUTHORIZATION, "denied")
        return [(ip, self.ports.get(host, self.port)) for ip in self.ips]


def write_descriptors(folder: Path) -> Path:
    """Compile what the server serves, by protoc itself."""
    path = folder / "descriptors"
    arguments = ["--include_imports", f"--descriptor_set_out={path}", "echo.proto", "greet.proto"]
    assert protoc.main(["", f"-I{PROTOS}", f"-I{_COMMON}", f"-I{_GOOGLE}", *arguments]) == 0
    return path


@asynccontextmanager
async def grpc_server(folder: Path, *options: str) -> AsyncIterator[int]:
    """Run the server, and return its port."""
    await asyncio.to_thread(build, "grpc_server")
    process = await asyncio.create_subprocess_exec(
        TOOLS / "grpc-server",
        f"--descriptors={write_descriptors(folder)}",
        *options,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            address = (await process.stdout.readline()).decode()
        yield int(address.rpartition(":")[2])
    finally:
        process.kill()
        await process.wait()


def write_certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate for a host, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{host}.pem", folder / f"{host}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, plain))
    return files


async def compiled(compiler: ProtoCompiler, uri: str, read: ReadText) -> DescriptorPool:
    """The descriptors of a proto, which others may drop."""
    async with compiler.descriptors(uri, read) as pool:
        return pool


async def reflected(
    connection: Connection, service: str, metadata: Metadata = ()
) -> DescriptorPool:
    """The descriptors of a service by reflection."""
    memory, shared = MemoryBudget().new_call(), SharedDescriptors()
    async with reflect(connection, service, metadata, memory, shared) as pool:
        return pool
