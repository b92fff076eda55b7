"""Hypercalls on a fake processor: what each changes, what each refuses."""

from __future__ import annotations

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.techniques.para_rig import BUFFER, SHARED, TABLE, Rig
from vmm.cpu import registers as r
from vmm.cpu.paging import GuestFault
from vmm.techniques.para import abi

NOWHERE = 0xC000_0000  # not mapped once paging is on


def paged() -> Rig:
    """Paging on: the first 4 MiB identity mapped for the kernel, nothing else."""
    rig = Rig()
    rig.ram.write(TABLE, (TABLE + 0x1000 | 3).to_bytes(4, "little"))
    for page in range(256):
        rig.ram.write(TABLE + 0x1000 + page * 4, (page << 12 | 3).to_bytes(4, "little"))
    assert rig.call(abi.MMUEXT_OP, abi.NEW_BASEPTR, TABLE) == 0
    return rig


def test_an_unknown_number_is_enosys_and_every_other_register_stays() -> None:
    rig = Rig()
    rig.view.regs[r.RSI] = 77
    assert rig.call(0x1234, 5, 6, 7) == abi.ENOSYS
    assert list(rig.view.regs[:4]) == [abi.ENOSYS & 0xFFFF_FFFF, 6, 7, 5]
    assert rig.view.regs[r.RSI] == 77


def test_set_trap_table_and_set_gdt_are_what_get_state_shows() -> None:
    rig = Rig()
    assert rig.call(abi.SET_TRAP_TABLE, 0x5000, 130) == 0
    assert rig.call(abi.SET_GDT, 0x6000, 8) == 0
    assert rig.given == 1
    assert rig.call(abi.VCPU_OP, abi.VCPU_GET_STATE, BUFFER) == 0
    state = abi.VCPU_STATE.unpack(rig.ram.read(BUFFER, abi.VCPU_STATE.size))
    assert state[5:9] == (0x6000, 63, 0x5000, 130 * 8 - 1)


@pytest.mark.parametrize(
    ("number", "entries"), [(abi.SET_TRAP_TABLE, 257), (abi.SET_GDT, 0), (abi.SET_GDT, 8193)]
)
def test_a_table_of_no_size_is_refused(number: int, entries: int) -> None:
    assert Rig().call(number, 0x5000, entries) == abi.EINVAL


def test_update_descriptor_writes_the_guest_s_table_and_has_it_copied() -> None:
    rig = Rig()
    assert rig.call(abi.UPDATE_DESCRIPTOR, 0x30, 0x1234_FFFF, 0x00CF_9200) == 0
    assert rig.ram.words(f.GDT_AT + 0x30, 2, 4) == [0x1234_FFFF, 0x00CF_9200]
    assert rig.given == 1
    assert rig.call(abi.VCPU_OP, abi.VCPU_GET_DESCRIPTOR, 0x30, BUFFER) == 0
    assert rig.ram.words(BUFFER, 2, 4) == [0x1234_FFFF, 0x00CF_9200]


@pytest.mark.parametrize("selector", [0, 3, 0xFFF8, 0x1_0008, 0x0C])
def test_a_descriptor_outside_the_tables_is_refused(selector: int) -> None:
    rig = Rig()
    rig.view.gdt.limit = 0x7F
    assert rig.call(abi.UPDATE_DESCRIPTOR, selector, 0, 0) == abi.EINVAL


def test_stack_switch_is_the_ring_0_stack_of_the_task() -> None:
    rig = Rig()
    assert rig.call(abi.STACK_SWITCH, f.KDATA, 0x7777_0000) == 0
    assert rig.ram.words(f.TSS_AT + 4, 2, 4) == [0x7777_0000, f.KDATA]


def test_set_task_and_set_ldt_check_as_ltr_and_lldt_do() -> None:
    rig = Rig()
    rip = rig.view.rip
    assert rig.call(abi.MMUEXT_OP, abi.SET_TASK, f.KDATA) == abi.EINVAL
    assert rig.call(abi.MMUEXT_OP, abi.SET_LDT, f.KCODE) == abi.EINVAL
    assert rig.call(abi.MMUEXT_OP, abi.SET_LDT, 0) == 0
    assert rig.view.rip == rip


