"""Stops: a deadline or a request ends the run between two instructions, and nothing is lost or doubled."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, long, prot
from vmm.cpu.engine import StopReason
from vmm.cpu.processor import ProcessorOptions

pytestmark = both_engines

LATE_NS = 20_000_000_000  # what does not stop never does; a busy host only takes its time


def run_in_slices(rig: Rig, slice_ns: int = 15_000) -> None:
    """Run to the end in slices so short that stops land everywhere, and with stops asked for by a port."""
    stops, rig.ports.stop_every = 0, 53
    going_on = (StopReason.DEADLINE, StopReason.STOPPED)
    while (reason := rig.engine.run(rig.engine.wiring.now_ns() + slice_ns)) in going_on:
        stops += 1
        assert stops < 1_000_000, rig.log[-3:]
    assert reason is StopReason.HALTED


def test_no_out_is_lost_and_none_doubled(engine: str) -> None:
    """Eight in a block, so that stops are asked for while more of them follow."""
    rig = Rig(engine).load(prot("""
        mov eax, 80000
    again:
        %rep 8
        out LOG, eax
        dec eax
        %endrep
        jnz again
        finish"""))  # fmt: skip
    run_in_slices(rig)
    assert rig.log == list(range(80000, 0, -1))


def test_no_in_is_lost_and_none_doubled(engine: str) -> None:
    """Each reads the next number."""
    rig = Rig(engine).load(prot("""
        xor ecx, ecx
        xor ebx, ebx
    again:
        %rep 8
        inc ecx
        in eax, NUMBER
        sub eax, ecx
        or ebx, eax
        %endrep
        test ebx, ebx
        jnz bad
        cmp ecx, 80000
        jb again
    bad:
        log ecx
        finish"""))  # fmt: skip
    run_in_slices(rig)
    assert (rig.log, rig.ports.number) == ([80000], 80000)


def test_repeated_string_io_keeps_its_count_and_pointers(engine: str) -> None:
    """A stop inside INS loses the element or the pointer's advance (C1, and skipped hooks)."""
    rig = Rig(engine).load(
        prot("""
        mov ebx, 40
    again:
        mov edx, NUMBER
        mov edi, 0x200000
        mov ecx, 1000
        rep insd
        log edi
        mov edx, LOG
        mov esi, 0x200000
        mov ecx, 1000
        rep outsd
        dec ebx
        jnz again
        finish""")
    )
    run_in_slices(rig)
    expected = []
    for turn in range(40):
        expected += [0x200000 + 4000, *range(turn * 1000 + 1, turn * 1000 + 1001)]
    assert rig.log == expected


SYSENTER = prot("""
    mov ecx, 0x174
    xor edx, edx
    mov eax, KCODE
    wrmsr
    mov ecx, 0x176
    mov eax, kernel
    wrmsr
    xor ebx, ebx
    xor esi, esi
    to_ring3 user
user:
    in al, NUMBER
    inc esi
    sysenter
    ud2
kernel:
    inc ebx
    cmp ebx, 30000
    jae .end
    mov edx, user
    mov ecx, USER_STACK
    sysexit
.end:
    mov esp, STACK
    log ebx
    log esi
    finish""")
SYSCALL = long("""
    write_msr 0xc0000081, 0x001b0008, 0
    write_msr 0xc0000082, 0, kernel
    xor ebx, ebx
    xor esi, esi
    to_ring3 UCODE, user
user:
    in al, NUMBER
    inc esi
    syscall
    ud2
kernel:
    inc ebx
    lea rcx, [user]
    cmp ebx, 30000
    jae .end
    o64 sysret
.end:
    log ebx
    log esi
    finish""")


@pytest.mark.long("syscall-portable")
@pytest.mark.parametrize("source", [SYSENTER, SYSCALL], ids=["sysenter", "syscall"])
def test_a_system_call_is_never_a_no_op(engine: str, source: str) -> None:
    """Unicorn's hooks of SYSENTER, SYSCALL, CPUID and RDTSC are passed over while a stop is requested.

    (Each looks at `stop_request` before it has come to its own entry of the list.) A stop that falls
    into the slow IN of the same block then makes SYSCALL do nothing, and SYSENTER go back to the INC.
    """
    rig = Rig(engine).load(source)
    run_in_slices(rig)
    assert (rig.log, rig.frames) == ([30000, 30000], [])


def test_cpuid_and_rdtsc_are_always_ours(engine: str) -> None:
    """The engine's own CPUID shows a hypervisor, its RDTSC the host's count."""
    rig = Rig(engine).load(prot("""
        xor esi, esi
        xor ebp, ebp
        mov edi, 10000
    again:
        in al, NUMBER
        mov eax, 1
        cpuid
        or esi, ecx
        in al, NUMBER
        rdtsc
        or ebp, edx
        dec edi
        jnz again
        log esi
        log ebp
        finish"""))  # fmt: skip
    run_in_slices(rig)
    features, high = rig.log
    assert features >> 31 == 0
    assert high < 16


