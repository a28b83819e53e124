"""What the wheels install."""
