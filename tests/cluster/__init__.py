"""Stigma on a real cluster: installed, scaled, drained, upgraded under load, uninstalled."""
