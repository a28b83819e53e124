"""The gRPC server: TLS, message limits, metrics and drain, called over the client's channels."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry

from stigma.contracts.channels import MAX_MESSAGE_BYTES
from stigma.runtime import ConfigurationError, GrpcServerComponent, Readiness, ServerTls
from stigma.runtime.errors import ServiceError
from stigma.runtime.metrics import RpcMetrics
from stigma.runtime.reflection import add_reflection
from stigma_client import ApiConnection, TlsFiles

_SERVICE = "stigma.test.Mirror"
REFLECTION_FILES = {
    "v1": "grpc/reflection/v1/reflection.proto",
    "v1alpha": reflection_pb2.DESCRIPTOR.name,
}


class Mirror:
    """Answers with the key it was sent; or misbehaves as asked."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        if request == b"abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")
        if request == b"bug":
            raise ValueError("the token is AAAA")
        if request == b"wait":
            self.waiting.set()
            await self.go.wait()
        if request == b"code":
            context.set_code(grpc.StatusCode.OUT_OF_RANGE)
        metadata = dict(context.invocation_metadata() or ())
        return str(metadata.get("authorization", "")).encode() or request

    async def stream(
        self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        yield await self.unary(request, context)
        yield b"2"

    async def written(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.write(await self.unary(request, context))

    async def collect(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        return await self.unary(b"".join([r async for r in requests]), context)

    async def both(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            yield await self.unary(request, context)

    def register(self, server: grpc.aio.Server) -> None:
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream),
            "Written": grpc.unary_stream_rpc_method_handler(self.written),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
        }
        generic = grpc.method_handlers_generic_handler(_SERVICE, handlers)
        server.add_generic_rpc_handlers((generic,))


Started = tuple[GrpcServerComponent, Mirror]
Serve = Callable[..., AbstractAsyncContextManager[Started]]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def serving(registry: CollectorRegistry) -> Serve:
    @asynccontextmanager
    async def start(
        tls: ServerTls | None = None, *, reflection: bool = True
    ) -> AsyncIterator[Started]:
        mirror = Mirror()
        component = GrpcServerComponent(
            Readiness(),
            host="127.0.0.1",
            port=0,
            services=[_SERVICE],
            register=mirror.register,
            interceptors=[RpcMetrics(registry)],
            tls=tls,
            reflection=reflection,
        )
        await component.start()
        try:
            yield component, mirror
        finally:
            await component.stop(timedelta(seconds=1))

    return start


@asynccontextmanager
async def connected(
    address: str, *, api_key: str | None = None, tls: TlsFiles | None = None
) -> AsyncIterator[ApiConnection]:
    connection = ApiConnection(address, api_key=api_key, tls=tls)
    try:
        yield connection
    finally:
        await connection.close()


async def call(connection: ApiConnection, request: bytes = b"", method: str = "Unary") -> bytes:
    rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = connection.channel.unary_unary(
        f"/{_SERVICE}/{method}"
    )
    return await rpc(request, timeout=10, metadata=connection.metadata())


async def test_metadata_reaches_every_kind_of_handler(serving: Serve) -> None:
    async with (
        serving() as (server, _),
        connected(f"localhost:{server.port}", api_key="k1") as connection,
    ):
        bearer, channel = b"Bearer k1", connection.channel
        options: dict[str, Any] = {"timeout": 10, "metadata": connection.metadata()}
        assert await call(connection) == bearer
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            f"/{_SERVICE}/Stream"
        )
        assert [a async for a in stream(b"", **options)] == [bearer, b"2"]
        collect: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(
            f"/{_SERVICE}/Collect"
        )
        assert await collect(iter([b"a", b"b"]), **options) == bearer
        both: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{_SERVICE}/Both"
        )
        assert [a async for a in both(iter([b"a", b"b"]), **options)] == [bearer, bearer]


async def test_calls_are_measured(serving: Serve, registry: CollectorRegistry) -> None:
    async with serving() as (server, _), connected(f"127.0.0.1:{server.port}") as connection:
        channel = connection.channel
        await call(connection)
        for request, code in ((b"abort", "NOT_FOUND"), (b"bug", "INTERNAL")):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await call(connection, request)
            assert failed.value.code().name == code
            assert "AAAA" not in str(failed.value)
        with pytest.raises(grpc.aio.AioRpcError):
            await call(connection, b"code")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(connection, method="Unknown")
        written: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            f"/{_SERVICE}/Written"
        )
        assert [a async for a in written(b"w", timeout=10)] == [b"w"]
        collect: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(
            f"/{_SERVICE}/Collect"
        )
        assert await collect(iter([b"a", b"b"]), timeout=10) == b"ab"
    counts = {
        (s.labels["method"].rpartition("/")[2], s.labels["code"]): s.value
        for metric in registry.collect()
        for s in metric.samples
        if s.name == "stigma_rpc_requests_total"
    }
    assert counts == {
        ("Unary", "OK"): 1,
        ("Unary", "NOT_FOUND"): 1,
        ("Unary", "INTERNAL"): 1,
        ("Unary", "OUT_OF_RANGE"): 1,
        ("Written", "OK"): 1,
        ("Collect", "OK"): 1,
    }


