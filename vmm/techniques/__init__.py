"""Techniques of virtualization: ways to run one guest on one processor, with a monitor in between or none."""
