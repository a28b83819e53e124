"""Errors of calls to Stigma's API, for people."""

from __future__ import annotations

import os
import re

import grpc

from stigma.contracts.executions import Kind
from stigma_cli.errors import CliError, Exit
from stigma_cli.violations import reason_of, violations_of


def from_grpc(error: grpc.aio.AioRpcError, address: str) -> CliError:
    """Return the error of a failed call to the API, for people."""
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        if _was_answered(error):
            hint = _ENGINE if _NO_ENGINE in (error.details() or "") else _BEHIND
            return CliError(f"{error.details()}", hint, code=Exit.UNREACHABLE)
        mismatch = tls_mismatch(error.details() or "")
        if mismatch:
            return CliError(
                f"Stigma's API at {address} {mismatch}", _API_TLS, code=Exit.UNREACHABLE
            )
        return CliError(
            f"cannot reach Stigma's API at {address}",
            _with_tls("start it with `stigma up`, or set STIGMA_API_ADDRESS"),
            code=Exit.UNREACHABLE,
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and not _was_answered(error):
        return no_answer(address)
    exit_code, hint = _API.get(code, (Exit.FAILED, ""))
    reason = reason_of(error)
    if reason in _REASONS:
        hint = _REASONS[reason]
    elif code is grpc.StatusCode.NOT_FOUND:
        hint = _list_hint(error.details() or "")
    found, others = violations_of(error)
    if found:
        first, *more = [*map(str, found), *filter(None, [others])]
        return CliError(first, hint, code=exit_code, more=more, reason=reason, violations=found)
    return CliError(f"{error.details() or code.name}", hint, code=exit_code, reason=reason)


def no_answer(address: str) -> CliError:
    """Return the error of an API that does not answer in time."""
    return CliError(
        f"Stigma's API at {address} did not answer in time",
        "see its log and that of Temporal, or set STIGMA_API_ADDRESS",
        code=Exit.UNREACHABLE,
    )


def _with_tls(hint: str) -> str:
    """Add TLS to a hint where it is used: of a name's addresses gRPC reports one at random."""
    wanted = any(os.environ.get(name) for name in ("STIGMA_API_TLS", "STIGMA_API_TLS_CA"))
    return f"{hint}; {_API_TLS}" if wanted else hint


def _list_hint(details: str) -> str:
    """Return what shows what there is, by the text about what is not found."""
    found = _NOT_FOUND.fullmatch(details)
    if found is None:
        return ""
    if found["execution"] is None:
        return f"`stigma {found['noun'].strip()} list` shows what there is"
    kind = Kind.of_id(found["id"])
    if kind is None:
        return "runs of `stigma run` are in Temporal; `stigma execution list` shows executions"
    option = " --workflows" if kind is Kind.WORKFLOW else ""
    return f"`stigma execution list{option}` shows what there is"


def _was_answered(error: grpc.aio.AioRpcError) -> bool:
    """Return whether the API itself answered: then what is behind it is unavailable."""
    return any(key == _STATUS_DETAILS for key, _ in error.trailing_metadata() or ())


def tls_mismatch(details: str) -> str:
    """Return what a failed connection says about TLS, by the libraries' texts; "" for nothing."""
    return next((what for sign, what in _TLS_SIGNS.items() if sign in details), "")


_BEHIND = "try again; `stigma doctor` shows which server does not answer"
_NO_ENGINE = "no workflow engine checked"
_ENGINE = "start zigflow_worker, or see whether it hangs: `stigma doctor` shows its task queue"
_STATUS_DETAILS = "grpc-status-details-bin"

# What helps, by the reason of a refused answer or message.
_REASONS = {
    "INPUT_NOT_FOUND": "`stigma inputs list` shows what is waited for",
    "INPUT_RESOLVED": "nothing was changed; `stigma execution watch` shows what becomes of it",
    "INPUT_EXPIRED": "nothing was changed; `stigma execution watch` shows what becomes of it",
    "DIGEST_MISMATCH": "nothing was changed; look at the arguments again: `stigma inputs get`",
    "SELF_APPROVAL": "ask somebody else with the permission executions.approve",
    "NOT_AN_APPROVER": "`stigma inputs get` shows who may answer",
    "SCHEMA_MISMATCH": "`stigma inputs get` shows the schema; what is no text is given by --json",
    "ANSWER_NOT_ALLOWED": "`stigma inputs get` shows what is waited for",
    "NOT_RUNNING": "`stigma execution get` shows how it ended",
    "TOOL_WORKFLOW_NOT_FOUND": "`stigma workflow apply` registers it",
    "TOOL_AGENT_NOT_FOUND": "`stigma agent apply` registers it",
    "NEXUS_ENDPOINT_NOT_FOUND": "`temporal operator nexus endpoint list` shows what there is",
    "SESSION_BUSY": "`stigma session show` names them",
    "MESSAGES_NOT_TAKEN": "only agents with tools take messages; start it again with the message",
}

_NOT_FOUND = re.compile(
    r"(?P<noun>agent |workflow )?(?P<execution>execution )?(?P<id>[^ ]+) not found"
)
_API_TLS = "see STIGMA_API_TLS and STIGMA_API_TLS_CA"

# Texts of BoringSSL (gRPC) and rustls (Temporal's SDK).
_TLS_SIGNS = {
    "WRONG_VERSION_NUMBER": "does not speak TLS",
    "InvalidContentType": "does not speak TLS",
    "CERTIFICATE_VERIFY_FAILED": "has a certificate that is not trusted",
    "UnknownIssuer": "has a certificate that is not trusted",
    "NotValidForName": "has a certificate of another name",
}

_API: dict[grpc.StatusCode, tuple[Exit, str]] = {
    grpc.StatusCode.INVALID_ARGUMENT: (Exit.USAGE, ""),
    grpc.StatusCode.ALREADY_EXISTS: (Exit.USAGE, ""),
    grpc.StatusCode.DEADLINE_EXCEEDED: (Exit.UNREACHABLE, _BEHIND),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Exit.UNREACHABLE, "try again later"),
    grpc.StatusCode.NOT_FOUND: (Exit.NOT_FOUND, ""),
    grpc.StatusCode.PERMISSION_DENIED: (Exit.PERMISSION, "ask an operator for the permission"),
    grpc.StatusCode.UNAUTHENTICATED: (Exit.PERMISSION, "set STIGMA_API_KEY to a valid key"),
}
