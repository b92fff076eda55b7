"""Errors of our own devices leave `run` as Python exceptions, on both engines (C13)."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, prot, real

pytestmark = both_engines


class BrokenDeviceError(Exception):
    """Raised by the device below."""


def broken(*_: int) -> int:
    raise BrokenDeviceError


@pytest.mark.parametrize(
    "body", ["in al, NUMBER", "out NUMBER, al", "mov al, [0xa0000]", "mov [0xa0000], al"]
)
def test_an_error_in_a_device_leaves_run(engine: str, body: str) -> None:
    """Exceptions in ctypes callbacks are printed and swallowed unless carried out by hand (C13)."""
    rig = Rig(engine, device=broken)
    rig.load(prot(body + "\nlog 1\nfinish"))
    with pytest.raises(BrokenDeviceError):
        rig.run()


def test_an_error_in_the_acknowledge_cycle_leaves_run(engine: str) -> None:
    rig = Rig(engine).load(real("sti\n nop\n jmp $"))
    rig.engine.set_interrupt(True)
    with pytest.raises(AssertionError):
        rig.run()
