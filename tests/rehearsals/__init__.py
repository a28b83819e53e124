"""Runbooks rehearsed: each fault made on a real installation, and cured by the written commands."""
