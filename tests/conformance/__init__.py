"""The specification's conformance kit and its examples, on the real engine, without a network."""
