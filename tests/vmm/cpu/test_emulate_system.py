"""Descriptor-table, control- and debug-register instructions, and their operands; [SDM2]."""

from __future__ import annotations

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_services import FakeServices
from tests.vmm.cpu.fake_view import LDT, TSS, TSS2, FakeView, long_view, protected_view, raised, vm86_view
from vmm.cpu import registers as r
from vmm.cpu.descriptors import pack_segment, pack_system64
from vmm.cpu.emulate import Outcome, emulate

AT = 0x6000


def run(code: str, view: FakeView, services: FakeServices | None = None) -> FakeView:
    raw = bytes.fromhex(code)
    view.memory.write(view.segs[r.CS].base + view.rip, raw)
    start = view.rip
    assert emulate(view, services or FakeServices()) is Outcome.DONE
    assert view.rip == start + len(raw)
    return view


def refused(code: str, view: FakeView) -> tuple[int, int | None]:
    view.memory.write(view.segs[r.CS].base + view.rip, bytes.fromhex(code))
    before, memory = view.snapshot(), bytes(view.memory.ram)
    fault = raised(lambda: emulate(view, FakeServices()))
    assert (view.snapshot(), bytes(view.memory.ram)) == (before, memory)
    return fault


class TestTables:
    TABLE = (0x1234).to_bytes(2, "little") + (0xFFFF_8000_1122_3344).to_bytes(8, "little")

    def view(self, view: FakeView) -> FakeView:
        view.memory.write(AT, self.TABLE)
        return view

    @pytest.mark.parametrize(("make", "code", "base"), [
        (FakeView, "0f011600 60", 0x22_3344),  # 16-bit operand: 24 bits of base
        (FakeView, "66 0f011600 60", 0x1122_3344),
        (protected_view, "0f011500600000", 0x1122_3344),
        (protected_view, "66 0f011500600000", 0x22_3344),
        (long_view, "0f01142500600000", 0xFFFF_8000_1122_3344),
    ])  # fmt: skip
    def test_lgdt_base_width(self, make: type[FakeView], code: str, base: int) -> None:
        view = run(code, self.view(make()))
        assert (view.gdt.base, view.gdt.limit) == (base, 0x1234)

    def test_lidt_of_a_non_canonical_base(self) -> None:
        view = long_view()
        view.memory.write(AT, bytes(2) + (0x8000_0000_0000).to_bytes(8, "little"))
        assert refused("0f011c2500600000", view) == (r.GP, 0)

    def test_sgdt_and_sidt_are_unprivileged_and_store_the_whole_base(self) -> None:
        view = protected_view(cpl=3)
        view.gdt.base = 0xC123_4567
        run("66 0f010500600000", view)
        assert view.memory.read(AT, 6) == bytes.fromhex("7f00 67452 3c1".replace(" ", ""))
        run("0f010d00600000", view)
        assert view.memory.u16(AT) == view.idt.limit

    def test_sidt_in_64_bit_mode_stores_10_bytes(self) -> None:
        view = long_view(cpl=3)
        view.idt.base = 0xFFFF_FE00_0000_0000
        run("0f010c2500600000", view)
        assert view.memory.u64(AT + 2) == 0xFFFF_FE00_0000_0000

    def test_limit_violation_stores_nothing(self) -> None:
        view = protected_view()
        view.segs[r.DS].limit = AT + 4
        assert refused("0f010500600000", view) == (r.GP, 0)

    @pytest.mark.parametrize("code", ["0f00c0", "0f00c8", "0f00d0", "0f00d8"])
    def test_ldtr_and_tr_exist_only_in_protected_mode(self, code: str) -> None:
        assert refused(code, FakeView()) == (r.UD, None)
        assert refused(code, vm86_view()) == (r.UD, None)

    def test_sldt_and_str_store_a_word_in_memory_and_extend_it_in_a_register(self) -> None:
        view = protected_view(cpl=3)
        view.regs[r.RAX] = view.regs[r.RDX] = 0xFFFF_FFFF
        assert run("0f00c8", view).regs[r.RAX] == TSS
        assert run("66 0f00ca", view).regs[r.RDX] == 0xFFFF_0000 | TSS
        view.memory.write(AT, b"\xff" * 4)
        assert run("0f000d00600000", view).memory.u32(AT) == 0xFFFF_0000 | TSS

    def test_lldt(self) -> None:
        view = protected_view()
        view.regs[r.RAX] = LDT
        assert run("0f00d0", view).ldt.base == f.LDT_AT
        view.regs[r.RAX] = 3
        run("0f00d0", view)
        assert (view.ldt.selector, view.ldt.limit) == (3, 0)

    @pytest.mark.parametrize(("selector", "fault"), [
        (TSS, (r.GP, TSS)), (LDT | 4, (r.GP, LDT | 4)), (0x80, (r.GP, 0x80)), (0x58, (r.NP, 0x58)),
    ])  # fmt: skip
    def test_lldt_refuses(self, selector: int, fault: tuple[int, int]) -> None:
        view = protected_view()
        view.put_descriptor(0x58, pack_segment(0, 0, 0x0200))
        view.regs[r.RAX] = selector
        assert refused("0f00d0", view) == fault

    def test_ltr_marks_the_descriptor_busy_but_not_the_cached_type(self) -> None:
        view = protected_view()
        view.regs[r.RAX] = TSS2
        run("0f00d8", view)
        assert (view.tr.selector, view.tr.base, view.tr.flags) == (TSS2, 0x4800, 0x8900)
        assert view.memory.read(f.GDT_AT + TSS2 + 5, 1) == b"\x8b"

    def test_ltr_in_ia_32e_mode_takes_a_16_byte_descriptor(self) -> None:
        view = long_view()
        view.put_descriptor(TSS2, pack_system64(0xFFFF_8000_0000_4800, 0x67, 0x8900))
        view.regs[r.RAX] = TSS2
        assert run("0f00d8", view).tr.base == 0xFFFF_8000_0000_4800
        view.put_descriptor(TSS2, pack_system64(0, 0x67, 0x8100))
        assert refused("0f00d8", view) == (r.GP, TSS2)

    @pytest.mark.parametrize(("selector", "fault"), [
        (0, (r.GP, 0)), (TSS, (r.GP, TSS)), (LDT, (r.GP, LDT)), (0x58, (r.NP, 0x58)),
        (TSS2 | 4, (r.GP, TSS2 | 4)),
    ])  # fmt: skip
    def test_ltr_refuses(self, selector: int, fault: tuple[int, int]) -> None:
        view = protected_view()
        view.put_descriptor(0x58, pack_segment(0, 0x67, 0x0900))
        view.regs[r.RAX] = selector
        assert refused("0f00d8", view) == fault


