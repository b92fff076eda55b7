"""A guest cannot name the monitor's memory: physical 2^39 and up read as the hole they would be, bare."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import both_engines, long, prot
from tests.vmm.techniques.hardware.hardware_rig import HardwareRig, every_pair, run
from vmm.memory import MONITOR_BASE

HIGH = MONITOR_BASE >> 32
ATTACK = """
    mov esi, 0x200000
    log dword [esi]
    mov dword [esi], 0x12345678
    log dword [esi]
    finish
"""
PAE = prot(f"""
    mov dword [0x10000], 0x11001        ; PDPTE
    mov dword [0x11000], 0x83           ; the first 2 MiB
    mov dword [0x11008], 0x83           ; and the monitor's
    mov dword [0x1100c], {HIGH}
    mov eax, 0x20
    mov cr4, eax
    mov eax, 0x10000
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
{ATTACK}""")
PSE_36 = prot(f"""
    mov dword [0x10000], 0x83
    mov dword [0x10004], 0x83 | {HIGH} << 13
    mov eax, 0x10
    mov cr4, eax
    mov eax, 0x10000
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
{ATTACK.replace("0x200000", "0x400000")}""")
LONG = long(f"""
    mov dword [0x12008], 0x83
    mov dword [0x1200c], {HIGH}
    invlpg [0x200000]
{ATTACK}""")
TABLES = long(f"""
    mov dword [0x12008], 7              ; a page table in the monitor's memory
    mov dword [0x1200c], {HIGH}
    invlpg [0x200000]
    try mov eax, [0x200000]
    log 1
    finish
""")


def monitor(rig: HardwareRig) -> bytes:
    assert rig.memory.monitor is not None
    return bytes(rig.memory.monitor[: 1 << 20])


@every_pair
@pytest.mark.parametrize("source", [PAE, PSE_36, LONG], ids=["pae", "pse-36", "long"])
def test_what_is_mapped_there_reads_ffh_and_drops_writes(engine: str, paging: str, source: str) -> None:
    rig = run(engine, paging, source)
    assert rig.log == [0xFFFF_FFFF, 0xFFFF_FFFF]
    assert b"\x78\x56\x34\x12" not in monitor(rig)


@every_pair
def test_page_tables_there_are_ones_of_ffh(engine: str, paging: str) -> None:
    """Their reserved bits are set: a page fault with RSVD."""
    rig = run(engine, paging, TABLES)
    assert [(frame.vector, frame.error) for frame in rig.frames] == [(14, 9)]


@both_engines
def test_nested_tables_that_use_up_their_pages_start_over(engine: str) -> None:
    rig = HardwareRig(engine)
    assert rig.technique.nested is not None
    tables = rig.technique.nested.tables
    for number in range(200_000):
        if tables.fill(number << 30):
            break
    else:
        pytest.fail("the pages were never used up")
    assert tables.lookup(number << 30) == number << 30
    assert tables.lookup(1 << 30) is None
