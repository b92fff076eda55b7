"""The probe under one technique, in a process of its own: a MachineConfig on stdin, a Probe on stdout."""

from __future__ import annotations

import json
import os
import sys

import msgspec

from vmm.cli.child import end_with_parent
from vmm.config import MachineConfig
from vmm.probe.prober import probe


def main() -> int:
    """Run it."""
    end_with_parent()
    config = msgspec.convert(json.loads(sys.stdin.buffer.read()), MachineConfig)
    sys.stdout.buffer.write(msgspec.json.encode(probe(config)))
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # as in vmm.cli.child
