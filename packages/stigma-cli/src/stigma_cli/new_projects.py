"""The projects that `stigma init` writes: which files each has, and from where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stigma_cli.examples import shared_path


class Language(StrEnum):
    """The language of a project's caller."""

    PYTHON = "python"
    GO = "go"
    JAVA = "java"
    TYPESCRIPT = "typescript"


@dataclass(frozen=True)
class Part:
    """A file, or a folder with all below, that a project has a copy of.

    Attributes:
        source: where it is, below the directory that has `examples` and `protos`.
        target: where it goes, below the project.
        changes: texts of a file that are others in the project.
    """

    source: str
    target: str
    changes: tuple[tuple[str, str], ...] = ()

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the path below the project, and the content, of each file.

        Raises:
            CliError: it is nowhere.
            ValueError: it does not have a text that is to be changed.
        """
        source = shared_path(self.source)
        if source.is_file():
            yield self.target, self._changed(source)
            return
        for file in _files_below(source):
            yield str(Path(self.target, file.relative_to(source))), file.read_bytes()

    def _changed(self, source: Path) -> bytes:
        if not self.changes:
            return source.read_bytes()
        text = source.read_text(encoding="utf-8")
        for old, new in self.changes:
            if old not in text:
                raise ValueError(f"{source} does not have {old!r}")
            text = text.replace(old, new)
        return text.encode()


def project_files(language: Language) -> dict[str, bytes]:
    """Return the files of a new project: their paths below it, and their contents.

    Raises:
        CliError: one of its parts is nowhere.
    """
    return dict(file for part in _PROJECTS[language] for file in part.files())


def _files_below(directory: Path) -> Iterator[Path]:
    """Yield the files of a directory and those below, without what Python leaves there."""
    for each in sorted(directory.iterdir()):
        if not each.is_dir():
            yield each
        elif each.name != "__pycache__":
            yield from _files_below(each)


def _copied(folder: str, *names: str) -> tuple[Part, ...]:
    """Return parts that have the same names in the project."""
    return tuple(Part(f"{folder}/{name}", name) for name in names)


_GO = "examples/callers/go"
_JAVA = "examples/callers/java"
_TYPESCRIPT = "examples/callers/typescript"
_HELPER_OF_JAVA = "src/main/java/dev/stigma/caller"

_DEFINITIONS = _copied("examples/new-project", "greeter.yaml", "workflow.yaml")
_PROTOS = _copied(".", "protos/stigma/agent", "protos/stigma/workflow")

_PROJECTS: Mapping[Language, tuple[Part, ...]] = {
    Language.PYTHON: (Part("examples/new-project", ""),),
    Language.GO: (
        *_DEFINITIONS,
        Part("examples/new-project-go", ""),
        *_copied(_GO, "go.sum", "gen", "stigma"),
        Part(
            f"{_GO}/go.mod",
            "go.mod",
            (("module github.com/stigma-dev/stigma/examples/callers/go", "module greeter"),),
        ),
    ),
    Language.JAVA: (
        *_DEFINITIONS,
        Part("examples/new-project-java", ""),
        *_copied(_JAVA, _HELPER_OF_JAVA),
        *_PROTOS,
        Part(
            f"{_JAVA}/pom.xml",
            "pom.xml",
            (
                ("<groupId>dev.stigma.examples</groupId>", "<groupId>greeter</groupId>"),
                ("<artifactId>callers</artifactId>", "<artifactId>greeter</artifactId>"),
                ("<finalName>callers</finalName>", "<finalName>greeter</finalName>"),
                ("target/callers.jar", "target/greeter.jar"),
                ("dev.stigma.examples.Main", "greeter.Greeter"),
                (
                    "    <!-- In a project of your own: copy the protos to src/main/protobuf, and"
                    " drop this. -->\n",
                    "",
                ),
                ("${project.basedir}/../../../protos", "${project.basedir}/protos"),
            ),
        ),
    ),
    Language.TYPESCRIPT: (
        *_DEFINITIONS,
        Part("examples/new-project-typescript", ""),
        *_copied(_TYPESCRIPT, "tsconfig.json", "generate.ts", "bundle.ts", "src/stigma"),
        *_PROTOS,
        Part(
            f"{_TYPESCRIPT}/package.json",
            "package.json",
            (('"name": "stigma-callers"', '"name": "greeter"'), ('"../../../protos"', '"protos"')),
        ),
    ),
}