def test_a_stop_never_lands_within_an_instruction(engine: str) -> None:
    """Unicorn checks for exits after memory accesses: half of `add [m], r` or `push` is then lost (C1).

    Without `no_exit_request` (accelerated) this sum differs in nearly every run.
    """
    rig = Rig(engine).load(
        prot("""
        mov ecx, 400000
        xor ebx, ebx
    again:
        add [sum], ecx
        push ecx
        xadd [other], ecx
        pop edx
        sub ecx, ecx
        add ecx, edx
        call near half
        ror dword [mix], 3
        xor [mix], edx
        dec ecx
        jnz again
        log [sum]
        log [other]
        log ebx
        log [mix]
        log esp
        finish
    half:
        push edx
        add ebx, [esp]
        pop edx
        ret
    sum: dd 0
    other: dd 0
    mix: dd 0""")
    )
    run_in_slices(rig, 30_000)
    total = 400000 * 400001 // 2 & 0xFFFF_FFFF
    mix = 0
    for number in range(400000, 0, -1):
        mix = (mix >> 3 | mix << 29) & 0xFFFF_FFFF ^ number
    assert rig.log == [total, total, total, mix, 0x5000 - 4]


def test_stop_within_an_out_returns_behind_its_block_at_the_latest(engine: str) -> None:
    rig = Rig(engine).load(
        prot("""
        mov ecx, 300
    again:
        mov eax, ecx
        out STOP, al
        out LOG, eax
        loop again
        finish""")
    )
    for turn in range(300):
        assert rig.run() is StopReason.STOPPED
        assert len(rig.log) == turn if engine == "portable" else turn <= len(rig.log) <= turn + 1
    assert rig.run() is StopReason.HALTED
    assert rig.log == list(range(300, 0, -1))


def test_stop_within_an_in_loses_nothing(engine: str) -> None:
    rig = Rig(engine)
    rig.ports.stop_every = 100
    rig.load(
        prot("""
        xor ebx, ebx
        mov ecx, 20000
    again:
        in eax, NUMBER
        add ebx, eax
        loop again
        log ebx
        finish""")
    )
    stops = 0
    while rig.run() is StopReason.STOPPED:
        stops += 1
    assert stops >= 1
    assert rig.log == [20000 * 20001 // 2]


def test_a_tight_loop_is_left_at_the_deadline(engine: str) -> None:
    """Neither a jump to itself nor a loop of chained blocks holds the processor."""
    chained = "again: nop\n jmp next\n next: dec edx\n jmp again"
    for body in ("jmp $", chained, "again: call sub_\n jmp again\n sub_: ret"):
        rig = Rig(engine).load(prot(body))
        for _ in range(5):
            began = rig.engine.wiring.now_ns()
            assert rig.engine.run(began + 5_000_000) is StopReason.DEADLINE
            took = rig.engine.wiring.now_ns() - began
            assert 4_000_000 < took < LATE_NS


def test_a_nearer_deadline_set_by_a_device_is_kept(engine: str) -> None:
    rig = Rig(engine).load(prot("out SERVICE, al\n jmp $"))
    rig.service = lambda value: rig.engine.deadline_moved(rig.engine.wiring.now_ns() + 3_000_000)
    began = rig.engine.wiring.now_ns()
    limit = 10 * LATE_NS if engine == "accelerated" else 5_000_000
    assert rig.engine.run(began + limit) is StopReason.DEADLINE
    assert rig.engine.wiring.now_ns() - began < LATE_NS


def test_a_stop_leaves_the_page_fault_registers_alone(engine: str) -> None:
    """Unless exits are enabled Unicorn walks the guest's page tables for `until` at each return."""
    rig = Rig(engine).load(
        prot("""
        paging
        mov dword [PTE + 0x300 * 4], 0
        try mov eax, [0x300004]
        mov eax, 0x5a5a5a5a
        mov cr2, eax
        mov ecx, 3000000
        loop $
        mov eax, cr2
        log eax
        try mov eax, [0x300004]
        try mov eax, [0x300008]
        finish""")
    )
    run_in_slices(rig, 50_000)
    assert rig.log == [0x5A5A_5A5A]
    assert [(frame.vector, frame.error, frame.cr2) for frame in rig.frames] == [
        (14, 0, 0x300004), (14, 0, 0x300004), (14, 0, 0x300008),
    ]  # fmt: skip


def test_virtual_time_is_that_of_the_code_run(engine: str) -> None:
    """The same guest reads the same time stamps, run after run, whatever the host does."""
    body = prot("""
        mov ebx, 20
    again:
        mov ecx, 5000
        loop $
        rdtsc
        out LOG, eax
        dec ebx
        jnz again
        finish""")
    runs = []
    for _ in range(3):
        rig = Rig(engine, ProcessorOptions(virtual_clock=True)).load(body)
        assert rig.run() is StopReason.HALTED
        runs.append(rig.log)
    assert runs[0] == runs[1] == runs[2]
    assert sorted(runs[0]) == runs[0]
    assert len(set(runs[0])) > 10
