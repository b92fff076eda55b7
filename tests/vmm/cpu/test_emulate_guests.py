"""The guests of the engine's own tests once more, with their sensitive instructions intercepted and emulated.

The handlers of these guests end in IRET, so exceptions, VM86, NMIs, tasks and rings all pass the emulator.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from tests.vmm.cpu import engine_rig, test_engine_interrupts, test_engine_long, test_engine_protected
from tests.vmm.cpu.engine_rig import Rig, prot, run
from vmm.cpu import registers as r

ARMED = ("pushf", "popf", "iret", "int", "cr", "descriptor-reads", "descriptor-writes", "invlpg", "cpuid")
MODULES = (test_engine_protected, test_engine_interrupts, test_engine_long)
GUESTS = {
    f"{module.__name__.rpartition('_')[2]} {name[5:]}": function
    for module in MODULES
    for name, function in vars(module).items()
    if name.startswith("test_") and list(inspect.signature(function).parameters) == ["engine"]
}


@pytest.mark.parametrize("guest", GUESTS.values(), ids=GUESTS.keys())
def test_a_guest_cannot_tell(guest: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    build = Rig.__init__

    def armed(self: Rig, *arguments: object, **options: object) -> None:
        build(self, *arguments, **options)  # type: ignore[arg-type]
        self.processor.intercepts.arm(*ARMED)

    monkeypatch.setattr(engine_rig.Rig, "__init__", armed)
    guest("accelerated")


@engine_rig.both_engines
def test_performance_counters_stand_still(engine: str) -> None:
    """The P6 family has two; Unicorn has RDPMC for an invalid opcode."""
    body = "mov ecx, 1\n rdpmc\n out LOG, eax\n mov eax, edx\n out LOG, eax\n mov ecx, 2\n try rdpmc\n finish"
    rig = run(engine, prot(body))
    assert rig.log == [0, 0]
    assert rig.briefs == [(r.GP, 0, 0)]
