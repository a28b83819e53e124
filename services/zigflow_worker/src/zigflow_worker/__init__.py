"""The workflow engine: runs Open Workflow Specification documents as Temporal workflows."""
