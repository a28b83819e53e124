"""Principals, authentication, and limits of concurrent calls."""
