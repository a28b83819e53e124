"""Stubs of stigma.internal.v1, generated from protos/ by `make proto`."""
