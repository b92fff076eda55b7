"""Paravirtualization: a guest that knows of its monitor, and calls it."""
