"""The virtual machine monitor: processor, buses, clock, wiring, and what is shown of them."""

__version__ = "0.1.0"
