"""gRPC calls: descriptors, messages and connections."""
