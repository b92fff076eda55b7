"""The control block: its layout, reading it, and that what is written takes effect."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import both_engines, long, prot, real
from tests.vmm.techniques.hardware.hardware_rig import HardwareRig, every_pair, run
from vmm.cpu import registers as r
from vmm.techniques.hardware.vmcb import FIELDS


@pytest.mark.parametrize(("name", "offset", "size"), [
    ("intercept_exceptions", 0x008, 4), ("intercept_misc1", 0x00C, 4), ("intercept_misc2", 0x010, 4),
    ("msrpm_base_pa", 0x048, 8), ("exitcode", 0x070, 8), ("exitinfo1", 0x078, 8), ("exitinfo2", 0x080, 8),
    ("exitintinfo", 0x088, 8), ("np_enable", 0x090, 8), ("eventinj", 0x0A8, 8), ("n_cr3", 0x0B0, 8),
    ("nrip", 0x0C8, 8), ("es.selector", 0x400, 2), ("cs.attrib", 0x412, 2), ("tr.base", 0x498, 8),
    ("cpl", 0x4CB, 1), ("efer", 0x4D0, 8), ("cr4", 0x548, 8), ("cr0", 0x558, 8), ("rflags", 0x570, 8),
    ("rip", 0x578, 8), ("rsp", 0x5D8, 8), ("rax", 0x5F8, 8), ("sysenter_eip", 0x638, 8), ("cr2", 0x640, 8),
])  # fmt: skip
def test_offsets_are_those_of_appendix_b(name: str, offset: int, size: int) -> None:
    assert FIELDS[name][1:] == (offset, size)


@every_pair
def test_it_shows_the_guest_as_it_halted(engine: str, paging: str) -> None:
    rig = run(engine, paging, prot("paging\nmov eax, 0x1234\nstc\nfinish"))
    block = rig.technique.vmcb
    assert block["rax"] == 0x1234
    assert block["rflags"] & r.CF
    assert (block["cs.selector"], block["cs.attrib"], block["cs.limit"]) == (0x08, 0xC9A, 0xFFFF_FFFF)
    assert (block["tr.selector"], block["gdtr.base"], block["idtr.limit"]) == (0x28, 0x1800, 0x27F)
    assert (block["cr3"], block["cr0"] >> 31, block["cpl"]) == (0x10000, 1, 0)
    assert (block["exitcode"], block["nrip"] - block["rip"]) == (0x78, 0)


@every_pair
def test_the_guest_reads_the_control_registers_that_it_wrote(engine: str, paging: str) -> None:
    rig = run(
        engine,
        paging,
        prot("paging\nmov eax, cr3\nlog eax\nmov eax, cr0\nlog eax\nmov eax, cr4\nlog eax\nfinish"),
    )
    assert rig.log == [0x10000, 0xE000_0011, 0]


@both_engines
def test_a_64_bit_guest_is_shown(engine: str) -> None:
    rig = run(engine, "nested", long("mov rax, 0x123456789abcdef0\nfinish"))
    assert rig.technique.vmcb["rax"] == 0x1234_5678_9ABC_DEF0
    assert rig.technique.vmcb["efer"] == 0x501


@both_engines
def test_registers_that_are_written_are_the_guests(engine: str) -> None:
    rig = HardwareRig(engine)
    rig.load(real("log eax\nlog ebx\nfinish\nelsewhere: log 7\nmov bx, ds\nlog ebx\nfinish"))
    block = rig.technique.vmcb
    block["rax"], block["ds.selector"] = 0x55, 0x1234
    rig.run()
    block["rip"] = rig.memory.read(0x7C00, 64).index(b"\x66\xb8\x07\0\0\0") - 2 + 0x7C00
    rig.run()
    assert rig.log[0] == 0x55
    assert rig.log[2:] == [7, 0x1234]


@both_engines
def test_controls_decide_what_exits(engine: str) -> None:
    rig = HardwareRig(engine)
    rig.load(real("pushf\npopf\ncpuid\nsidt [0x600]\nfinish"))
    block = rig.technique.vmcb
    block.controls |= {"pushf", "sidt"}
    rig.run()
    assert (rig.counted("pushf"), rig.counted("popf"), rig.counted("sidt")) == (1, 0, 1)


@every_pair
def test_the_least_for_safety_stays_armed(engine: str, paging: str) -> None:
    rig = HardwareRig(engine, paging)
    rig.technique.vmcb.controls = frozenset()
    assert rig.technique.vmcb.controls == rig.technique.vmcb.needed
    assert {"ltr", "msr", "monitor", "mwait"} <= rig.technique.vmcb.needed
    assert ("pf" in rig.technique.vmcb.needed) == (paging == "shadow")


@both_engines
def test_an_intercept_field_is_the_controls_in_bits(engine: str) -> None:
    rig = HardwareRig(engine)
    block = rig.technique.vmcb
    block["intercept_cr_read"] = 1 << 3
    assert "cr3-read" in block.controls
    assert "cr0-write" in block.controls
    block["intercept_cr_write"] = 0
    assert "cr0-write" not in block.controls
    with pytest.raises(ValueError, match="nothing here exits with code 0x9"):
        block["intercept_cr_read"] = 1 << 9


@pytest.mark.parametrize(("name", "value", "why"), [
    ("rbx", 1, "rbx: no field of the VMCB"), ("exitcode", 1, "it can only be read"),
    ("n_cr3", 0, "it can only be read"),
    ("cpl", 3, "follows ss.attrib"), ("cr0", 1 << 31, "paging without protection"),
    ("cs.selector", 0x1_0000, "does not fit its 16 bits"), ("tr.attrib", 0x93, "no task-state segment"),
    ("eventinj", 1 << 31 | 5 << 8, "type 5"),
    ("eventinj", 1 << 31 | 3 << 8 | 40, "no vector of an exception"),
])  # fmt: skip
def test_what_cannot_be_written_says_why(name: str, value: int, why: str) -> None:
    rig = HardwareRig("portable")
    with pytest.raises(ValueError, match=why):
        rig.technique.vmcb[name] = value
