"""Agents and documents that tests of commands register and run."""

from __future__ import annotations

from pathlib import Path

AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: NAME, labels: {team: core}}
spec:
  description: A test.
  model: scripted:test
  script: {steps: [{text: "hm", pause: true}, {text: "done", delay: DELAY}]}
"""

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: greet, version: '1.0.0'}
do:
  - hello: {set: {greeting: '${ "hello \\(.name)" }'}}
"""

RESTING = DOCUMENT.split("do:", maxsplit=1)[0] + "do:\n  - rest: {wait: {seconds: 600}}\n"

CALLING = """\
document: {dsl: '1.0.3', namespace: test, name: asks, version: '1.0.0'}
do:
  - ask: {call: agent, with: {agent: AGENT, message: hi}}
"""


def agent_file(directory: Path, name: str, delay: str = "0s") -> Path:
    file = directory / f"{name}.yaml"
    file.write_text(AGENT.replace("NAME", name).replace("DELAY", delay))
    return file


def document_file(directory: Path, text: str = DOCUMENT) -> Path:
    file = directory / "document.yaml"
    file.write_text(text)
    return file
