"""Task switches that load CR3, which no exit may cut off: under both ways of paging."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, prot
from tests.vmm.techniques.hardware.hardware_rig import HardwareRig, both_pagings, run
from vmm.cpu.engine import StopReason
from vmm.errors import ConfigError

SWITCH = prot("""
    mov edi, 0x20000                    ; the second address space: 3 MiB and up lie elsewhere
    mov dword [edi], 0x21007
    mov edi, 0x21000
    mov eax, 7
.next:
    mov [edi], eax
    add eax, 0x1000
    add edi, 4
    cmp edi, 0x22000
    jb .next
    mov dword [0x21000 + 0x300 * 4], 0x30007
    mov dword [0x30000], 0x2222
    mov dword [0x300000], 0x1111
    mov dword [TSS_AT + 0x1c], PDE
    mov dword [0x6100 + 0x1c], 0x20000
    mov dword [0x6100 + 0x20], task
    mov dword [0x6100 + 0x24], 2
    mov dword [0x6100 + 0x38], 0x3fe000
    mov dword [0x6100 + 0x48], KDATA
    mov dword [0x6100 + 0x4c], KCODE
    mov dword [0x6100 + 0x50], KDATA
    mov dword [0x6100 + 0x54], KDATA
    paging
    log dword [0x300000]
    call TSS2:0
    log dword [0x300000]
    mov eax, cr3
    log eax
    finish
task:
    log dword [0x300000]
    mov eax, cr3
    log eax
    iretd
""")
EXPECTED = [0x1111, 0x2222, 0x20000, 0x1111, 0x10000]


@both_engines
def test_the_guest_is_right_on_the_bare_machine(engine: str) -> None:
    rig = Rig(engine).load(SWITCH)
    assert rig.run() is StopReason.HALTED
    assert rig.log == EXPECTED


@both_pagings
def test_a_task_with_its_own_tables_is_called_and_returns(paging: str) -> None:
    assert run("accelerated", paging, SWITCH).log == EXPECTED


def test_a_task_with_its_own_tables_on_the_portable_engine() -> None:
    assert run("portable", "nested", SWITCH).log == EXPECTED


def test_shadow_paging_is_refused_where_a_task_switch_would_leave_it() -> None:
    """The portable engine does not see CR3 being loaded: the guest's own tables would be walked."""
    with pytest.raises(ConfigError, match=r"needs the accelerated engine.*use --paging nested"):
        HardwareRig("portable", "shadow")
