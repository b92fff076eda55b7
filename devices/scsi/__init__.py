"""SCSI: logical units, the target that holds them, and the parallel bus."""
