"""Delivery to waiting activities, and the watch over their workflows."""
