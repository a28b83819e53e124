"""The API of Stigma: agents, workflows and their executions, over gRPC and in the console."""
