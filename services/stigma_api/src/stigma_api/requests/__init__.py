"""The rules of requests, and the filter grammar."""
