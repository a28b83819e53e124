"""A local authorization server, which gives tokens to one client."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import parse_qsl, unquote

from pydantic import SecretStr

from ai_worker.mcp_resources import OAuthClient

CLIENT, SECRET = "worker/7", "s3cret:ü%"


class TokenServer:
    """Answers requests of tokens at `/token`, and of its metadata."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        """Of the requests of tokens."""
        self.lifetime: Any = 3600
        self.failure: tuple[int, dict[str, Any]] | None = None
        """Status and body instead of a token."""
        self.asked = asyncio.Event()
        """Set when a token is asked for."""
        self.hold = asyncio.Event()
        """Until it is set, no token is given."""
        self.hold.set()
        self.issuer: str | None = None
        """Issuer of the metadata, where it is another one."""
        self.paths: list[str] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def tokens(self) -> list[str]:
        """The tokens that were given."""
        return [f"token-{number}" for number in range(1, len(self.forms) + 1)]

    def client(self, **fields: Any) -> OAuthClient:
        """Return the client that it knows."""
        given: dict[str, Any] = {
            "token_url": f"{self.url}/token",
            "client_secret": SecretStr(SECRET),
        }
        return OAuthClient(client_id=CLIENT, **(given | fields))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = request.split()[1]
        self.paths.append(path)
        status = 404
        answer: dict[str, Any] = {}
        if path == "/token":
            status, answer = await self._token(headers, dict(parse_qsl(body.decode())))
        elif path == "/.well-known/openid-configuration":
            status, answer = 200, self._metadata()
        text = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} Status\r\nconnection: close\r\ncontent-type: application/json\r\n"
            f"content-length: {len(text)}\r\n\r\n".encode()
            + text
        )
        writer.close()

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer or self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["code"],
        }

    async def _token(
        self, headers: dict[str, str], form: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        self.forms.append(form)
        number = len(self.forms)
        self.asked.set()
        await self.hold.wait()
        if self.failure is not None:
            return self.failure
        pair = base64.b64decode(headers.get("authorization", "").removeprefix("Basic "))
        known = [unquote(part) for part in pair.decode().split(":")] == [CLIENT, SECRET]
        if not known and form.get("client_secret") != SECRET:
            return 401, {"error": "invalid_client", "error_description": f"not {SECRET}"}
        token = {"access_token": f"token-{number}", "token_type": "bearer"}
        return 200, token | ({} if self.lifetime is None else {"expires_in": self.lifetime})
