"""Reset, CPUID, MSRs and time stamps on both engines."""

from __future__ import annotations

import ctypes

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, long, prot, real, run
from vmm.cpu import cpuid
from vmm.cpu import registers as r
from vmm.cpu.cpuid import Cpuid
from vmm.cpu.engine import StopReason
from vmm.cpu.processor import ProcessorOptions

pytestmark = both_engines


def reset_state(rig: Rig) -> dict[str, object]:
    """The registers that [SDM3] table 9-1 lists."""
    view = rig.view
    state = view.state
    found: dict[str, object] = {name: view.regs[i] for i, name in enumerate(r.GPR_NAMES)}
    for index, name in enumerate(r.SEGMENT_NAMES):
        segment = view.segs[index]
        found[name] = (segment.selector, segment.base, segment.limit, segment.flags >> 8 & 0xF0FF)
    for name in ("gdt", "idt", "ldt", "tr"):
        table = getattr(view, name)
        found[name] = (table.selector, table.base, table.limit)
    for index in (0, 2, 3, 4):
        found[f"cr{index}"] = view.cr[index]
    found |= {"rip": view.rip, "rflags": view.rflags, "efer": view.efer, "cpl": view.cpl}
    found |= {"sysenter_cs": state.sysenter_cs, "star": state.star, "a20": state.a20_mask}
    found |= {f"dr{i}": rig.processor.read_dr(i) for i in (0, 1, 2, 3, 6, 7)}
    return found


def expected_reset_state() -> dict[str, object]:
    found: dict[str, object] = dict.fromkeys(r.GPR_NAMES, 0)
    found["rdx"] = cpuid.model(cpuid.DEFAULT_MODEL).leaves[1][0]
    found |= dict.fromkeys(r.SEGMENT_NAMES, (0, 0, 0xFFFF, 0x93))
    found["cs"] = (0xF000, 0xFFFF_0000, 0xFFFF, 0x9B)
    found |= dict.fromkeys(("gdt", "idt", "ldt", "tr"), (0, 0, 0xFFFF))
    found |= {"cr0": 0x6000_0010, "cr2": 0, "cr3": 0, "cr4": 0}
    found |= {"rip": 0xFFF0, "rflags": 2, "efer": 0, "cpl": 0, "sysenter_cs": 0, "star": 0, "a20": -1}
    return found | {"dr0": 0, "dr1": 0, "dr2": 0, "dr3": 0, "dr6": 0xFFFF_0FF0, "dr7": 0x400}


def test_the_state_after_power_on_is_that_of_the_manual(engine: str) -> None:
    """Unicorn's own reset leaves protection on and no IDT limit."""
    assert reset_state(Rig(engine)) == expected_reset_state()


DIRTY = """
    mov rax, 0x12345678
    mov dr0, rax
    mov eax, 0x402
    mov dr7, rax
    write_msr 0x174, 0, 8
    write_msr 0xc0000081, 1, 2
    mov ebx, 0x5555
    mov r9, 0x5555
    mov ax, UDATA
    mov fs, ax
    sti
    finish
"""


def test_a_reset_from_long_mode_leaves_nothing_behind(engine: str) -> None:
    rig = run(engine, long(DIRTY))
    rig.processor.reset()
    assert reset_state(rig) == expected_reset_state()
    rig.load(real("log 3\n finish"))
    assert rig.run() is StopReason.HALTED
    assert rig.log[-1] == 3


def test_the_first_instruction_is_at_fffffff0(engine: str) -> None:
    rig = Rig(engine)
    rom = rig.memory.blocks()[-1]
    assert rom.address == 0xFFFF_0000
    ctypes.memmove(rom.host_address + 0xFFF0, b"\xb0\x2a\xe6\xe0\xfa\xf4", 6)
    assert rig.run() is StopReason.HALTED
    assert rig.log == [0x2A]


def test_cpuid_hides_what_the_machine_lacks(engine: str) -> None:
    """Unicorn's models have an APIC, MONITOR and a hypervisor bit whatever the machine holds (C6)."""
    rig = run(engine, prot("mov eax, 1\n cpuid\n log ecx\n log edx\n mov eax, 0\n cpuid\n log ebx\n finish"))
    ecx, edx, vendor = rig.log
    assert ecx & (cpuid.ECX_MONITOR | cpuid.ECX_HYPERVISOR | cpuid.ECX_X2APIC) == 0
    assert edx & cpuid.EDX_APIC == 0
    assert vendor == 0x756E_6547


def test_cpuid_shows_the_apic_of_a_machine_that_has_one(engine: str) -> None:
    """[SDM3] §10.4.3: and not once IA32_APIC_BASE has turned it off."""
    rig = run(
        engine,
        prot("""
        mov eax, 1
        cpuid
        log edx
        mov ecx, 0x1b
        rdmsr
        log eax
        and ah, 0xf7
        wrmsr
        mov eax, 1
        cpuid
        log edx
        mov ecx, 0x1b
        mov eax, 0x400                  ; x2APIC
        xor edx, edx
        try wrmsr
        finish"""),
        apic=Rig.local_apic(),
    )
    shown, base, hidden = rig.log
    assert (shown & cpuid.EDX_APIC, base, hidden & cpuid.EDX_APIC) == (cpuid.EDX_APIC, 0xFEE0_0900, 0)
    assert rig.briefs == [(r.GP, 0, 0)]


def test_without_an_apic_there_is_no_base_for_it(engine: str) -> None:
    rig = run(engine, prot("mov ecx, 0x1b\n try rdmsr\n finish"))
    assert rig.briefs == [(r.GP, 0, 0)]


