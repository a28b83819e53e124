"""Timelines, stuck executions and gauges of the whole installation."""
