"""Calls of any kind: their observation, failures and heartbeats."""
