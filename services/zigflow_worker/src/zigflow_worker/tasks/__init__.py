"""The task kinds: one module each, and one line each in the registry."""
