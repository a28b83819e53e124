"""Who calls, what they may do, and how many calls are worked on at a time."""
