"""Runs all tests in several processes side by side: `make test`."""
