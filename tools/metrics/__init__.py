"""The catalog of metrics, from the code that makes them."""
