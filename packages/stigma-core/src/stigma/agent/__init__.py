"""Stubs of stigma.agent."""
