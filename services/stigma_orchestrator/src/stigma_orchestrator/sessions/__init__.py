"""Sessions: conversations whose turns are executions, one at a time."""
