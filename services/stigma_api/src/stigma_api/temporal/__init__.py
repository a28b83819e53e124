"""Calls to Temporal, and what the API reads from it."""
