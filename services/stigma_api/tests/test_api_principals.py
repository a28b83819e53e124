"""Principals: the file, who is found by what, and what they may do."""

from __future__ import annotations

import hashlib
from pathlib import Path

import grpc
import pytest

from stigma.contracts.executions import Kind
from stigma_api.access.authentication import Authenticator
from stigma_api.access.principals import LOCAL, Action, Principal, Principals, PrincipalsError
from stigma_api.errors import ApiError

FILE = """
principals:
  - name: billing
    key_sha256: [{key}]
    certificates: [billing.example.org]
    actions: [agents.read, executions.start]
    agents: ["billing-*", reviewer]
    workflows: [invoice]
    callback_namespaces: [payments]
    workflow_id_prefixes: [order-]
    callbacks_enabled: false
  - name: ops
    actions: [admin]
    certificates: [ops.example.org, "spiffe://cluster/ops"]
"""


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def load(tmp_path: Path, text: str) -> Principals:
    path = tmp_path / "principals.yaml"
    path.write_text(text)
    return Principals.load(path)


def test_a_file_says_who_may_do_what(tmp_path: Path) -> None:
    principals = load(tmp_path, FILE.format(key=sha256("k1").upper()))
    billing = principals.by_key("k1")
    assert billing is not None
    assert billing.name == "billing"
    assert billing.may(Action.EXECUTIONS_START)
    assert not billing.may(Action.EXECUTIONS_READ)
    assert not billing.is_admin
    assert billing.may_use(Kind.AGENT, "billing-monthly")
    assert not billing.may_use(Kind.AGENT, "payroll")
    assert billing.may_use(Kind.WORKFLOW, "invoice")
    assert not billing.may_use(Kind.WORKFLOW, "reviewer")
    assert billing.may_call_back("order-1")
    assert not billing.may_call_back("salary-1")
    assert not billing.callbacks_enabled
    with pytest.raises(ApiError, match=r"principal billing lacks the permission agents\.delete"):
        billing.require(Action.AGENTS_DELETE)
    for kind in Kind:
        with pytest.raises(ApiError, match=f"principal billing may not use {kind} payroll"):
            billing.require_use(kind, "payroll")

    ops = principals.by_certificate(["nobody", "spiffe://cluster/ops"])
    assert ops is not None
    assert ops.may(Action.AGENTS_DELETE)
    assert ops.may_use(Kind.AGENT, "anything")
    assert principals.by_key("k2") is None
    assert principals.by_certificate(["unknown"]) is None
    assert principals.by_certificate([]) is None


def test_without_a_list_of_actions_a_principal_may_do_the_ordinary() -> None:
    principal = Principal(name="p")
    assert [a for a in Action if principal.may(a)] == [
        Action.AGENTS_READ,
        Action.WORKFLOWS_READ,
        Action.EXECUTIONS_START,
        Action.EXECUTIONS_READ,
        Action.EXECUTIONS_CANCEL,
    ]
    assert all(LOCAL.may(action) for action in Action)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("principals: [", "principals.yaml: "),
        ("nobody: []", "principals"),
        ("principals: [{name: a, colour: red}]", "principals.0.colour"),
        ("principals: [{name: a, actions: [everything]}]", "principals.0.actions"),
        ("principals: [{name: a, key_sha256: [secret]}]", "principals.0.key_sha256.0"),
        ("principals: [{name: a, key_sha256: }]", "principals.0.key_sha256"),
        ("principals: [{name: a, key_sha256: secret}]", "principals.0.key_sha256"),
        ('principals: [{name: "o\'brien"}]', "principals.0.name"),
        ("principals: [{name: a}, {name: a}]", "name: a is given twice"),
        (
            f"principals: [{{name: a, key_sha256: ['{'0' * 64}']}},"
            f" {{name: b, key_sha256: ['{'0' * 64}']}}]",
            "key_sha256: a key is given twice",
        ),
        (
            "principals: [{name: a, certificates: [x]}, {name: b, certificates: [x]}]",
            "certificates: x is given twice",
        ),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_place(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(PrincipalsError) as caught:
        load(tmp_path, text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    # What stands where a hash should be may be the key itself.
    assert "secret" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(PrincipalsError, match="No such file"):
        Principals.load(tmp_path / "none.yaml")


CERTIFICATE = {
    "x509_pem_cert": [b"-----BEGIN"],
    "x509_common_name": [b"client-1"],
    "x509_subject_alternative_name": [b"client-1.example.org"],
}


def test_without_principals_everybody_is_local() -> None:
    assert Authenticator(None).authenticate({}, {}) is LOCAL


def test_a_key_or_a_certificate_tells_who_calls() -> None:
    principals = Principals(
        [
            Principal(name="a", key_sha256=[sha256("old"), sha256("new")]),
            Principal(name="b", certificates=["client-1.example.org"]),
        ]
    )
    authenticator = Authenticator(principals)
    for key in ("old", "new"):
        assert authenticator.authenticate({"authorization": f"Bearer {key}"}, {}).name == "a"
    assert authenticator.authenticate({"authorization": "bearer new"}, CERTIFICATE).name == "a"
    assert authenticator.authenticate({}, CERTIFICATE).name == "b"


@pytest.mark.parametrize(
    ("authorization", "peer"),
    [
        ("", {}),
        ("Bearer wrong", CERTIFICATE),
        ("Basic YTpi", CERTIFICATE),
        ("Bearer ", {}),
        # Names without a verified certificate prove nothing.
        ("", {"x509_common_name": [b"client-1"]}),
    ],
)
def test_whoever_is_not_known_is_refused(authorization: str, peer: dict[str, list[bytes]]) -> None:
    principals = Principals(
        [Principal(name="a", key_sha256=[sha256("k")], certificates=["client-1"])]
    )
    with pytest.raises(ApiError) as caught:
        Authenticator(principals).authenticate({"authorization": authorization}, peer)
    assert caught.value.code == grpc.StatusCode.UNAUTHENTICATED
    assert "wrong" not in caught.value.message


def test_with_a_client_ca_alone_a_certificate_is_its_own_principal() -> None:
    principals = Principals((), any_certificate=True)
    found = principals.by_certificate(["client-1", "client-1.example.org"])
    assert found is not None
    assert found.name == "client-1"
    assert found.may(Action.AGENTS_APPLY)
    assert not found.is_admin
    assert principals.by_certificate(["a' OR 1=1"]) is None
