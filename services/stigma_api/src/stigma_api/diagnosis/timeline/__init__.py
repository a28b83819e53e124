"""Timelines of executions, from their callers' histories and their own."""
