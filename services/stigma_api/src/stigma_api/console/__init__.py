"""The console: web pages that show executions as they go on. Reads only."""
