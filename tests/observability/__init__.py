"""What operators see: metrics, traces, logs and alerts, of the real services."""
