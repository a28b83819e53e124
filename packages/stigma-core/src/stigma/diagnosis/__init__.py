"""Stubs of stigma.diagnosis."""
