"""One execution's story, over its caller's history and its own."""
