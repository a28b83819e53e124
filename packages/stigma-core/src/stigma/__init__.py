"""Stigma's shared library: generated stubs, contracts and the service runtime."""
