"""The operation that an id names, and where it is served."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from stigma.contracts.spelling import did_you_mean
from zigflow_worker.openapi.documents import Part, misconfigured

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `part` of `item`, the path's own part."""

    method: str
    path: str
    item: Part
    part: Part

    @property
    def swagger(self) -> bool:
        """Whether its document is of Swagger 2.0."""
        return self.part.documents.swagger


def find_operation(root: Part, operation_id: str) -> Operation:
    """Return the operation with an id (raises WorkflowError, of type `configuration`)."""
    paths = root.get("paths")
    others = []
    for path, written in ({} if paths is None else paths.fields()).items():
        item = written.resolved()
        for method in _METHODS:
            part = item.get(method)
            if part is None:
                continue
            if (found := part.text("operationId")) == operation_id:
                return Operation(method.upper(), path, item, part)
            others.append(found)
    meant = did_you_mean(operation_id, others)
    raise misconfigured(f"it has no operation '{operation_id}'{meant}")


def base_url(operation: Operation) -> str:
    """Return the absolute URL that an operation's path is appended to.

    Raises:
        WorkflowError: of type `configuration`, where the document does not say.
    """
    root = operation.part.documents.root
    try:
        url = _swagger_url(operation, root) if operation.swagger else _server_url(operation, root)
        parts = urlsplit(url)
    except ValueError:
        raise misconfigured("it names no server: what it has is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise misconfigured(f"it names no server: '{url}' is no address of HTTP")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _server_url(operation: Operation, root: Part) -> str:
    for part in (operation.part, operation.item, root):
        servers = part.get("servers")
        first = next(servers.items(), None) if servers is not None else None
        if first is not None:
            # In an API's own document: a path of another one is served as the API is.
            return urljoin(root.uri, _with_defaults(first))
    return urljoin(root.uri, "/")


def _with_defaults(server: Part) -> str:
    variables = server.get("variables")

    def default(match: re.Match[str]) -> str:
        variable = None if variables is None else variables.get(match[1])
        value = None if variable is None else variable.child("default")
        if value is None or not isinstance(value.value, str):
            raise server.error(f"the server's variable '{match[1]}' has no default")
        return value.value

    return _VARIABLE.sub(default, server.text("url", "/"))


def _swagger_url(operation: Operation, root: Part) -> str:
    own = urlsplit(root.uri)
    schemes = operation.part.get("schemes") or root.get("schemes")
    names = [each.value for each in schemes.items()] if schemes is not None else []
    if own.scheme in names or not names:
        scheme = own.scheme
    else:
        scheme = "https" if "https" in names else str(names[0])
    path = root.text("basePath", "/")
    return f"{scheme}://{root.text('host', own.netloc)}/{path.lstrip('/')}"
