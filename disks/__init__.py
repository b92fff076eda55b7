"""Disk images on the host. Imports nothing of ours."""
