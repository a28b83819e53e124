"""Apache httpd with a page behind Basic and one behind Digest authentication."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx2

from stigma_cli.child_process import ProcessGroup, bound_to_parent
from stigma_cli.devserver import free_ports
from tests.stack.waiting import eventually

HOW_TO_GET = "Apache httpd is absent: apt-get install apache2-bin"
USER, PASSWORD = "ada", "pass word:ü"
_ACCOUNT = "www-data"
_MODULES = Path("/usr/lib/apache2/modules")
_CONFIGURATION = """\
ServerRoot {root}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {root}/pid
ErrorLog {root}/error.log
{modules}
DocumentRoot {root}/pages
ForceType text/plain
<Location /basic>
    AuthType Basic
    AuthName pages
    AuthUserFile {root}/basic
    Require valid-user
</Location>
<Location /digest>
    AuthType Digest
    AuthName pages
    AuthDigestProvider file
    AuthDigestQop auth
    AuthUserFile {root}/digest
    Require valid-user
</Location>
"""
_GRACE = timedelta(seconds=10)
_LOADED = (
    *("mpm_event", "authn_core", "authn_file", "authz_core", "authz_user"),
    *("auth_basic", "auth_digest"),
)


def find_apache() -> str | None:
    """The program, where it and Debian's modules are."""
    program = shutil.which("apache2") or shutil.which("apache2", path="/usr/sbin")
    return program if _MODULES.is_dir() else None


@asynccontextmanager
async def apache(program: str) -> AsyncIterator[str]:
    """The URL of a server on a free port."""
    [port] = free_ports(1)
    root = Path(tempfile.mkdtemp(prefix="stigma-apache-"))
    _write_files(root, port)
    account = _ACCOUNT if os.getuid() == 0 else None
    if account is not None:
        _give(root, account)
    command = [program, "-DFOREGROUND", "-f", str(root / "httpd.conf")]
    process = await asyncio.create_subprocess_exec(
        *bound_to_parent(command, user=account), start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await eventually(lambda: _answers(url), what=f"Apache ready; see {root}/error.log")
        yield url
    finally:
        await ProcessGroup(process).stop(_GRACE)
        shutil.rmtree(root)


def _write_files(root: Path, port: int) -> None:
    modules = "\n".join(f"LoadModule {one}_module {_MODULES}/mod_{one}.so" for one in _LOADED)
    text = _CONFIGURATION.format(root=root, port=port, modules=modules)
    (root / "httpd.conf").write_text(text)
    hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest())
    (root / "basic").write_text(f"{USER}:{{SHA}}{hashed.decode()}\n")
    hashed = hashlib.md5(f"{USER}:pages:{PASSWORD}".encode()).digest()
    (root / "digest").write_text(f"{USER}:pages:{hashed.hex()}\n")
    for name in ("basic", "digest"):
        (root / "pages" / name).mkdir(parents=True)
        (root / "pages" / name / "page").write_text(f"behind {name}")


def _give(root: Path, account: str) -> None:
    for path in (root, *root.rglob("*")):
        shutil.chown(path, account)


async def _answers(url: str) -> bool:
    try:
        async with httpx2.AsyncClient() as client:
            return (await client.get(f"{url}/basic/page")).status_code == 401
    except httpx2.TransportError:
        return False
