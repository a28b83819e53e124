"""Executions of workflows: `WorkflowExecutionWorkflow` and the run of the engine."""