class TestOperands:
    """Effective addresses, by INVLPG, whose service is told the linear address."""

    @pytest.mark.parametrize(("make", "code", "linear"), [
        (FakeView, "0f0178fe", 0x00FE),  # [bx+si-2]
        (FakeView, "0f017a10", 0x3000 * 16 + 0x0F),  # [bp+si+10h]: through SS
        (FakeView, "26 0f017a10", 0x0F),
        (FakeView, "67 0f013c4b", 0x1_0000 + 2 * 0x8000),  # [ebx+ecx*2]
        (protected_view, "0f013d78563412", 0x1234_5678),
        (protected_view, "65 0f017c8bf0", 0x7000_0000 + 0x1_0000 + 4 * 0x8000 - 16),
        (protected_view, "67 0f017f10", 0x0010),  # [bx+10h]: BX of 1_0000h
        (long_view, "0f013d00010000", 0x108 - 1 + 0x100),  # RIP-relative: 7 bytes at 100h
        (long_view, "41 0f013c24", 0xFFFF_8000_0000_0000),  # [r12]
        (long_view, "65 0f013b", 0x7000_0000 + 0x1_0000),
        (long_view, "2e 0f013b", 0x1_0000),
    ])  # fmt: skip
    def test_effective_addresses(self, make: type[FakeView], code: str, linear: int) -> None:
        view = make()
        if make is FakeView:
            view.segs[r.SS].base = 0x3_0000
        view.segs[r.GS].base = 0x7000_0000
        view.regs[r.RBX], view.regs[r.RCX], view.regs[r.RSI] = 0x1_0000, 0x8000, 0x100
        view.regs[r.RBP], view.regs[12] = 0xFFFF_FEFF, 0xFFFF_8000_0000_0000
        services = FakeServices()
        run(code, view, services)
        assert services.invalidated == [linear]

    def test_invlpg_of_a_non_canonical_address_does_nothing(self) -> None:
        view, services = long_view(), FakeServices()
        view.regs[r.RBX] = 0x8000_0000_0000
        run("0f013b", view, services)
        assert services.invalidated == []

    def test_null_and_read_only_segments(self) -> None:
        view = protected_view()
        view.load_segment(r.ES, 0, 0, 0, 0)
        assert refused("26 0f010500600000", view) == (r.GP, 0)
        view.load_segment(r.ES, f.KDATA, 0, f.FLAT, 0xC0_9100)
        assert refused("26 0f010500600000", view) == (r.GP, 0)
        assert refused("2e 0f010500600000", view) == (r.GP, 0)  # code is never writable
        run("26 0f011500600000", view)

    def test_stack_segment_operand_reports_a_stack_fault(self) -> None:
        view = protected_view()
        view.segs[r.SS].limit = 0xFF
        view.regs[r.RBP] = 0x100
        assert refused("0f014500", view) == (r.SS_FAULT, 0)


