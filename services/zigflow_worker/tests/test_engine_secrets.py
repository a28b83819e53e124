"""Secrets: files and folders, the hosts they may go to, and what never shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zigflow_worker.errors import AUTHORIZATION, WorkflowError
from zigflow_worker.expressions import JSON, keys_read
from zigflow_worker.outgoing.secrets import CallSecrets, SecretDirectory


def refusal(name: str, directory: Path | None, *declared: str) -> str:
    """Why a secret is not to be had."""
    with pytest.raises(WorkflowError) as failure:
        CallSecrets(SecretDirectory(directory), declared or (name,)).value(name)
    problem = failure.value.problem
    assert (problem["type"], problem["status"]) == (AUTHORIZATION.uri, 403)
    return str(problem["detail"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("s3same", "s3same"),
        ("s3same\n", "s3same"),
        ("two\nlines\n", "two\nlines"),
        ('{"user": "u", "n": 1}', {"user": "u", "n": 1}),
        ("{not json", "{not json"),
        ("[1]", "[1]"),
        ("", ""),
    ],
)
def test_a_file(tmp_path: Path, text: str, value: JSON) -> None:
    (tmp_path / "key").write_text(text)
    assert CallSecrets(SecretDirectory(tmp_path), ["key"]).value("key") == value


def test_a_folder_is_an_object(tmp_path: Path) -> None:
    """As Kubernetes mounts one: files are links into a folder that is switched."""
    mounted = tmp_path / "db"
    (mounted / "..2026").mkdir(parents=True)
    (mounted / "..2026" / "user").write_text("u\n")
    (mounted / "..data").symlink_to("..2026")
    (mounted / "user").symlink_to("..data/user")
    (mounted / "folder").mkdir()
    assert CallSecrets(SecretDirectory(tmp_path), ["db"]).value("db") == {"user": "u"}


def test_it_is_read_at_each_use(tmp_path: Path) -> None:
    secrets = CallSecrets(SecretDirectory(tmp_path), ["key"])
    for value in ("old", "new"):
        (tmp_path / "key").write_text(value)
        assert secrets.value("key") == value


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "many").mkdir()
    for number in range(101):
        (tmp_path / "many" / str(number)).touch()
    assert "there is no secret 'x'" in refusal("x", tmp_path)
    assert "STIGMA_SECRETS_DIR is not set" in refusal("x", None)
    assert "not declared" in refusal("large", tmp_path, "other")
    for name in ("large", "binary", "many"):
        assert "cannot be read" in refusal(name, tmp_path)


def test_hosts_that_a_secret_may_go_to(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    (tmp_path / "key.hosts").write_text("# ours\n*.Example.com\nlocalhost\n")
    secrets = CallSecrets(SecretDirectory(tmp_path), ["key"])
    secrets.check_host("anywhere.org")
    assert not secrets.used
    secrets.value("key")
    assert secrets.used
    for host in ("api.example.com", "API.EXAMPLE.COM.", "localhost"):
        secrets.check_host(host)
    for host in ("example.com", "api.example.com.evil.org", "evil.org", ""):
        with pytest.raises(WorkflowError, match="may not go to the host") as failure:
            secrets.check_host(host)
        assert failure.value.problem["status"] == 403


def test_hosts_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    (tmp_path / "key.hosts").write_bytes(b"\xff")
    assert "the hosts of the secret" in refusal("key", tmp_path)


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("${ $secrets.a }", {"a"}),
        ('$secrets["a b"].c + $secrets.d?', {"a b", "d"}),
        ('"Bearer \\($secrets.a)"', {"a"}),
        ("{x: [.y | select($secrets.a)]}", {"a"}),
        ("if . then $secrets.a else $secrets.b.c end", {"a", "b"}),
        ("reduce .[] as $x ($secrets.a; . + $x)", {"a"}),
        ("def f($x): $secrets.a; f(1)", {"a"}),
        ("try $secrets.a catch .", {"a"}),
        ("$secrets", {None}),
        ("{$secrets}", {None}),
        ("$secrets[.name]", {None}),
        ("$secrets | .a", {None}),
        ("$secrets[]", {None}),
        (".secrets.a", set()),
        ('"$secrets.a"', set()),
        ("$secretsX.a", set()),
        ("$secrets.a +", set()),
    ],
)
def test_keys_that_an_expression_reads(source: str, keys: set[str | None]) -> None:
    assert keys_read(source, "secrets") == keys


def test_secrets_that_json_holds_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(json.dumps({"n": 10**25}))
    assert SecretDirectory(tmp_path).read("key") == {"n": 10**25}
