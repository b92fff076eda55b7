"""HLT ends by an interrupt and by nothing else: not by the monitor looking at the world outside."""

from __future__ import annotations

from pathlib import Path

from tests.vmm.cpu.engine_rig import both_engines
from tests.vmm.machine_rig import TIMER, Bench

pytestmark = both_engines

MASK_ALL = " mov al, 0xff\n out 0x21, al\n"
WAKE_UP = " mov al, 1\n out 0xf4, al\n hlt\n tick: iret"


def test_nothing_wakes_a_processor_whose_interrupts_are_masked(tmp_path: Path, engine: str) -> None:
    with Bench(tmp_path, engine).machine(TIMER + MASK_ALL + "hlt\n" + WAKE_UP) as machine:
        assert machine.run(timeout_s=0.3).reason == "timeout"
        assert machine.run(timeout_s=0.1).reason == "timeout"
        assert machine.exits["hlt"].count == 1
