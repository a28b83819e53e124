"""Envelopes that are misspelt: what is meant is told, not that the file is no document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stigma_cli.envelope_kinds import envelope_kind
from stigma_cli.errors import Exit
from stigma_cli.yaml_files import parse_documents

if TYPE_CHECKING:
    from conftest import Stigma


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("kind: Agent", "Agent"),
        ("kind: workflow", "Workflow"),
        ("kind: mcpserver", "McpServer"),
        ("apiversion: stigma/v1\nKind: Agent\nmetadata: {}", "Agent"),
        ("apiVersion: stigma/v1\nknd: Workfow\nmetadata: {}", "Workflow"),
        ("apiVersion: stigma/v1\nkind: Agnt\nspecs: {model: a}", "Agent"),
        ("Metadata: {}\nspecs: {document: {}}", "Workflow"),
        ("metadata: {}\nspec: {}\n1: 2", "Agent"),
        ("metadata: {}\nspec: {}\ndo: []", ""),
        ("metadata: {}\nspec: {}\ndocument: {}", ""),
        ("kind: providr", "Provider"),
        ("kind: mcp-servers", "McpServer"),
        ("kind: Pod", ""),
        ("kind: CronWorkflow", ""),
        ("kind: [Agent]", ""),
        ("documnt: {}\ndoo: []", ""),
        ("- kind: Agent", ""),
    ],
)
def test_the_kind_that_is_meant(text: str, kind: str) -> None:
    [document] = parse_documents("file.yaml", text)
    assert envelope_kind(document) == kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "apiversion: stigma/v1\nKind: Agent\nmetadata: {name: A}\nspecs: {}\n",
            [
                "1:1: unknown key 'apiversion' in an agent, did you mean 'apiVersion'?",
                "2:1: unknown key 'Kind' in an agent, did you mean 'kind'?",
                "3:12: must be 1 to 63 lower-case letters, digits and dashes, not at its ends",
                "4:1: unknown key 'specs' in an agent, did you mean 'spec'?",
            ],
        ),
        (
            "apiVersion: stigma/v1\nKind: Workflow\nmetadata: {name: a}\nspec:\n  descripton: x\n",
            [
                "2:1: unknown key 'Kind' in a workflow, did you mean 'kind'?",
                "4:1: is empty",
                "5:3: unknown key 'descripton' in spec, did you mean 'description'?",
            ],
        ),
        (
            "apiVersion: stigma/v1\nkind: Agent\n"
            "metadata: {name: A, labels: {'a b': [1], c: [2], 3: x}}\nspec: {model: a:b}\n",
            [
                "3:12: must be 1 to 63 lower-case letters, digits and dashes, not at its ends",
                "3:21: keys must be letters, digits, dots, dashes, slashes and underscores",
                "3:30: metadata.labels.a b must be a text",
                "3:42: metadata.labels.c must be a text",
                "3:50: metadata.labels.3 must be a text",
            ],
        ),
        (
            "apiVersion: stigma/V1\nkind: agent\nmetadata: {Name: a}\nspec: {model: a:b}\n",
            [
                "1:1: unknown apiVersion 'stigma/V1', did you mean 'stigma/v1'?",
                "2:1: unknown kind 'agent', did you mean 'Agent'?",
                "3:12: unknown key 'Name' in metadata, did you mean 'name'?",
            ],
        ),
        (
            "apiVersion: v1\nkind: workflow\nmetadata: {name: a}\nspec: {document: [1]}\n",
            [
                "1:1: apiVersion must be stigma/v1",
                "2:1: unknown kind 'workflow', did you mean 'Workflow'?",
                "4:8: spec.document must be a text",
            ],
        ),
        (
            "apiVersion: stigma/V1\nkind: provider\nmetadta: {}\nspec: {type: openai}\n"
            "---\nkind: mcp_server\nspec: {http: {}}\n---\nkind: workflow\n",
            [
                "2:1: unknown kind 'provider', did you mean 'Provider'?",
                "6:1: unknown kind 'mcp_server', did you mean 'McpServer'?",
                "9:1: unknown kind 'workflow', did you mean 'Workflow'?",
            ],
        ),
        ("KIND: Agent\nspec: [\n", ["3:1: expected the node content, but found '<stream end>'"]),
    ],
)
async def test_mistakes_of_envelopes_hide_no_others(
    stigma: Stigma, tmp_path: Path, text: str, expected: list[str]
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    told = await stigma("validate", file)
    assert told.exit_code == Exit.USAGE
    lines = [line.removeprefix(f"{file}:") for line in told.stdout.splitlines()]
    assert [line.partition(";")[0].partition(" (")[0] for line in lines] == expected
