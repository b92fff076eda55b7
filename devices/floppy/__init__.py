"""Floppy disks: media and drives, and the 82077AA controller."""