def test_cpuid_is_that_of_the_model_leaf_by_leaf(engine: str) -> None:
    leaves = [0, 1, 2, 3, 0x1000, 0x4000_0000, 0x8000_0000, 0x8000_0001, 0x8000_0002, 0x8000_0008]
    asks = "".join(
        f"mov eax, {leaf:#x}\n xor ecx, ecx\n cpuid\n log eax\n log ebx\n log ecx\n log edx\n"
        for leaf in leaves
    )
    answers = Cpuid(cpuid.model(cpuid.DEFAULT_MODEL))
    assert run(engine, prot(asks + "finish")).log == [word for leaf in leaves for word in answers(leaf, 0)]


@pytest.mark.parametrize("body", ["monitor", "mwait", "rdtscp", "vmcall", "vmxon [0]", "rsm", "getsec"])
def test_instructions_that_cpuid_hides_do_not_exist(engine: str, body: str) -> None:
    """MONITOR and MWAIT would run: Unicorn has them in every model."""
    code = "db 0x0f, 0x37" if body == "getsec" else body
    assert run(engine, prot(f"xor ecx, ecx\n try {code}\n finish")).briefs == [(r.UD, 0, 0)]


@pytest.mark.parametrize("msr", [0x12345, 0xC001_0015, 0xC000_1FFF, 0x1B, 0x3A0])
def test_an_unknown_msr_is_a_general_protection_fault(engine: str, msr: int) -> None:
    """Unicorn reads 0 and drops writes (C12)."""
    rig = run(engine, prot(f"mov ecx, {msr:#x}\n try rdmsr\n try wrmsr\n log 1\n finish"))
    assert rig.briefs == [(r.GP, 0, 0)] * 2
    assert rig.log == [1]


def test_unknown_msrs_are_ignored_on_request(engine: str) -> None:
    body = "mov ecx, 0x12345\n mov eax, 1\n mov edx, 2\n wrmsr\n rdmsr\n log eax\n log edx\n finish"
    rig = run(engine, prot(body), ignore_unknown_msrs=True)
    assert (rig.log, rig.frames) == ([0, 0], [])


def test_the_engine_s_own_msrs_keep_what_is_written(engine: str) -> None:
    rig = run(
        engine,
        long("""
        write_msr 0x174, 0, 0x1234
        write_msr 0xc0000102, 0x11, 0x2222
        write_msr 0xc0000100, 0, 0x3333
        mov ecx, 0x174
        rdmsr
        log eax
        mov ecx, 0xc0000102
        rdmsr
        log eax
        log edx
        swapgs
        mov ecx, 0xc0000101
        rdmsr
        log edx
        mov ecx, 0xc0000100
        rdmsr
        log eax
        finish"""),
    )
    assert rig.log == [0x1234, 0x2222, 0x11, 0x11, 0x3333]


def test_the_time_stamp_counter_goes_on_and_can_be_set(engine: str) -> None:
    """1 GHz of machine time, by RDTSC and by its MSR; Unicorn's RDTSC is the host's."""
    rig = run(
        engine,
        prot("""
        rdtsc
        log edx
        mov ebx, eax
        mov ecx, 0x10
        rdmsr
        sub eax, ebx
        log eax
        mov eax, 5
        mov edx, 7
        wrmsr
        rdtsc
        log eax
        log edx
        mov ecx, 0x10
        rdmsr
        log edx
        mov esi, 20000
        rdtsc
        mov edi, eax
    again:
        rdtsc
        sub eax, edi
        js bad
        add edi, eax
        dec esi
        jnz again
        log 1
    bad:
        finish"""),
    )
    high, apart, low, written, read, monotonic = rig.log
    assert (high, written, read, monotonic) == (0, 7, 7, 1)
    assert 0 <= apart < 10**9
    assert 5 <= low < 10**9


def test_the_time_stamp_counter_is_forbidden_by_cr4_tsd(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        mov eax, 4
        mov cr4, eax
        rdtsc
        to_ring3 user
    user:
        try rdtsc
        to_ring0 done
    done:
        finish"""),
    )
    assert rig.briefs == [(r.GP, 0, 0)]


def test_options_do_not_leak_between_processors(engine: str) -> None:
    """Two machines of one process, run by turns."""
    one, two = Rig(engine, ProcessorOptions(apic=Rig.local_apic())), Rig(engine)
    body = prot(
        "mov ecx, 5\n again: log ecx\n out STOP, al\n dec ecx\n jnz again\n"
        "mov eax, 1\n cpuid\n log edx\n finish"
    )
    one.load(body)
    two.load(body)
    for _ in range(5):
        assert one.run() is StopReason.STOPPED
        assert two.run() is StopReason.STOPPED
    assert one.run() is two.run() is StopReason.HALTED
    assert one.log[:5] == two.log[:5] == [5, 4, 3, 2, 1]
    assert one.log[5] ^ two.log[5] == cpuid.EDX_APIC


def test_an_fpu_error_is_an_exception_with_cr0_ne_and_nothing_without(engine: str) -> None:
    """Not modelled: without CR0.NE the error should raise FERR#, IRQ 13 of a PC; Unicorn drops it (C12)."""
    rig = run(engine, prot("""
        fninit
        fldcw [unmasked]
        fld1
        fldz
        fdivp                           ; by zero
        try fwait
        fnclex
        mov eax, cr0
        or al, 0x20
        mov cr0, eax
        fld1
        fldz
        fdivp
        try fwait
        log 1
        finish
    unmasked: dw 0x37b"""))  # fmt: skip
    assert rig.briefs == [(r.MF, 0, 0)]
    assert rig.log == [1]
