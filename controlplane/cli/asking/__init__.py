"""Finds the control planes that a command asks, and joins what they answer."""
