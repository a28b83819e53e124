"""Agents and workflows: their registry, and its service."""
