"""MCP servers in the operator's file: one clear line for what is wrong, and never a key."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ai_worker.mcp_resources import McpServerResource, load_mcp_servers
from ai_worker.resources import ResourceError, load_providers

ENVIRONMENT = {"MY_KEY": "sk-from-environment"}

PROVIDER = """\
apiVersion: stigma/v1
kind: Provider
metadata: {name: local}
spec: {type: openai-compatible, base_url: "http://localhost"}
"""

_OAUTH = "{{http: {{url: 'http://a', oauth: {{{}client_id: a, client_secret: {{env: MY_KEY}}}}}}}}"


def document(spec: str, name: str = "tickets") -> str:
    return f"apiVersion: stigma/v1\nkind: McpServer\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def load(tmp_path: Path, *documents: str) -> list[McpServerResource]:
    path = tmp_path / "resources.yaml"
    path.write_text("---\n".join(documents))
    return load_mcp_servers(path, ENVIRONMENT)


def test_servers_stand_beside_providers(tmp_path: Path) -> None:
    remote = (
        "{http: {url: 'https://mcp.example/x',"
        " headers: {Authorization: {env: MY_KEY, prefix: 'Bearer '}}}}"
    )
    local = (
        "{stdio: {command: node, args: [server.js], env: {TZ: {value: UTC}, KEY: {env: MY_KEY}}},"
        " timeout: 90s, max_concurrency: 3, tools: ['read_*']}"
    )
    documents = (PROVIDER, document(remote), document(local, "local"))
    http, stdio = load(tmp_path, *documents)
    assert http.url == "https://mcp.example/x"
    assert http.headers["Authorization"].get_secret_value() == "Bearer sk-from-environment"
    assert (stdio.command, stdio.args) == ("node", ("server.js",))
    assert {name: value.get_secret_value() for name, value in stdio.env.items()} == {
        "TZ": "UTC",
        "KEY": "sk-from-environment",
    }
    assert (stdio.timeout, stdio.max_concurrency) == (timedelta(seconds=90), 3)
    assert (stdio.offers("read_file"), stdio.offers("write_file")) == (True, False)
    assert (http.timeout, http.offers("anything")) == (timedelta(minutes=10), True)
    # What is no secret is not masked in logs: it may be a common word.
    assert [key.get_secret_value() for key in stdio.keys] == ["sk-from-environment"]
    [provider] = load_providers(tmp_path / "resources.yaml", ENVIRONMENT)
    assert provider.name == "local"


def test_a_server_may_have_an_oauth_client(tmp_path: Path) -> None:
    oauth = (
        "{http: {url: 'https://mcp.example/x', oauth: {issuer: 'https://id.example',"
        " client_id: worker, client_secret: {env: MY_KEY}, scopes: [a, b]}}}"
    )
    other = (
        "{http: {url: 'https://mcp.example/x', oauth: {token_url: 'https://id.example/t',"
        " client_id: worker, client_secret: {env: MY_KEY}, client_auth: post, resource: ''}}}"
    )
    first, second = load(tmp_path, document(oauth), document(other, "other"))
    assert first.oauth is not None
    assert (first.oauth.issuer, first.oauth.token_url) == ("https://id.example/", "")
    assert (first.oauth.scopes, first.oauth.resource) == (("a", "b"), "https://mcp.example/x")
    assert [key.get_secret_value() for key in first.keys] == ["sk-from-environment"]
    assert "sk-from" not in repr(first)
    assert second.oauth is not None
    assert (second.oauth.token_url, second.oauth.resource) == ("https://id.example/t", "")
    assert second.oauth.client_auth == "post"


def test_a_file_of_servers_alone_says_nothing_of_providers(tmp_path: Path) -> None:
    load(tmp_path, document("{stdio: {command: a}}"))
    file = tmp_path / "resources.yaml"
    [provider] = load_providers(file, {"OPENAI_API_KEY": "sk-1"})
    assert provider.name == "openai"
    file.write_text("")
    assert load_providers(file, {"OPENAI_API_KEY": "sk-1"}) == []


def test_there_are_none_without_a_file() -> None:
    assert load_mcp_servers(None, {}) == []


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{}", "spec: needs either http or stdio"),
        ("{http: {url: 'http://a'}, stdio: {command: a}}", "needs either http or stdio"),
        ("{http: {url: 'http://user:secret@a'}}", "must not carry credentials"),
        ("{http: {url: 'http://a?key=secret'}}", "must not carry credentials"),
        ("{http: {url: 'ftp://a'}}", "spec.http.url"),
        ("{http: {url: 'http://a', headers: {'a b': {value: x}}}}", "spec.http.headers.a b"),
        ("{http: {url: 'http://a', headers: {Mcp-Session-Id: {value: x}}}}", "by the protocol"),
        ("{http: {url: 'http://a', headers: {A: {value: 'x\\r\\ny'}}}}", "spec.http.headers.A"),
        ("{http: {url: 'http://a', headers: {A: {}}}}", "needs one of env, file and value"),
        ("{http: {url: 'http://a', headers: {A: {env: B, value: x}}}}", "needs one of env"),
        (
            "{http: {url: 'http://a', headers: {A: {env: NONE}}}}",
            "spec.http.headers.A: environment variable NONE is empty or not set",
        ),
        (_OAUTH.format(""), "spec.http.oauth: needs either token_url or issuer"),
        (
            _OAUTH.format("token_url: 'https://a', issuer: 'https://a', "),
            "needs either token_url or issuer",
        ),
        (_OAUTH.format("issuer: 'https://a?x=secret', "), "must not carry credentials"),
        (
            _OAUTH.format("issuer: 'https://a', ").replace("MY_KEY", "NONE"),
            "spec.http.oauth.client_secret: environment variable NONE is empty or not set",
        ),
        (
            _OAUTH.format("issuer: 'https://a', scopes: ['a b'], "),
            "spec.http.oauth.scopes.0",
        ),
        (
            _OAUTH.format("issuer: 'https://a', ").replace(
                "oauth", "headers: {authorization: {value: x}}, oauth"
            ),
            "header authorization is set by oauth",
        ),
        ("{stdio: {command: a, env: {B: {env: NONE}}}}", "spec.stdio.env.B: environment variable"),
        ("{stdio: {command: ''}}", "spec.stdio.command"),
        ("{stdio: {command: a, env: {'A=B': {value: x}}}}", "spec.stdio.env"),
        ("{stdio: {command: a}, max_concurrency: 0}", "spec.max_concurrency"),
        ("{stdio: {command: a}, timeout: 5}", 'must be seconds, such as "600s"'),
        ("{stdio: {command: a}, secret: sk-oops}", "spec.secret: Extra inputs"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, spec: str, problem: str) -> None:
    spec = spec.replace("'x\\r\\ny'", '"x\\r\\ny"')
    with pytest.raises(ResourceError) as caught:
        load(tmp_path, document(spec))
    text = str(caught.value)
    assert problem in text
    assert text.startswith(f"{tmp_path / 'resources.yaml'}, document 1: ")
    assert "\n" not in text
    assert "secret@" not in text
    assert "sk-oops" not in text


def test_a_name_is_defined_once(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="MCP server 'tickets' is defined twice"):
        load(tmp_path, document("{stdio: {command: a}}"), document("{stdio: {command: b}}"))
