"""The life of an execution of either kind: its work, its outcome, its metrics."""
