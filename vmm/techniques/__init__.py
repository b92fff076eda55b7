"""Techniques of virtualization: who runs the guest's kernel, what leaves it, and what that costs."""
