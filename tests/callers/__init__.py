"""The callers of examples/, in every language, on the real system."""