class TestControlRegisters:
    def test_mov_from_and_to(self) -> None:
        view = protected_view()
        view.cr[3] = 0x1234_5000
        assert run("0f20db", view).regs[r.RBX] == 0x1234_5000
        view.regs[r.RBX] = 0xFFFF_FFFF_0000_6000
        assert run("0f22db", view).cr[3] == 0x6000

    @pytest.mark.parametrize(("code", "value"), [
        ("0f22c0", r.CR0_PG), ("0f22c0", r.CR0_PE | 1 << 29), ("0f22e0", 1 << 31), ("0f22e0", 1 << 13),
    ])  # fmt: skip
    def test_bad_values(self, code: str, value: int) -> None:
        view = protected_view()
        view.regs[r.RAX] = value
        assert refused(code, view) == (r.GP, 0)

    def test_ia_32e_mode_rules(self) -> None:
        view = long_view()
        view.cr[4] = r.CR4_PAE
        assert refused("0f22e0", view) == (r.GP, 0)  # RAX is 0: PAE may not go
        view.regs[r.RAX] = 1 << 32 | r.CR0_PE
        assert refused("0f22c0", view) == (r.GP, 0)
        view = protected_view()
        view.efer, view.regs[r.RAX] = r.EFER_LME, r.CR0_PG | r.CR0_PE
        assert refused("0f22c0", view) == (r.GP, 0)  # LME without PAE

    def test_et_reads_as_one_and_undefined_bits_of_cr0_are_dropped(self) -> None:
        view = protected_view()
        view.regs[r.RAX] = 0x1FFD_FFC1
        assert run("0f22c0", view).cr[0] == 1 << 16 | 1 << 18 | r.CR0_ET | r.CR0_PE

    @pytest.mark.parametrize("code", ["0f20c8", "0f22e8", "0f20f8"])
    def test_registers_that_do_not_exist(self, code: str) -> None:
        assert refused(code, protected_view()) == (r.UD, None)

    def test_smsw_at_any_privilege(self) -> None:
        view = protected_view(cpl=3)
        view.cr[0] |= r.CR0_WP
        assert run("0f01e0", view).regs[r.RAX] == view.cr[0]
        view.regs[r.RAX] = 0
        assert run("66 0f01e0", view).regs[r.RAX] == view.cr[0] & 0xFFFF

    def test_lmsw_sets_but_never_clears_pe(self) -> None:
        view = FakeView()
        view.regs[r.RAX] = r.CR0_PE
        run("0f01f0", view)
        assert view.cr[0] == r.CR0_ET | r.CR0_PE
        view.regs[r.RAX] = r.CR0_TS
        assert run("0f01f0", view).cr[0] == r.CR0_ET | r.CR0_PE | r.CR0_TS
        assert run("0f06", view).cr[0] == r.CR0_ET | r.CR0_PE

    def test_debug_registers_4_and_5_alias_6_and_7_unless_cr4_de(self) -> None:
        view, services = protected_view(), FakeServices()
        view.regs[r.RAX] = 0x401
        run("0f23e8", view, services)
        assert services.drs[7] == 0x401
        assert run("0f21fb", view, services).regs[r.RBX] == 0x401
        view.cr[4] = 1 << 3
        assert refused("0f21e8", view) == (r.UD, None)
