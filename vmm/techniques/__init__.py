"""Techniques of virtualization: how a machine runs its guest."""