async def test_stop_lets_a_running_call_end(serving: Serve) -> None:
    async with serving() as (server, mirror), connected(f"localhost:{server.port}") as connection:
        running = asyncio.ensure_future(call(connection, b"wait"))
        await mirror.waiting.wait()
        stopping = asyncio.create_task(server.stop(timedelta(seconds=10)))
        mirror.go.set()
        assert await running == b"wait"
        await asyncio.wait_for(stopping, 10)


async def test_a_server_that_ends_by_itself_is_a_failure(serving: Serve) -> None:
    async with serving() as (server, _):
        failing = asyncio.ensure_future(server.wait_failed())
        await server._server.stop(0)
        with pytest.raises(ServiceError, match="ended by itself"):
            await asyncio.wait_for(failing, 10)


async def test_messages_are_bounded(serving: Serve) -> None:
    async with serving() as (server, _), connected(f"localhost:{server.port}") as connection:
        assert len(await call(connection, b"x" * (4 << 20))) == 4 << 20
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(connection, b"x" * (MAX_MESSAGE_BYTES + 1))
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class Authority:
    """A certificate authority of one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = folder / f"{name}.pem"
        certificate = self._sign(self._subject, self._key.public_key(), ca=True)
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), ca=False)
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _sign(self, subject: x509.Name, key: Any, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("api.test")]
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "one")


async def test_tls(serving: Serve, authority: Authority) -> None:
    certificate, key = authority.issue("server")
    async with serving(ServerTls(certificate, key)) as (server, _):
        address = f"localhost:{server.port}"
        async with connected(address, api_key="k", tls=TlsFiles(authority.ca)) as connection:
            assert await call(connection) == b"Bearer k"
        tls = TlsFiles(authority.ca, server_name="api.test")
        async with connected(address, tls=tls) as connection:
            assert await call(connection, b"x") == b"x"
        async with connected(address, tls=TlsFiles()) as connection:  # the system's authorities
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await call(connection)
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_mtls(serving: Serve, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("server")
    mine, my_key = authority.issue("client")
    foreign, foreign_key = Authority(tmp_path, "two").issue("stranger")
    async with serving(ServerTls(certificate, key, client_ca=authority.ca)) as (server, _):
        address = f"localhost:{server.port}"
        async with connected(address, tls=TlsFiles(authority.ca, mine, my_key)) as connection:
            assert await call(connection, b"x") == b"x"
        for tls in (TlsFiles(authority.ca), TlsFiles(authority.ca, foreign, foreign_key)):
            async with connected(address, tls=tls) as connection:
                with pytest.raises(grpc.aio.AioRpcError):
                    await call(connection)


async def test_a_renewed_certificate_is_served_without_a_restart(
    serving: Serve, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("server")
    async with serving(ServerTls(certificate, key)) as (server, _):
        address = f"localhost:{server.port}"
        async with connected(address, tls=TlsFiles(authority.ca)) as connection:
            await call(connection)
        key.unlink()  # half-written: what was loaded still serves
        async with connected(address, tls=TlsFiles(authority.ca)) as connection:
            await call(connection)
        successor = Authority(tmp_path, "two")
        successor.issue("server")
        for path in (certificate, key):
            os.utime(path, ns=(1, 1))
        async with connected(address, tls=TlsFiles(successor.ca)) as connection:
            assert await call(connection, b"x") == b"x"


async def listed(connection: ApiConnection, version: str) -> set[str]:
    """Names of the services, as a client that knows one version of reflection asks for them."""
    stub: grpc.aio.StreamStreamMultiCallable[Any, Any] = connection.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    answers = [answer async for answer in stub(iter([request]), timeout=10)]
    return {one.name for answer in answers for one in answer.list_services_response.service}


async def test_reflection_is_served_under_both_names(serving: Serve) -> None:
    async with serving() as (server, _), connected(f"localhost:{server.port}") as connection:
        for version in ("v1", "v1alpha"):
            assert await listed(connection, version) == {
                *(_SERVICE, "grpc.health.v1.Health"),
                *(f"grpc.reflection.{each}.ServerReflection" for each in ("v1", "v1alpha")),
            }


async def test_reflection_can_be_off(serving: Serve) -> None:
    off = serving(reflection=False)
    async with off as (server, _), connected(f"localhost:{server.port}") as connection:
        assert await call(connection, b"x") == b"x"
        for version in ("v1", "v1alpha"):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await listed(connection, version)
            assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_v1_describes_itself_as_v1alpha_does_but_for_the_name() -> None:
    add_reflection(grpc.aio.server(), ())
    files = []
    for version in ("v1", "v1alpha"):
        file = FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(REFLECTION_FILES[version]).CopyToProto(file)
        file.ClearField("options")
        files.append(str(file).replace(REFLECTION_FILES[version], "").replace(f".{version}", ""))
    assert files[0] == files[1]
    assert "ListServiceResponse" in files[0]


async def test_wrong_tls_files_are_said(serving: Serve, authority: Authority) -> None:
    certificate, key = authority.issue("server")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        async with serving(ServerTls(certificate, key.with_name("none"))):
            pass
