"""Executions: starting, reading, listing, watching and cancelling them."""
