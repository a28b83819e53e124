"""The operator's providers file is checked strictly: one clear line, and never the key."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ai_worker.resources import ResourceError, load_providers

ENVIRONMENT = {"MY_KEY": "sk-from-environment"}


def load(tmp_path, text):
    path = tmp_path / "providers.yaml"
    path.write_text(text)
    return load_providers(path, ENVIRONMENT)


def provider(spec, name="local"):
    return f"apiVersion: stigma/v1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def test_reads_prices(tmp_path):
    prices = "{free: {input: 0, output: 0}, mine: {input: 1, output: 2.5, cache_read: 0.1}}"
    spec = f"{{type: openai-compatible, base_url: 'http://x/v1', prices: {prices}}}"
    (local,) = load(tmp_path, provider(spec))
    assert (local.prices["free"].input, local.prices["free"].output) == (0, 0)
    mine = local.prices["mine"]
    assert (mine.input, mine.output, mine.cache_read, mine.cache_write) == (1, 2.5, 0.1, None)


def test_no_file_is_read_without_end(tmp_path):
    with pytest.raises(ResourceError, match="/dev/zero: larger than"):
        load_providers(Path("/dev/zero"), ENVIRONMENT)
    with pytest.raises(ResourceError, match="/dev/zero: larger than"):
        load(tmp_path, provider("{type: openai, api_key: {file: /dev/zero}}"))


def test_deep_nesting_is_one_line(tmp_path):
    with pytest.raises(ResourceError, match="nested too deeply"):
        load(tmp_path, "[" * 1_000)


def test_reads_several_documents(tmp_path):
    key = tmp_path / "key"
    key.write_text("sk-from-file\n")
    first = provider("{type: openai-compatible, base_url: 'http://localhost:8000/v1'}")
    second = provider(
        f"{{type: anthropic, api_key: {{file: {key}}}, models: [opus], timeout: 90s}}", "claude"
    )
    third = provider("{type: openai, api_key: {env: MY_KEY}}", "openai")
    local, claude, openai = load(tmp_path, f"{first}---\n{second}---\n---\n{third}")
    assert (local.name, local.type, local.base_url) == (
        "local",
        "openai-compatible",
        "http://localhost:8000/v1",
    )
    assert local.api_key is None
    assert claude.api_key is not None
    assert claude.api_key.get_secret_value() == "sk-from-file"
    assert (claude.models, claude.timeout) == (("opus",), timedelta(seconds=90))
    assert openai.api_key is not None
    assert openai.api_key.get_secret_value() == "sk-from-environment"
    assert openai.timeout == timedelta(minutes=10)
    assert "sk-" not in repr([local, claude, openai])


OPENAI = "{type: openai, api_key: {env: MY_KEY}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML at line 1"),
        ("a: 1\na: 2", "not valid YAML"),
        ("\x01", "not valid YAML"),
        ("[]", "document 1: document: Input should be a valid dictionary"),
        (provider(f"{OPENAI}}}").replace("v1", "v2"), "document 1: apiVersion: Input should be"),
        (provider(f"{OPENAI}}}").replace("Provider", "Agent"), "document 1: kind: Input should be"),
        (
            provider(f"{OPENAI}}}").replace("Provider", "provider"),
            "document 1: kind: unknown kind, did you mean 'Provider'?",
        ),
        (
            provider(f"{OPENAI}}}").replace("Provider", "mcp-server"),
            "document 1: kind: unknown kind, did you mean 'McpServer'?",
        ),
        (
            provider(f"{OPENAI}}}").replace("apiV", "apiv"),
            "document 1: document: unknown key 'apiversion', did you mean 'apiVersion'?",
        ),
        (
            provider(f"{OPENAI}}}").replace("metadata", "Metadata"),
            "document 1: document: unknown key 'Metadata', did you mean 'metadata'?",
        ),
        (
            provider(f"{OPENAI}, baseUrl: 'http://x'}}"),
            "document 1: spec: unknown key 'baseUrl', did you mean 'base_url'?",
        ),
        (provider(f"{OPENAI}}}", "Big"), "document 1: metadata.name: String should match"),
        (provider(f"{OPENAI}}}", "scripted"), "document 1: the name 'scripted' is built in"),
        (provider(f"{OPENAI}}}") * 1 + "---\n" + provider(f"{OPENAI}}}"), "defined twice"),
        (provider("{type: azure}"), "document 1: spec.type: Input should be"),
        (provider(f"{OPENAI}, colour: red}}"), "spec.colour: Extra inputs are not permitted"),
        (provider("{type: openai}"), "document 1: spec: type openai needs api_key"),
        (provider("{type: openai-compatible}"), "needs base_url"),
        (provider(f"{OPENAI}, base_url: 'ftp://x'}}"), "spec.base_url: URL scheme should be"),
        (provider(f"{OPENAI}, base_url: 'http://u:p@x'}}"), "must not carry credentials"),
        (provider(f"{OPENAI}, timeout: 30}}"), 'spec.timeout: must be seconds, such as "600s"'),
        (provider(f"{OPENAI}, timeout: 0s}}"), "spec.timeout: must be longer than zero"),
        (
            provider(f"{OPENAI}, prices: {{m: {{input: 1}}}}}}"),
            "spec.prices.m.output: Field required",
        ),
        (
            provider(f"{OPENAI}, prices: {{m: {{input: -1, output: 1}}}}}}"),
            "spec.prices.m.input: Input should be greater than or equal to 0",
        ),
        (provider(f"{OPENAI}, prices: {{m: {{input: .nan, output: 1}}}}}}"), "spec.prices.m.input"),
        (provider(f"{OPENAI}, prices: {{m: {{input: yes, output: 1}}}}}}"), "spec.prices.m.input"),
        (
            provider(f"{OPENAI}, models: [m], prices: {{n: {{input: 1, output: 1}}}}}}"),
            "spec: prices has a model that is not in models",
        ),
        (provider("{type: openai, api_key: sk-secret}"), "spec.api_key: Input should be"),
        (provider("{type: openai, api_key: {}}"), "spec.api_key: needs either env or file"),
        (provider("{type: openai, api_key: {env: sk-sec ret}}"), "spec.api_key.env: String should"),
        (provider("{type: openai, api_key: {env: NO}}"), "variable NO is empty or not set"),
        (provider("{type: openai, api_key: {file: /nope}}"), "cannot read file /nope: No such"),
    ],
)
def test_refuses_with_one_line(tmp_path, text, message):
    with pytest.raises(ResourceError) as caught:
        load(tmp_path, text)
    shown = str(caught.value)
    assert message in shown
    assert str(tmp_path / "providers.yaml") in shown
    assert "\n" not in shown
    assert "sk-secret" not in shown


@pytest.mark.parametrize("content", [b"", b"two words", "schlüssel".encode(), b"\xff"])
def test_refuses_a_file_that_holds_no_key(tmp_path, content):
    key = tmp_path / "key"
    key.write_bytes(content)
    with pytest.raises(ResourceError, match=r"spec\.api_key"):
        load(tmp_path, provider(f"{{type: openai, api_key: {{file: {key}}}}}"))


def test_refuses_a_file_that_is_absent_or_huge(tmp_path):
    with pytest.raises(ResourceError, match="cannot be read: No such file"):
        load_providers(tmp_path / "none.yaml", {})
    with pytest.raises(ResourceError, match="larger than"):
        load(tmp_path, "#" * (1024 * 1024 + 1))


def test_without_a_file_the_usual_variables_count():
    assert load_providers(None, {}) == []
    both = {
        "OPENAI_API_KEY": "sk-a",
        "OPENAI_BASE_URL": "http://localhost:8080/v1",
        "ANTHROPIC_API_KEY": "sk-b",
    }
    openai, anthropic = load_providers(None, both)
    assert (openai.name, openai.type, openai.base_url) == (
        "openai",
        "openai",
        "http://localhost:8080/v1",
    )
    assert (anthropic.name, anthropic.base_url) == ("anthropic", None)
    with pytest.raises(ResourceError, match="OPENAI_BASE_URL: not a plain"):
        load_providers(None, both | {"OPENAI_BASE_URL": "localhost"})


def test_a_bad_file_ends_the_service_with_one_line_and_exit_2(tmp_path):
    path = tmp_path / "providers.yaml"
    path.write_text(provider("{type: azure}"))
    ended = subprocess.run(
        [sys.executable, "-m", "ai_worker"],
        env=os.environ | {"STIGMA_PROVIDERS_FILE": str(path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"ai_worker: {path}, document 1: spec.type: Input should be")
    assert ended.stderr.count("\n") == 1
