"""The one reader of YAML files: the engine's rules, with line numbers kept."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag
from ruamel.yaml.tokens import AliasToken

from stigma_cli.alias_expansion import MAX_VALUES, expands_too_far
from stigma_cli.errors import CliError, Exit
from stigma_cli.file_texts import texts
from stigma_cli.places import Place
from stigma_cli.problems import Problem
from stigma_cli.strict_json import TOO_DEEP

# Plain scalars, by YAML 1.2's core schema: a date is a text, as in workflow documents.
_SCALARS = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
    "merge": re.compile(r"<<"),
}

_ALIAS = re.compile(r"(?:^|[\s\[,{:-])\*([^\s,\]}]+)")


class FileError(CliError):
    """A file that cannot be used: `file:line:column: message (pointer)`.

    Args:
        path: of the file.
        place: in it; None where that is not known.
        message: what is wrong there.
    """

    def __init__(self, path: str, place: Place | None, message: str) -> None:
        self.problem = Problem(*(place or (0, 0, "")), message)
        super().__init__(self.problem.in_file(path), code=Exit.USAGE)


def parse_documents(name: str, text: str) -> list[Any]:
    """Parse YAML 1.2, with line numbers kept.

    Raises:
        FileError: it is not YAML, or its aliases make too much of it.
    """
    documents, too_far = _load(name, text)
    if too_far:
        message = f"with its aliases written out it has more than {MAX_VALUES:,} values"
        raise FileError(name, None, message)
    return documents


def _load(name: str, text: str) -> tuple[list[Any], bool]:
    """Return the documents of a text, and whether their aliases make too much of it."""
    try:
        documents = [document for document in _yaml().load_all(text) if document is not None]
        return documents, any(map(expands_too_far, documents))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = Place(mark.line + 1, mark.column + 1, "") if mark else None
        raise FileError(name, place, str(error.problem or error.context)) from None
    except (YAMLError, ValueError) as error:  # a number of too many digits
        raise FileError(name, None, str(error)) from None
    except AttributeError:  # ruamel's
        raise FileError(name, None, "a map is merged into itself (<<)") from None
    except RecursionError:
        raise FileError(name, None, TOO_DEEP) from None


@dataclass(frozen=True)
class YamlFile:
    """A YAML file that is parsed once, for all who read it."""

    name: str
    """In messages."""
    text: str
    documents: Sequence[Any]
    """Of the file, with their places; none where it is no YAML."""
    error: FileError | None = None
    """The reason why it is not YAML, or cannot be read; None: it is YAML."""

    def parsed(self) -> Sequence[Any]:
        """Return the documents.

        Raises:
            FileError: it is not YAML, or cannot be read.
        """
        if self.error is not None:
            raise self.error
        return self.documents


def parse_file(name: str, text: str) -> YamlFile:
    """Parse the text of a file; its error is kept."""
    try:
        return YamlFile(name, text, parse_documents(name, text))
    except FileError as error:
        return YamlFile(name, text, (), error)


def parse_files(paths: Iterable[Path]) -> list[YamlFile]:
    """Parse files, the files in directories, and stdin ("-"); errors are kept with each."""
    return [
        YamlFile(each.name, "", (), FileError(each.name, None, each.problem))
        if each.problem
        else parse_file(each.name, each.text)
        for each in texts(paths)
    ]


def dump_document(document: Any) -> str:
    """Return a document of `parse_documents` as a text of its own.

    Raises:
        ValueError: it is nested too deeply.
    """
    text = io.StringIO()
    try:
        _yaml().dump(document, text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    return text.getvalue()


def has_outer_alias(text: str) -> bool:
    """Return whether a part of a file, which is YAML, has aliases of what is not in the part."""
    suspects = [name for name in _ALIAS.findall(text) if f"&{name}" not in text]
    if not suspects:
        return False
    # Many are none: "**" in a text, "*" in an expression.
    try:
        aliases = {token.value for token in _yaml().scan(text) if isinstance(token, AliasToken)}
    except YAMLError:
        return True  # not known, then
    return not aliases.isdisjoint(suspects)


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.Resolver = _CoreSchemaResolver
    yaml.composer.warn_double_anchors = False  # YAML allows them, and the engine does
    return yaml


class _CoreSchemaResolver(VersionedResolver):
    """Resolves plain scalars as the engine does."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is not ScalarNode or not implicit[0]:
            return super().resolve(kind, value, implicit)
        found = (name for name, text in _SCALARS.items() if text.fullmatch(value))
        return Tag(suffix=f"tag:yaml.org,2002:{next(found, 'str')}")
