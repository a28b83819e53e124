"""The engine's activities: interfaces for workflows, and what serves them."""
