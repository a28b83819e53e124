from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr

from stigma.runtime.settings import (
    Port,
    Seconds,
    ServiceSettings,
    Texts,
    load_settings,
    secrets,
)


class Settings(ServiceSettings):
    admin_port: Port = Field(7390, description="Admin port.")
    key: SecretStr = Field(SecretStr(""), min_length=0, max_length=5, description="A key.")
    mode: Literal["a", "b"] = Field("a", description="Which.")
    file: Path | None = Field(None, description="A file.")
    wait: Seconds = Field(timedelta(seconds=1.5), description="A wait.")
    needed: str = Field(description="Must be given.")
    names: list[str] = Field(default_factory=list, description="Some names.")
    globs: Texts = Field((), description="Some globs.")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMA_NEEDED", "x")


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMA_SHUTDOWN_GRACE", "2.5")
    monkeypatch.setenv("STIGMA_LOG_LEVEL", "debug")
    monkeypatch.setenv("STIGMA_KEY", "abc")
    monkeypatch.setenv("TEMPORAL_WORKER_BUILD_ID", "b1")
    settings = load_settings(Settings, "svc", [])
    assert settings.shutdown_grace == timedelta(seconds=2.5)
    assert settings.log_level == "DEBUG"
    assert settings.admin_port == 7390
    assert settings.build_id == "b1"
    assert "abc" not in repr(settings)
    assert list(secrets(settings)) == ["abc"]


def test_settings_can_be_made_by_name() -> None:
    settings = Settings(needed="y", build_id="b", shutdown_grace=timedelta(seconds=3))
    assert (settings.needed, settings.build_id) == ("y", "b")
    assert settings.shutdown_grace == timedelta(seconds=3)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("STIGMA_ADMIN_PORT", "70000", "STIGMA_ADMIN_PORT: Input should be"),
        ("STIGMA_ADMIN_PORT", "x", "(given: 'x')"),
        ("STIGMA_SHUTDOWN_GRACE", "soon", "STIGMA_SHUTDOWN_GRACE: a number of seconds is needed"),
        ("STIGMA_SHUTDOWN_GRACE", "0", "STIGMA_SHUTDOWN_GRACE: Input should be greater than"),
        ("STIGMA_SHUTDOWN_GRACE", "nan", "STIGMA_SHUTDOWN_GRACE: a number of seconds is needed"),
        ("STIGMA_LOG_LEVEL", "LOUD", "STIGMA_LOG_LEVEL: Input should be 'DEBUG'"),
        ("STIGMA_NAMES", "[", "STIGMA_NAMES: not valid JSON"),
        ("STIGMA_GLOBS", "[", "STIGMA_GLOBS: not valid JSON"),
        ("STIGMA_GLOBS", "[1]", "STIGMA_GLOBS: Input should be a valid string"),
    ],
)
def test_a_bad_value_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    complaint: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as exit_:
        load_settings(Settings, "svc", [])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.startswith("svc: ")
    assert error.count("\n") == 1


def test_a_bad_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STIGMA_KEY", "far-too-long")
    with pytest.raises(SystemExit):
        load_settings(Settings, "svc", [])
    error = capsys.readouterr().err
    assert "STIGMA_KEY" in error
    assert "far-too-long" not in error


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ()),
        ("a", ("a",)),
        (" a-*, b ,,", ("a-*", "b")),
        ("[]", ()),
        (' ["a-*", "b, c"]', ("a-*", "b, c")),
    ],
)
def test_texts_have_commas_between_them_or_are_json(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("STIGMA_GLOBS", value)
    assert load_settings(Settings, "svc", []).globs == expected


def test_a_missing_value_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STIGMA_NEEDED")
    with pytest.raises(SystemExit) as exit_:
        load_settings(Settings, "svc", [])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "svc: STIGMA_NEEDED is required\n"


def test_a_misspelt_variable_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STIGMA_LOG_LEVL", "DEBUG")
    monkeypatch.setenv("STIGMA_OF_ANOTHER_SERVICE", "1")
    load_settings(Settings, "svc", [])
    expected = "svc: STIGMA_LOG_LEVL is not a setting; is STIGMA_LOG_LEVEL meant?\n"
    assert capsys.readouterr().err == expected


def test_help_is_a_table_of_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_settings(Settings, "svc", ["--help"])
    assert exit_.value.code == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert lines["STIGMA_ADMIN_PORT"][1:] == ["number", "7390", "Admin", "port."]
    assert lines["STIGMA_KEY"][1:3] == ["secret", "-"]
    assert lines["STIGMA_MODE"][1:3] == ["a|b", "a"]
    assert lines["STIGMA_FILE"][1:3] == ["path", "-"]
    assert lines["STIGMA_WAIT"][1:3] == ["seconds", "1.5"]
    assert lines["STIGMA_GLOBS"][1:3] == ["list", "-"]
    assert lines["STIGMA_NEEDED"][1:3] == ["text", "(required)"]
    assert lines["STIGMA_NAMES"][1] == "json"
    assert lines["STIGMA_WORKFLOW_SANDBOX"][1:3] == ["true|false", "false"]
    assert "TEMPORAL_WORKER_BUILD_ID" in lines


def test_version_and_other_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_settings(Settings, "stigma", ["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("stigma 0.")
    with pytest.raises(SystemExit) as exit_:
        load_settings(Settings, "svc", ["--port=1"])
    assert exit_.value.code == 2
    assert "'--port=1'" in capsys.readouterr().err


def test_help_works_in_a_process_without_any_setting() -> None:
    script = (
        "from stigma.runtime import ServiceSettings, load_settings;"
        "load_settings(ServiceSettings, 'svc')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--help"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "STIGMA_LOG_LEVEL" in done.stdout
