"""Entry point of `stigma` and `python -m stigma_cli`."""

from __future__ import annotations

from stigma_cli.app import app


def main() -> None:
    """Run the command line and exit."""
    app(prog_name="stigma")


if __name__ == "__main__":
    main()
