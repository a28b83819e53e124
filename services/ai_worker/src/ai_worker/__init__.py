"""The AI worker: model calls as Temporal activities."""
