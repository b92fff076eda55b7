"""Guests of the engines' test rig under hardware assistance."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig
from vmm.cpu.engine import StopReason
from vmm.techniques.hardware.technique import Hardware, HardwareNested, HardwareShadow

KINDS = {"nested": HardwareNested, "shadow": HardwareShadow}
both_pagings = pytest.mark.parametrize("paging", list(KINDS))
every_pair = pytest.mark.parametrize(
    ("engine", "paging"), [("accelerated", "nested"), ("accelerated", "shadow"), ("portable", "nested")]
)
"""Each paging on each engine that can do it."""


class HardwareRig(Rig):
    """A processor whose guest runs under `hardware`."""

    technique: Hardware

    def __init__(self, engine: str, paging: str = "nested") -> None:
        self.kind = KINDS[paging]  # type: ignore[misc]  # of this rig alone
        super().__init__(engine)

    def counted(self, name: str) -> int:
        """How often `vmexit.NAME` has been counted."""
        row = self.technique.exits.table().get(f"vmexit.{name}")
        return 0 if row is None else row.count


def run(engine: str, paging: str, source: str) -> HardwareRig:
    """Run a guest to its end; it must halt."""
    rig = HardwareRig(engine, paging)
    rig.load(source)
    reason = rig.run()
    assert reason is StopReason.HALTED, (reason, rig.frames[-3:], rig.log[-8:])
    return rig
