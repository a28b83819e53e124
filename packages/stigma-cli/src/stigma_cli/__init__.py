"""The `stigma` command."""
