"""Writes what follows from the charts' values.yaml: shared sections, schemas, README tables.

`python tools/charts/generate.py` writes, with `--check` it only says what is not fresh (exit 1).

In values.yaml every value has a comment above it: `# -- ` and its description, which may go on in
further comment lines, and perhaps one line `# @schema {…}` with JSON Schema that is merged over
what its default says. `# @root {…}` is merged over the schema of the whole chart. The part below
the line that starts with `# ====` comes from tools/charts/sections.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "deploy" / "helm"
SECTIONS = Path(__file__).parent / "sections"

WORKERS = ("stigma-orchestrator", "ai-worker", "zigflow-worker")
SERVICES = ("stigma-api", *WORKERS)
OUTBOUND = ("ai-worker", "zigflow-worker")
UMBRELLA = "stigma"

# What the umbrella gives all charts at once, as `global.stigma`.
GLOBAL = (
    "image",
    "temporal",
    "taskQueuePrefix",
    "log",
    "otel",
    "versioning",
    "networkPolicy",
    "egress",
    "monitoring",
    "tests",
)
# Of those, what each chart has its own of.
NOT_GLOBAL = {("image", "repository"), ("image", "digest")}

_BELOW = "# ===="
_TABLE = "<!-- values: written by `make charts-docs` -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9-]*):(?: (?P<value>.*))?$")


@dataclass
class Value:
    """A value: a leaf with its default, or a section with its children."""

    name: str
    description: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    default: Any = None
    children: list[Value] = field(default_factory=list)


@dataclass
class Values:
    """The values of a chart."""

    tree: list[Value]
    root_schema: dict[str, Any]


def generate() -> dict[Path, str]:
    """Return every generated file and its content."""
    files = {}
    global_schema = _object([*global_values(), _UMBRELLA_MARK])
    for chart in (*SERVICES, UMBRELLA):
        directory = CHARTS / chart
        text = _with_sections(chart, (directory / "values.yaml").read_text())
        values = parse(text)
        files[directory / "values.yaml"] = text
        schema = _schema(chart, values, global_schema)
        files[directory / "values.schema.json"] = json.dumps(schema, indent=1) + "\n"
        readme = directory / "README.md"
        shared = global_values() if chart == UMBRELLA else []
        files[readme] = _readme(readme.read_text(), values, shared)
    return files


def parse(text: str) -> Values:
    """Read values with their documentation.

    Raises:
        ValueError: a value has no description, or its default is not on its line.
    """
    root = Value("")
    stack: list[tuple[int, Value]] = [(-1, root)]
    comment: list[str] = []
    root_schema: dict[str, Any] = {}
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# @root "):
            root_schema = json.loads(stripped.removeprefix("# @root "))
        elif stripped.startswith("#"):
            comment.append(stripped)
        elif not stripped:
            comment = []
        else:
            matched = _KEY.match(line)
            if matched is None:
                raise ValueError(f"not understood: {line!r}")
            indent = len(matched["indent"])
            while stack[-1][0] >= indent:
                stack.pop()
            value = _value(matched["key"], matched["value"], comment)
            stack[-1][1].children.append(value)
            if matched["value"] is None:
                stack.append((indent, value))
            elif not value.description:
                raise ValueError(f"{value.name} has no description")
            comment = []
    return Values(root.children, root_schema)


def leaves(values: list[Value], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Every value that can be set, with its path."""
    for value in values:
        path = f"{prefix}{value.name}"
        if value.children:
            yield from leaves(value.children, f"{path}.")
        else:
            yield path, value


def global_values() -> list[Value]:
    """What the umbrella gives all charts, below `global.stigma`."""
    return [
        Value(
            value.name,
            value.description,
            value.schema,
            value.default,
            [child for child in value.children if (value.name, child.name) not in NOT_GLOBAL],
        )
        for value in parse(_sections("common", "worker", "outbound")).tree
        if value.name in GLOBAL
    ]


