"""The probe under one technique, in a process of its own: a MachineConfig on stdin, a Probe on stdout."""

from __future__ import annotations

from vmm.cli.work_child import answer
from vmm.config import MachineConfig
from vmm.probe.prober import probe

if __name__ == "__main__":
    answer(MachineConfig, probe)
