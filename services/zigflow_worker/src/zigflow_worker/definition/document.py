"""Reads a whole document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zigflow_worker.definition.header import JQ, SECTIONS, read_header, read_reusables
from zigflow_worker.definition.kinds import TaskKinds
from zigflow_worker.definition.model import WorkflowDefinition
from zigflow_worker.definition.nodes import Node
from zigflow_worker.definition.problems import ProblemList
from zigflow_worker.definition.reader import Reader, read_rules
from zigflow_worker.loading import SourceDocument


def read_definition(
    source: SourceDocument, kinds: TaskKinds[Reader], *, strict: bool = True
) -> WorkflowDefinition:
    """Read a whole document (raises InvalidDocumentError with the first problem of each task).

    `strict`: refuse what 0.1.0 read over.
    """
    reader = Reader(source, kinds, strict=strict)
    with reader.collecting_problems():
        definition = _read_workflow(Node(source.data, ""), reader)
    reader.raise_problems()
    return definition


def read_for_problems(
    source: SourceDocument, kinds: TaskKinds[Reader], problems: ProblemList
) -> WorkflowDefinition | None:
    """Add every problem of a document; return what can be read of it, None where nothing can."""
    reader = Reader(source, kinds, every=problems)
    with reader.collecting_problems():
        return _read_workflow(Node(source.data, "", problems), reader)
    return None


def _read_workflow(root: Node, reader: Reader) -> WorkflowDefinition:
    fields = root.fields(
        *("document", "input", "use", "do", "timeout", "output", "schedule", "evaluate"),
        required=["document", "do"],
        elsewhere=dict.fromkeys(SECTIONS, "into 'use'"),
    )
    with reader.collecting_problems():
        read_header(fields, reader)
    reusables: dict[str, Any] = {}
    with reader.collecting_problems():
        reusables = read_reusables(fields.get("use"), reader)
    if misplaced := SECTIONS & root.mapping().keys():
        reusables["unread"] = reusables.get("unread", frozenset()) | misplaced
    if not _is_jq(fields.get("evaluate")):
        reusables["unread"] = reusables.get("unread", frozenset()) | {"expressions"}
    document: Mapping[str, Node] = {}
    with root.part():
        document = fields["document"].mapping()
    do = reader.task_list(fields["do"], minimum=1)
    return WorkflowDefinition(
        namespace=str(document["namespace"].value) if "namespace" in document else "",
        name=str(document["name"].value) if "name" in document else "",
        version=str(document["version"].value) if "version" in document else "",
        source=root.value,
        do=do,
        input=read_rules(fields.get("input"), "from"),
        output=read_rules(fields.get("output"), "as"),
        timeout=reader.timeout(fields.get("timeout")),
        **reusables,
    )


def _is_jq(evaluate: Node | None) -> bool:
    settings = None if evaluate is None else evaluate.value
    return not isinstance(settings, dict) or settings.get("language", JQ) == JQ
