"""Pending steps of open executions: what each waits for now."""
