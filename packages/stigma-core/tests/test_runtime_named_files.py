"""Files that variables name: each problem says the variable and the file."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stigma.runtime.errors import ConfigurationError
from stigma.runtime.named_files import (
    check_trusted_authorities,
    missing_folder,
    unreadable_file,
    unusable_authorities,
    unusable_key_pair,
    warn_of_missing_folder,
)

PAIR = "CERT", "KEY"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The files of a certificate, which is an authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "ca.pem", tmp_path / "ca.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(private_bytes(key, serialization.NoEncryption()))
    return files


def private_bytes(
    key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def test_files_that_are_right_have_no_problems(pair: tuple[Path, Path]) -> None:
    assert not [*unreadable_file("FILE", None), *unreadable_file("FILE", pair[0])]
    assert not [*unusable_authorities("CA", None), *unusable_authorities("CA", pair[0])]
    assert not [*unusable_key_pair(PAIR, *pair), *unusable_key_pair(PAIR, None, None)]
    assert not [*missing_folder("DB", None), *missing_folder("DB", pair[0].with_name("new"))]
    check_trusted_authorities({})
    check_trusted_authorities({"SSL_CERT_FILE": str(pair[0]), "SSL_CERT_DIR": "/none"})
    check_trusted_authorities({"SSL_CERT_FILE": "", "SSL_CERT_DIR": f"/none:{pair[0].parent}"})


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert [*unreadable_file("FILE", none)] == [
        f"FILE: '{none}' cannot be read: No such file or directory"
    ]
    assert [*missing_folder("DB", none / "db")] == [f"DB: there is no folder '{none}'"]
    assert [*unusable_authorities("CA", tmp_path)] == [
        f"CA: '{tmp_path}' cannot be read: Is a directory"
    ]
    assert [each.split(":")[0] for each in unusable_key_pair(PAIR, none, none)] == ["CERT", "KEY"]


def test_files_of_other_contents(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    text = tmp_path / "text"
    text.write_text("no PEM")
    assert [*unusable_authorities("CA", text)] == [f"CA: '{text}' has no certificates (PEM)"]
    [problem] = unusable_key_pair(PAIR, pair[0], text)
    assert problem.startswith(f"CERT, KEY: '{pair[0]}' and '{text}' are no certificate chain")
    encrypted = tmp_path / "encrypted.key"
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted.write_bytes(private_bytes(key, serialization.BestAvailableEncryption(b"sesame")))
    [problem] = unusable_key_pair(PAIR, pair[0], encrypted)
    assert "not encrypted" in problem
    assert "sesame" not in problem


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_authorities_of_calls_name_their_variable(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: .*'/none/ca'"):
        check_trusted_authorities({name: "/none/ca"})


def test_a_folder_may_come_later(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        warn_of_missing_folder("STIGMA_SECRETS_DIR", None)
        warn_of_missing_folder("STIGMA_SECRETS_DIR", tmp_path)
        warn_of_missing_folder("STIGMA_SECRETS_DIR", tmp_path / "none")
    assert logs == [
        {
            "event": "folder_missing",
            "variable": "STIGMA_SECRETS_DIR",
            "folder": str(tmp_path / "none"),
            "log_level": "warning",
        }
    ]
