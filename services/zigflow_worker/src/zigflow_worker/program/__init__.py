"""Compiled documents, the state of their runs, and the protocol between the two."""
