"""Stubs of stigma.workflow."""
