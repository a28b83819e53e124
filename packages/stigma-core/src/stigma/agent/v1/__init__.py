"""Stubs of stigma.agent.v1, generated from protos/ by `make proto`."""
