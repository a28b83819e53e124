"""Reaching out of a run, by its worker: addresses allowed, connections, secrets, documents."""
