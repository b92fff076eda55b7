"""Paravirtual devices: the virtio PCI transport and what sits behind it."""
