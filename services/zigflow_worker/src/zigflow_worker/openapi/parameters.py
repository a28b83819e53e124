"""The parameters of an operation, and what a value makes of each."""

from __future__ import annotations

from dataclasses import dataclass

from zigflow_worker.expressions import JSON
from zigflow_worker.openapi.documents import Part
from zigflow_worker.openapi.operations import Operation
from zigflow_worker.openapi.schemas import ValueSchema, invalid
from zigflow_worker.openapi.styles import Style, plain

_DEFAULT_STYLES = {"path": "simple", "header": "simple", "query": "form", "cookie": "form"}
_COLLECTION_FORMATS = {
    "csv": Style("form", explode=False),
    "ssv": Style("spaceDelimited", explode=False),
    "tsv": Style("tabDelimited", explode=False),
    "pipes": Style("pipeDelimited", explode=False),
    "multi": Style("form", explode=True),
}
_IGNORED_HEADERS = frozenset(("accept", "content-type", "authorization"))
"""Names for which OpenAPI 3 has other means."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `place` is `path`, `query`, `header`, `cookie`, `formData` or `body`."""

    name: str
    place: str
    required: bool
    style: Style
    schema: ValueSchema | None
    media_type: str = ""
    """Its own, where it is written in no style."""

    def checked(self, value: JSON) -> JSON:
        """Return a value to write: a scalar for a list is a list of one.

        Raises:
            WorkflowError: of type `validation`.
        """
        if self.schema is None:
            return value
        if self.schema.is_list and not isinstance(value, list):
            value = [value]
        self.schema.check(value, self.name)
        return value

    def written(self, value: JSON) -> JSON:
        """Return a checked value as its style takes it: text, where it has its own media type."""
        return plain(value) if self.media_type else value


def read_parameters(operation: Operation) -> list[Parameter]:
    """Return an operation's parameters, its path's included (raises WorkflowError)."""
    parts: dict[tuple[str, str], Part] = {}
    for owner in (operation.item, operation.part):
        listed = owner.get("parameters")
        for part in listed.items() if listed is not None else ():
            parts[part.text("name"), part.text("in")] = part
    read = _read_swagger if operation.swagger else _read
    return [read(part) for part in parts.values() if not _is_ignored(operation, part)]


def _is_ignored(operation: Operation, part: Part) -> bool:
    is_header = part.text("in") == "header" and not operation.swagger
    return is_header and part.text("name").lower() in _IGNORED_HEADERS


def _read(part: Part) -> Parameter:
    name, place = part.text("name"), part.text("in")
    if not name or place not in _DEFAULT_STYLES:
        raise part.error(
            "expected a parameter: with 'name', and 'in' path, query, header or cookie"
        )
    style = part.text("style", _DEFAULT_STYLES[place])
    content = part.get("content")
    media_type = next(iter(content.fields()), "") if content is not None else ""
    described = part
    if content is not None and media_type:
        described = content.get(media_type) or part
    schema = described.child("schema")
    return Parameter(
        name,
        place,
        required=part.flag("required") or place == "path",
        style=Style(
            style,
            explode=part.flag("explode", default=style == "form"),
            allow_reserved=part.flag("allowReserved"),
        ),
        schema=None if schema is None else ValueSchema(schema),
        media_type=media_type,
    )


def _read_swagger(part: Part) -> Parameter:
    name, place = part.text("name"), part.text("in")
    if not name or place not in ("path", "query", "header", "formData", "body"):
        raise part.error("expected a parameter: with 'name', and 'in' as Swagger 2.0 has it")
    schema = part.child("schema") if place == "body" else part
    listed = _COLLECTION_FORMATS.get(part.text("collectionFormat"), _COLLECTION_FORMATS["csv"])
    style = listed if place in ("query", "formData") else Style("simple", explode=False)
    return Parameter(
        name,
        place,
        required=part.flag("required"),
        style=style,
        schema=None if schema is None else ValueSchema(schema),
    )


def check_given(parameter: Parameter) -> None:
    """Raise WorkflowError, of type `validation`, for a parameter that is required."""
    if parameter.required:
        raise invalid(f"the parameter '{parameter.name}' is required")