def _value(name: str, default: str | None, comment: list[str]) -> Value:
    description, schema = [], {}
    for line in comment:
        if line.startswith("# @schema "):
            schema = json.loads(line.removeprefix("# @schema "))
        elif line.startswith("# -- "):
            description = [line.removeprefix("# -- ")]
        elif description:
            description.append(line.removeprefix("# "))
    parsed = None if default is None else YAML(typ="safe", pure=True).load(default)
    return Value(name, " ".join(description), schema, parsed)


def _sections(*names: str) -> str:
    return "\n".join((SECTIONS / f"{name}.yaml").read_text() for name in names)


def _with_sections(chart: str, text: str) -> str:
    own, separator, rest = text.partition(f"\n{_BELOW}")
    if not separator:
        raise ValueError(f"{chart}/values.yaml has no line that starts with {_BELOW}")
    head = f"{own}{separator}{rest.partition(chr(10))[0]}\n\n"
    if chart == UMBRELLA:
        lines = _global_text(_sections("common", "worker", "outbound"))
        return head + _GLOBAL_HEAD + "\n".join(_commented_out(lines)) + _MARK_TEXT
    names = ["common"]
    names += ["worker"] if chart in WORKERS else []
    names += ["outbound"] if chart in OUTBOUND else []
    return head + _sections(*names).replace("@CHART@", chart)


_GLOBAL_HEAD = """\
# What is set in `global.stigma` wins over each chart's own value. Nothing is by default.
global:
  stigma:
"""
_MARK_TEXT = """

    # -- Tells the charts that they are installed together. Not to be changed.
    umbrella: true
"""
_UMBRELLA_MARK = Value("umbrella", "", {}, True)


def _global_text(text: str) -> list[str]:
    """The lines of the sections that are global."""
    kept: list[str] = []
    comment: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        matched = _KEY.match(line)
        if matched is None:
            comment.append(line)
            continue
        depth = len(matched["indent"]) // 2
        path = [*path[:depth], matched["key"]]
        if path[0] in GLOBAL and tuple(path) not in NOT_GLOBAL:
            kept += [*comment, line]
        comment = []
    return kept


def _commented_out(lines: list[str]) -> list[str]:
    while lines and not lines[0]:
        lines = lines[1:]
    shown = [line for line in lines if "# @schema " not in line]
    return [f"    # {line}".rstrip() for line in shown]


def _schema(chart: str, values: Values, global_schema: dict[str, Any]) -> dict[str, Any]:
    schema = _object([value for value in values.tree if value.name != "global"])
    schema["properties"]["global"] = {
        "type": "object",
        "description": "Values for all charts; other charts may keep theirs here too.",
        "properties": {"stigma": global_schema},
    }
    # Helm puts the library's (empty) values there.
    schema["properties"]["stigma-lib"] = {"type": "object"}
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": chart}
    return title | schema | values.root_schema


def _object(values: list[Value]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {value.name: _of(value) for value in values},
    }


def _of(value: Value) -> dict[str, Any]:
    if value.children:
        return _object(value.children) | value.schema
    described = {"description": value.description} if value.description else {}
    return described | _type(value.default) | value.schema


def _type(default: Any) -> dict[str, Any]:
    names = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return {"type": names[type(default)]} if type(default) in names else {}


def _readme(text: str, values: Values, shared: list[Value]) -> str:
    head, separator, _ = text.partition(_TABLE)
    if not separator:
        raise ValueError(f"the README has no line {_TABLE}")
    rows = [
        _row(path, f"`{json.dumps(value.default)}`", value) for path, value in leaves(values.tree)
    ]
    rows += [_row(path, "each chart's", value) for path, value in leaves(shared, "global.stigma.")]
    table = "\n".join(["| value | default | |", "|---|---|---|", *rows])
    return f"{head}{separator}\n\n{table}\n"


def _row(path: str, default: str, value: Value) -> str:
    description = value.description.replace("|", r"\|")
    return f"| `{path}` | {default} | {description} |"


def main() -> int:
    """Write, or check."""
    contents = generate()
    stale = [
        path
        for path, content in contents.items()
        if not path.exists() or path.read_text() != content
    ]
    if sys.argv[1:] == ["--check"]:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is not fresh: run make charts-docs\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(contents[path])
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
