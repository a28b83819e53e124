"""Errors of calls to Temporal, for people."""

from __future__ import annotations

from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts.channels import is_loopback
from stigma_cli.errors import CliError, Exit
from stigma_cli.server_errors import tls_mismatch

_TEMPORAL_TLS = "is TLS wanted there? see TEMPORAL_TLS, TEMPORAL_API_KEY (implies TLS) and profiles"

_TEMPORAL: dict[RPCStatusCode, tuple[Exit, str]] = {
    RPCStatusCode.INVALID_ARGUMENT: (Exit.USAGE, ""),
    RPCStatusCode.ALREADY_EXISTS: (Exit.USAGE, ""),
    RPCStatusCode.NOT_FOUND: (Exit.NOT_FOUND, "see TEMPORAL_NAMESPACE"),
    RPCStatusCode.PERMISSION_DENIED: (Exit.PERMISSION, "see TEMPORAL_API_KEY"),
    RPCStatusCode.UNAUTHENTICATED: (Exit.PERMISSION, "see TEMPORAL_API_KEY"),
}


def from_temporal(error: RPCError | RuntimeError, address: str) -> CliError:
    """Return the error of a failed call to Temporal, for people."""
    if isinstance(error, RPCError) and error.status in _TEMPORAL:
        exit_code, hint = _TEMPORAL[error.status]
        return CliError(f"Temporal: {error.message}", hint, code=exit_code)
    mismatch = tls_mismatch(str(error))
    if mismatch:
        return CliError(f"Temporal at {address} {mismatch}", _TEMPORAL_TLS, code=Exit.UNREACHABLE)
    hint = "start it with `stigma up`, or set TEMPORAL_ADDRESS"
    if is_loopback(address):
        hint = f"{hint}; one in a cluster needs a port-forward of its own, beside the API's"
    return CliError(f"cannot reach Temporal at {address}", hint, code=Exit.UNREACHABLE)
