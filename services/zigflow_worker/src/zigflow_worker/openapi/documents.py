"""An OpenAPI document, and those that its relative `$ref`s lead to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from zigflow_worker.errors import CONFIGURATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.loading import DocumentError
from zigflow_worker.openapi.parsed_texts import ParsedTexts

MAX_DOCUMENTS = 50
"""Documents of one API."""
MAX_CHARACTERS = 4 * 1024 * 1024
"""Characters of all documents of one API: a million of YAML take some ten seconds to read."""
_MAX_REFERENCES = 50
"""References in a row, each to the next."""
_MAX_ALL_REFERENCES = 100_000
"""References followed for one request; a million take a quarter of a minute."""

_PARSED = ParsedTexts(MAX_CHARACTERS)


class MissingDocumentError(LookupError):
    """A document that was not added yet; `uri` is where it is."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.uri = uri


class ApiDocuments:
    """The documents of one API by their URI; the first is the one that was named."""

    def __init__(self, uri: str, text: str) -> None:
        """Read the API's document (raises WorkflowError, of type `configuration`)."""
        self._documents: dict[str, JSON] = {}
        self._characters = 0
        self._references = 0
        self.uri = urldefrag(uri).url
        self.add(self.uri, text)
        self.swagger = self._is_swagger()

    def add(self, uri: str, text: str) -> None:
        """Read one more document (raises WorkflowError, of type `configuration`)."""
        if len(self._documents) >= MAX_DOCUMENTS:
            raise misconfigured(f"it refers to more than {MAX_DOCUMENTS} documents")
        self._characters += len(text)
        if self._characters > MAX_CHARACTERS:
            raise misconfigured(f"its documents have more than {MAX_CHARACTERS} characters")
        try:
            self._documents[uri] = _PARSED.parse(text)
        except DocumentError as error:
            raise misconfigured(f"it cannot be read: {error}") from None

    @property
    def root(self) -> Part:
        """The API's document."""
        return Part(self._documents[self.uri], self.uri, "", self)

    def at(self, uri: str, pointer: str) -> Part:
        """Return a part by its place (raises MissingDocumentError, or WorkflowError)."""
        self._references += 1
        if self._references > _MAX_ALL_REFERENCES:
            raise misconfigured(f"more than {_MAX_ALL_REFERENCES} references were followed in it")
        if uri not in self._documents:
            raise MissingDocumentError(uri)
        part = Part(self._documents[uri], uri, "", self)
        if pointer and not pointer.startswith("/"):
            raise misconfigured(f"the reference '#{_shortened(pointer)}' is no JSON pointer")
        for token in pointer.split("/")[1:]:
            child = part.child(token.replace("~1", "/").replace("~0", "~"))
            if child is None:
                raise misconfigured(f"the reference '#{_shortened(pointer)}' leads nowhere")
            part = child
        return part

    def _is_swagger(self) -> bool:
        fields = self.root.fields()
        swagger, openapi = (_text_of(fields.get(key)) for key in ("swagger", "openapi"))
        if swagger == "2.0":
            return True
        if openapi.startswith(("3.0.", "3.1.")):
            return False
        raise misconfigured(
            "it is of none of the versions supported: OpenAPI 3.0, 3.1, Swagger 2.0"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A value of a document, and its place: `pointer` in the document at `uri`."""

    value: JSON
    uri: str
    pointer: str
    documents: ApiDocuments

    def child(self, key: str | int) -> Part | None:
        """Return an item of this map or list as it is written, None where there is none."""
        if isinstance(self.value, dict) and key in self.value:
            value = self.value[str(key)]
        elif isinstance(self.value, list) and _is_index(str(key), len(self.value)):
            value = self.value[int(key)]
        else:
            return None
        token = str(key).replace("~", "~0").replace("/", "~1")
        return Part(value, self.uri, f"{self.pointer}/{token}", self.documents)

    def resolved(self) -> Part:
        """Return what this part's `$ref` leads to, itself where it has none.

        Raises:
            MissingDocumentError: it leads to a document that was not added yet.
            WorkflowError: of type `configuration`, where it leads nowhere, or off the API's place.
        """
        part = self
        for _ in range(_MAX_REFERENCES):
            reference = part.value.get("$ref") if isinstance(part.value, dict) else None
            if not isinstance(reference, str):
                return part
            part = part.referenced(reference)
        raise misconfigured(f"references lead on and on at '#{_shortened(self.pointer)}'")

    def referenced(self, reference: str) -> Part:
        """Return the part that a reference in this one leads to; raises as `resolved`."""
        try:
            target = urlsplit(reference)
            uri, fragment = urldefrag(urljoin(self.uri, reference))
        except ValueError:
            raise misconfigured(f"the reference '{_shortened(reference)}' is no URI") from None
        if target.scheme or target.netloc:
            shown = _shortened(reference)
            raise misconfigured(
                f"the reference '{shown}' is refused: it has to be local or relative"
            )
        if not (target.path or target.query):
            uri = self.uri
        return self.documents.at(uri, unquote(fragment))

    def get(self, key: str) -> Part | None:
        """Return an item of this map, resolved; None where there is none. Raises as `resolved`."""
        child = self.child(key)
        return None if child is None else child.resolved()

    def fields(self) -> dict[str, Part]:
        """Return the items of this map as they are written (raises WorkflowError for no map)."""
        if not isinstance(self.value, dict):
            raise self.error("expected a map")
        return {key: child for key in self.value if (child := self.child(key)) is not None}

    def items(self) -> Iterator[Part]:
        """Yield the items of this list, resolved (raises WorkflowError for no list)."""
        if not isinstance(self.value, list):
            raise self.error("expected a list")
        for index in range(len(self.value)):
            child = self.child(index)
            if child is not None:
                yield child.resolved()

    def text(self, key: str, default: str = "") -> str:
        """Return the string at a key."""
        return _text_of(self.child(key)) or default

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return the boolean at a key."""
        child = self.child(key)
        return child.value if child is not None and isinstance(child.value, bool) else default

    def error(self, message: str) -> WorkflowError:
        """Return the error to raise for this part."""
        return misconfigured(f"#{_shortened(self.pointer)}: {message}")


def misconfigured(message: str) -> WorkflowError:
    """Return an error of the document."""
    return WorkflowError.of(CONFIGURATION, f"the OpenAPI document: {message}")


def _is_index(key: str, length: int) -> bool:
    return key.isdecimal() and len(key) <= len(str(length)) and int(key) < length


def _text_of(part: Part | None) -> str:
    return part.value if part is not None and isinstance(part.value, str) else ""


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:197]}..."
