"""What the guest finds at power-on: our BIOS, and the loaders."""
