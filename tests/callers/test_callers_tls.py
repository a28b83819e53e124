"""The programs over an encrypted connection, each side with a certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.callers.programs import LANGUAGES, Language, Run, build, copied
from tests.stack.plugin import StartStack

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(params=list(LANGUAGES))
def program(request: pytest.FixtureRequest) -> Language:
    if request.param != "python":
        build(request.param)
    return LANGUAGES[request.param]


@pytest.fixture(scope="module")
async def settings(
    new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What a program needs to reach an API that trusts this certificate, and shows it too."""
    from tests.callers.caller_site import KEY, environment

    directory = tmp_path_factory.mktemp("tls")
    certificate, key = _self_signed(directory)
    api = {
        **environment(directory)["stigma_api"],
        "STIGMA_API_TLS_CERT": certificate,
        "STIGMA_API_TLS_KEY": key,
        "STIGMA_API_TLS_CLIENT_CA": certificate,
    }
    stack = await new_stack(services=["stigma_api"], environment={"stigma_api": api})
    return {
        "STIGMA_API_ADDRESS": stack.api_address,
        "STIGMA_API_KEY": KEY,
        "STIGMA_API_TLS_CA": certificate,
        "STIGMA_API_TLS_CLIENT_CERT": certificate,
        "STIGMA_API_TLS_CLIENT_KEY": key,
        # 127.0.0.1 is not in the certificate.
        "STIGMA_API_TLS_SERVER_NAME": "stigma-api",
    }


async def test_it_reaches_the_api(program: Language, settings: dict[str, str]) -> None:
    run = await Run.start(program, settings, "watch", "--agents", "nobody", "hi")
    await run.ended(code=1)
    assert "nobody not found" in run.error()


async def test_it_does_not_trust_another_name(program: Language, settings: dict[str, str]) -> None:
    renamed = settings | {"STIGMA_API_TLS_SERVER_NAME": "somebody-else"}
    run = await Run.start(program, renamed, "watch", "hi")
    await run.ended(code=1)
    assert "unavailable" in run.error().lower()


async def test_it_keeps_the_key_from_the_network(program: Language) -> None:
    in_clear = {"STIGMA_API_ADDRESS": "stigma-api.example:7300", "STIGMA_API_KEY": "secret-0818"}
    run = await Run.start(program, in_clear, "watch", "hi")
    await run.ended(code=1)
    assert "would be sent in clear" in run.error()
    assert "secret-0818" not in "".join(run.lines)


async def test_it_takes_no_half_made_settings() -> None:
    """Nor does it go on in clear because a word was not understood, as in Python."""
    halves = {
        "a client certificate and its key go together": {"STIGMA_API_TLS_CLIENT_CERT": "tls.crt"},
        "expected true or false": {"STIGMA_API_TLS": "on"},
    }
    runs = [
        (why, await Run.start(language, half, "watch", "hi"))
        for why, half in halves.items()
        for language in copied()
    ]
    for why, run in runs:
        await run.ended(code=1)
        assert run.error().endswith(why)


def _self_signed(directory: Path) -> tuple[str, str]:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stigma-api")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("stigma-api")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate, key = directory / "tls.crt", directory / "tls.key"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(certificate), str(key)
