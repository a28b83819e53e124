"""The gRPC API of Stigma: agents and agent executions."""
