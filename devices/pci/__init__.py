"""PCI: configuration spaces, mechanism #1, interrupt routing, and the i440FX/PIIX3 functions."""
