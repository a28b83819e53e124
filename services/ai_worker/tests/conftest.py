"""What the AI worker's tests share."""
