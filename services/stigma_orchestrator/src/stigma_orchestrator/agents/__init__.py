"""Executions of agents: `AgentWorkflow` and the loop of steps that it runs."""
