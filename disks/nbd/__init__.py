"""Serving an image over the Network Block Device protocol."""