def test_the_first_base_pointer_turns_paging_on() -> None:
    rig = paged()
    assert rig.view.cr[3] == TABLE
    wanted = r.CR0_PG | r.CR0_WP | r.CR0_MP
    assert rig.view.cr[0] & (wanted | r.CR0_TS | r.CR0_EM) == wanted


@pytest.mark.parametrize("directory", [TABLE + 1, 0x10_0000, 0xFFFF_F000])
def test_a_directory_is_a_page_of_ram(directory: int) -> None:
    rig = Rig()
    assert rig.call(abi.MMUEXT_OP, abi.NEW_BASEPTR, directory) == abi.EINVAL
    assert not rig.view.cr[0] & r.CR0_PG


def test_mmu_update_writes_entries_and_tells_of_those_that_were_present() -> None:
    rig = Rig()
    rig.ram.write(TABLE, (0x5003).to_bytes(4, "little"))
    rig.ram.write(BUFFER, abi.MMU_REQUEST.pack(TABLE, 0x6003) + abi.MMU_REQUEST.pack(TABLE + 4, 0x7003))
    assert rig.call(abi.MMU_UPDATE, BUFFER, 2) == 0
    assert rig.ram.words(TABLE, 2, 4) == [0x6003, 0x7003]
    assert rig.changed == [(TABLE, 0x5003)]


@pytest.mark.parametrize("entry", [TABLE + 1, 0xF_FFFE, 0x10_0000, 0xFFFF_FFFC])
def test_an_entry_outside_of_ram_is_refused_and_those_before_are_done(entry: int) -> None:
    rig = Rig()
    rig.ram.write(BUFFER, abi.MMU_REQUEST.pack(TABLE, 0x6003) + abi.MMU_REQUEST.pack(entry, 1))
    assert rig.call(abi.MMU_UPDATE, BUFFER, 2) == abi.EINVAL
    assert rig.ram.u32(TABLE) == 0x6003


def test_a_batch_is_bounded() -> None:
    assert Rig().call(abi.MMU_UPDATE, BUFFER, abi.MOST_MMU_REQUESTS + 1) == abi.E2BIG


@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        (abi.MMU_UPDATE, (NOWHERE, 1)),
        (abi.CONSOLE_IO, (abi.CONSOLE_WRITE, 1, NOWHERE)),
        (abi.CONSOLE_IO, (abi.CONSOLE_READ, 1, NOWHERE)),
        (abi.VCPU_OP, (abi.VCPU_GET_STATE, NOWHERE)),
        (abi.VCPU_OP, (abi.VCPU_GET_DESCRIPTOR, f.KCODE, NOWHERE)),
    ],
)
def test_a_pointer_to_nowhere_is_efault_and_no_page_fault(number: int, arguments: tuple[int, ...]) -> None:
    rig = paged()
    assert rig.call(number, *arguments) == abi.EFAULT


def test_what_has_arrived_is_not_lost_when_the_buffer_is_bad() -> None:
    rig = paged()
    rig.ports.reads = {0x3FD: [1, 0], 0x3F8: [ord("x")]}
    assert rig.call(abi.CONSOLE_IO, abi.CONSOLE_READ, 16, NOWHERE) == abi.EFAULT
    assert rig.call(abi.CONSOLE_IO, abi.CONSOLE_READ, 16, BUFFER) == 1
    assert rig.ram.read(BUFFER, 1) == b"x"


def test_the_console_writes_by_com1() -> None:
    rig = Rig()
    rig.ram.write(BUFFER, b"hello")
    assert rig.call(abi.CONSOLE_IO, abi.CONSOLE_WRITE, 5, BUFFER) == 5
    assert bytes(value for port, value in rig.ports.log if port == 0x3F8) == b"hello"
    assert rig.call(abi.CONSOLE_IO, abi.CONSOLE_WRITE, 4097, BUFFER) == abi.E2BIG


