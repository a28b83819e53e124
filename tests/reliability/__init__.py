"""What fails, and what callers see of it: services as processes, a real Temporal server."""
