"""The console: web pages that show executions as they go on, and answer what they wait for."""
