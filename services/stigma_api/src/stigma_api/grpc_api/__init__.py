"""The gRPC door: authenticates, limits and translates errors."""
