"""Microsoft's Virtual Hard Disk format (VHD), as Virtual PC and Virtual Server write it."""
