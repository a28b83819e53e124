"""Stubs of stigma.internal: payloads between Stigma's own services."""
