"""The Adaptec AIC-7870, a PCI to SCSI host adapter that runs the firmware its driver downloads."""
