"""Places of problems in the file that a workflow document is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import LiteralScalarString

from stigma_cli.places import place_of_child
from stigma_cli.problems import Problem
from stigma_cli.written_documents import lines_of, written_document
from stigma_cli.yaml_files import YamlFile, dump_document


@dataclass(frozen=True)
class EnvelopedDocument:
    """A workflow document as `spec.document` of a file's envelope."""

    text: str
    """Of the document: as it is written, or else as what is read means."""
    index: int
    """Of its envelope in the file."""
    spec: CommentedMap
    lines: Sequence[str]
    """Of the file."""
    written_at: tuple[int, int] | None
    """Line and column, from 0, where the text begins in the file; None: it is not as written."""

    def place(self, problem: Problem) -> Problem:
        """Return a problem with its place in the file, or with that of the whole document."""
        document = self.spec["document"]
        if self.written_at is not None:
            line, column = self.written_at
            first = column if problem.line == 1 else 0
            return replace(problem, line=line + problem.line, column=first + problem.column)
        if isinstance(document, CommentedMap):
            line, column = _place_in(self.spec, document, problem.pointer)
            return replace(problem, line=line, column=column)
        place = place_of_child(self.spec, "document")
        if place is not None and isinstance(document, LiteralScalarString):
            first = int(self.spec.lc.value("document")[0]) + 1
            block = [each for each in self.lines[first:] if each.strip()]
            indent = len(block[0]) - len(block[0].lstrip(" ")) if block else 0
            return replace(problem, line=first + problem.line, column=indent + problem.column)
        message = f"line {problem.line} of the document: {problem.message}"
        return Problem(*(place or _start(self.spec)), problem.pointer, message)


def enveloped_documents(file: YamlFile) -> Iterator[EnvelopedDocument]:
    """Yield the workflow documents of a file's envelopes that have one."""
    lines = lines_of(file.text)
    for index, envelope in enumerate(file.documents):
        spec = envelope.get("spec") if isinstance(envelope, Mapping) else None
        if not isinstance(spec, CommentedMap):
            continue
        document = spec.get("document")
        if isinstance(document, str):
            yield EnvelopedDocument(document, index, spec, lines, None)
        elif isinstance(document, CommentedMap):
            written = written_document(spec, file.text, lines)
            text, at = written or (_dumped(document), None)
            yield EnvelopedDocument(text, index, spec, lines, at)


def _dumped(document: CommentedMap) -> str:
    try:
        return dump_document(document)
    except ValueError:  # nested too deeply, which the reader of envelopes tells
        return ""


def _place_in(spec: CommentedMap, document: Any, pointer: str) -> tuple[int, int]:
    """Return line and column of a pointer, or of the nearest parent that is there."""
    place, found = place_of_child(spec, "document") or _start(spec), document
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, CommentedMap) and key in found:
            place, found = place_of_child(found, key) or place, found[key]
        elif isinstance(found, CommentedSeq) and key.isdigit() and int(key) < len(found):
            place, found = place_of_child(found, int(key)) or place, found[int(key)]
        else:
            break
    return place


def _start(values: CommentedMap) -> tuple[int, int]:
    return values.lc.line + 1, values.lc.col + 1
