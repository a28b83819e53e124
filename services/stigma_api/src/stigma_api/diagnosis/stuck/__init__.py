"""Open executions that do not get on, each with the reason."""