def test_fpu_taskswitch_and_write_protection_are_bits_of_cr0() -> None:
    rig = Rig()
    rig.call(abi.FPU_TASKSWITCH, 1)
    assert rig.view.cr[0] & r.CR0_TS
    rig.call(abi.FPU_TASKSWITCH, 0)
    assert not rig.view.cr[0] & r.CR0_TS
    rig.call(abi.VM_ASSIST, abi.ASSIST_ENABLE, abi.ASSIST_WRITE_PROTECT)
    assert rig.view.cr[0] & r.CR0_WP
    rig.call(abi.VM_ASSIST, abi.ASSIST_DISABLE, abi.ASSIST_WRITE_PROTECT)
    assert not rig.view.cr[0] & r.CR0_WP
    assert rig.call(abi.VM_ASSIST, abi.ASSIST_ENABLE, 1) == abi.ENOSYS


def test_debug_registers() -> None:
    rig = Rig()
    assert rig.call(abi.SET_DEBUGREG, 0, 0x1234) == 0
    assert rig.call(abi.GET_DEBUGREG, 0) == 0x1234
    assert rig.call(abi.SET_DEBUGREG, 4, 0) == rig.call(abi.GET_DEBUGREG, 8) == abi.EINVAL


def test_iopl() -> None:
    rig = Rig()
    assert rig.call(abi.PHYSDEV_OP, abi.PHYSDEV_SET_IOPL, 3) == 0
    assert rig.view.rflags & r.IOPL == r.IOPL
    assert rig.call(abi.PHYSDEV_OP, abi.PHYSDEV_SET_IOPL, 4) == abi.EINVAL


def frame(rig: Rig, *words: int) -> None:
    data = b"".join(word.to_bytes(4, "little") for word in words)
    rig.view.regs[r.RSP] = f.KERNEL_STACK - len(data)
    rig.ram.write(f.KERNEL_STACK - len(data), data)


def test_iret_pops_eax_and_the_frame() -> None:
    rig = Rig()
    frame(rig, 0xAAAA, 0x1111, f.UCODE, 2 | r.IF, f.USER_STACK, f.UDATA)
    rig.view.regs[r.RAX] = abi.IRET
    rig.calls.serve()
    assert (rig.view.regs[r.RAX], rig.view.rip, rig.view.cpl) == (0xAAAA, 0x1111, 3)
    assert rig.view.regs[r.RSP] == f.USER_STACK


@pytest.mark.parametrize("selector", [0, f.KDATA, 0xFFF8, f.TSS])
def test_iret_to_what_is_no_code_is_a_fault_that_changes_nothing(selector: int) -> None:
    rig = Rig()
    frame(rig, 0xAAAA, 0x1111, selector, 2, 0, 0)
    rig.view.regs[r.RAX] = abi.IRET
    before = rig.view.snapshot()
    with pytest.raises(GuestFault):
        rig.calls.serve()
    assert rig.view.snapshot() == before


def test_shutdown_tells_how() -> None:
    rig = Rig()
    assert rig.call(abi.SCHED_OP, abi.SCHED_SHUTDOWN, abi.SHUTDOWN_POWER_OFF, 7) == 0
    assert rig.call(abi.SCHED_OP, abi.SCHED_SHUTDOWN, 9) == abi.EINVAL
    assert rig.ended == [(abi.SHUTDOWN_POWER_OFF, 7)]


def test_sleep_needs_events() -> None:
    rig = Rig()
    assert rig.call(abi.SCHED_OP, abi.SCHED_BLOCK) == abi.EPERM
    assert rig.call(abi.SCHED_OP, abi.SCHED_YIELD) == 0
    assert rig.call(abi.SET_TIMER, 10_000_000) == abi.EPERM


def test_version() -> None:
    assert Rig().call(abi.VERSION) == 0x0001_0000


def test_reset_forgets_the_page() -> None:
    rig = Rig().with_upcalls()
    rig.calls.reset()
    rig.page.masked = True
    assert rig.ram.read(SHARED + abi.UPCALL_MASK, 1) == b"\0"
    assert not rig.page.waiting()
