"""The real Stigma for tests that cross services: four processes on a real Temporal server."""
