"""IDE: channels, ATA disks, ATAPI drives and the PIIX bus master."""
