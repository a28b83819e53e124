"""A real Prometheus on a free port, with a scratch database, and what a test asks of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from ruamel.yaml import YAML

from stigma_cli.child_process import bound_to_parent
from stigma_cli.devserver import free_ports
from tests.stack.waiting import eventually

HOW_TO_GET = "Prometheus is not installed: apt-get install prometheus"


def prometheus() -> str:
    """Return the program; skips the test without it."""
    return _program("prometheus")


def promtool() -> str:
    """Return the program that tests rules; skips the test without it."""
    return _program("promtool")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(HOW_TO_GET)
    return found


@dataclass(frozen=True)
class Target:
    """Something scraped."""

    job: str
    pod: str
    port: int


class Prometheus:
    """Scrapes targets of this machine every second and evaluates rules; as a context manager."""

    def __init__(
        self, directory: Path, targets: Iterable[Target], rules: Mapping[str, Any]
    ) -> None:
        self._program = prometheus()
        self._directory = directory
        self._targets = list(targets)
        self._rules = rules
        [self._port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        config = self._directory / "prometheus.yml"
        _write(config, self._configuration())
        for name, rules in self._rules.items():
            _write(self._directory / f"{name}.rules.yaml", rules)
        self._process = self._started(config)
        await eventually(self._answers, what=self._log)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self._process.wait, 60)

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression now: each has `metric` and `value`."""
        result: list[dict[str, Any]] = (await self._get("query", query=expression))["result"]
        return result

    async def value(self, expression: str) -> float | None:
        """Return the only sample of an expression; None when there is none."""
        samples = await self.query(expression)
        assert len(samples) < 2, samples
        return float(samples[0]["value"][1]) if samples else None

    async def has(
        self, expression: str, *, within: timedelta = timedelta(seconds=60)
    ) -> list[dict[str, Any]]:
        """Return the samples of an expression as soon as it has some."""

        async def found() -> list[dict[str, Any]]:
            return await self.query(expression)

        return await eventually(found, within=within, what=f"data of {expression}")

    async def firing(self) -> dict[str, dict[str, str]]:
        """Return the alerts that fire now: their labels by their names."""
        alerts = (await self._get("alerts"))["alerts"]
        return {a["labels"]["alertname"]: a["labels"] for a in alerts if a["state"] == "firing"}

    async def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its `health` and `lastError`."""
        groups = (await self._get("rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def scraped(self) -> dict[str, str]:
        """Return the health of each target, by pod."""
        targets = (await self._get("targets"))["activeTargets"]
        return {target["labels"]["pod"]: target["health"] for target in targets}

    def _started(self, config: Path) -> subprocess.Popen[bytes]:
        command = [
            self._program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        with (self._directory / "prometheus.log").open("wb") as log:
            return subprocess.Popen(bound_to_parent(command), stdout=log, stderr=log)

    def _configuration(self) -> dict[str, Any]:
        return {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["*.rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{target.port}"], "labels": {"pod": target.pod}}
                        for target in self._targets
                        if target.job == job
                    ],
                }
                for job in dict.fromkeys(target.job for target in self._targets)
            ],
        }

    async def _answers(self) -> bool:
        try:
            await asyncio.to_thread(_read, f"http://127.0.0.1:{self._port}/-/ready")
        except OSError:
            return False
        return True

    async def _get(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{query}"
        answer = json.loads(await asyncio.to_thread(_read, url))
        assert answer["status"] == "success", answer
        return answer["data"]

    def _log(self) -> str:
        return f"Prometheus: {(self._directory / 'prometheus.log').read_text()}"


def _write(path: Path, content: Any) -> None:
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(content, file)


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        found: bytes = answer.read()
        return found
