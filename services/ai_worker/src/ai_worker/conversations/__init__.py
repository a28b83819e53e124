"""Model calls of agents with tools, whose conversation is the history of their run."""
