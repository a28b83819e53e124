"""Downloads the Temporal CLI through the Python SDK: download.py VERSION DIRECTORY."""

import asyncio
import sys

from temporalio.testing import WorkflowEnvironment


async def download(version: str, directory: str) -> None:
    """Put the CLI of ``version`` into ``directory``; the SDK starts it once to do so."""
    environment = await WorkflowEnvironment.start_local(
        dev_server_download_version=version, download_dest_dir=directory
    )
    await environment.shutdown()


if __name__ == "__main__":
    try:
        asyncio.run(download(*sys.argv[1:]))
    except RuntimeError as error:
        sys.exit(f"temporal: {error}")
