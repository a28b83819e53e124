"""Benchmarks: `make bench NAME=…`. Each prints a table and ends with one line of JSON."""
