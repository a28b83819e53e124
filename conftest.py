"""Fixtures of every test in the repository; see tests/stack/plugin.py."""

pytest_plugins = ["tests.stack.plugin"]
