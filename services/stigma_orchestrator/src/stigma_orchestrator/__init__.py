"""Runs agents as Temporal workflows and delivers their outcomes."""
