"""Open executions that make no progress, each with the reason."""
