"""`stigma demo`: the code review example from start to end."""


def demo() -> None:
    """Start everything, run the code review example, show it, stop."""
