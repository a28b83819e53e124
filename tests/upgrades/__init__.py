"""Upgrades and rollbacks with agents at work and callers waiting for them."""
