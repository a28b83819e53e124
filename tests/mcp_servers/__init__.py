"""Agents with MCP servers that others wrote, and MCP's own conformance suite."""
