"""SYSCALL, SYSRET, SYSENTER and SYSEXIT: Unicorn has only the way back (C5). [SDM2B]."""

from __future__ import annotations

from tests.vmm.cpu.engine_rig import both_engines, long, prot, run
from vmm.cpu import registers as r

pytestmark = both_engines

MSRS_32 = """
    mov ecx, 0x174
    xor edx, edx
    mov eax, {cs}
    wrmsr
    inc ecx
    mov eax, STACK - 64
    wrmsr
    inc ecx
    mov eax, kernel
    wrmsr
"""
STATE = """
    mov ecx, cs
    out LOG, eax
    mov eax, ecx
    out LOG, eax
    mov ecx, ss
    mov eax, ecx
    out LOG, eax
    mov eax, esp
    out LOG, eax
    pushfd
    pop eax
    and eax, 0x20200
    out LOG, eax
"""


def test_sysenter_and_sysexit(engine: str) -> None:
    rig = run(engine, prot(MSRS_32.format(cs="KCODE | 3") + f"""
        sti
        to_ring3 user
    user:
        mov eax, 7
        sysenter
    back3:
        mov ecx, cs
        mov eax, ecx
        out LOG, eax
        mov ecx, ss
        mov eax, ecx
        out LOG, eax
        mov eax, esp
        out LOG, eax
        to_ring0 done
    kernel:
        {STATE}
        mov edx, back3
        mov ecx, 0x4444
        sysexit
    done:
        finish"""))  # fmt: skip
    assert rig.log == [7, 0x08, 0x10, 0x5000 - 64, 0, 0x1B, 0x23, 0x4444]


def test_a_data_segment_with_a_base_keeps_it_across_sysenter(engine: str) -> None:
    """The engine leaves bases out of addresses while it believes all of them to be 0."""
    rig = run(engine, prot(MSRS_32.format(cs="KCODE | 3") + """
        mov dword [0xa000], 0x222
        mov dword [0x9000], 0x111
        mov word [GDT_AT + 0x20 + 2], 0x1000
        to_ring3 user
    user:
        mov ax, UDATA
        mov ds, ax
        sysenter
    kernel:
        mov eax, [0x9000]
        mov ecx, KDATA
        mov ds, cx
        log eax
        finish"""))  # fmt: skip
    assert rig.log == [0x222]


def test_sysenter_without_its_msr_is_a_general_protection_fault(engine: str) -> None:
    """At the instruction, with the user's frame: the hook cannot set EIP, and the fault still is exact."""
    rig = run(
        engine,
        prot("""
        to_ring3 user
    user:
        try sysenter
        mov ebx, 0x77
        to_ring0 done
    done:
        log ebx
        finish"""),
    )
    assert (rig.briefs, rig.log) == ([(r.GP, 0, 0)], [0x77])
    assert (rig.frames[0].cs, rig.frames[0].sp) == (0x1B, 0x4800)


def test_syscall_is_undefined_until_efer_says_otherwise(engine: str) -> None:
    rig = run(
        engine,
        long("""
        mov ecx, 0xc0000080
        rdmsr
        and eax, ~1
        wrmsr
        to_ring3 UCODE, user
    user:
        try syscall
        to_ring0 done
    done:
        finish"""),
    )
    assert rig.briefs == [(r.UD, 0, 0)]


MSRS_64 = """
    %macro log_rflags_cs_ss 0                       ; CF, IF, DF of the flags
        pushfq
        pop rax
        and eax, 0x601
        out LOG, eax
        mov eax, cs
        out LOG, eax
        mov eax, ss
        out LOG, eax
    %endmacro
    write_msr 0xc0000081, 0x001b0008, 0x1234        ; STAR: SYSRET 1Bh, SYSCALL 08h
    write_msr 0xc0000082, 0, kernel
    write_msr 0xc0000083, 0, kernel32
    write_msr 0xc0000084, 0, 0x600                  ; FMASK: IF, DF
"""


def test_syscall_and_sysret_in_64_bit_code(engine: str) -> None:
    rig = run(
        engine,
        long(
            MSRS_64
            + """
        sti
        to_ring3 UCODE, user
    user:
        std
        mov eax, 5
        stc
        syscall
    after:
        mov r8, rsp
        log_rflags_cs_ss
        cld
        to_ring0 done
    kernel:
        out LOG, eax
        mov rax, rcx
        sub rax, after
        out LOG, eax
        mov rax, r11
        and eax, 0x601
        out LOG, eax
        log_rflags_cs_ss
        mov eax, esp
        out LOG, eax
        o64 sysret
    kernel32:
        ud2
    done:
        finish"""
        ),
    )
    assert rig.log == [5, 0, 0x601, 0, 0x08, 0x10, 0x4800, 0x601, 0x2B, 0x23]
    assert rig.frames == []


def test_syscall_from_compatibility_code_enters_cstar(engine: str) -> None:
    rig = run(
        engine,
        long(
            MSRS_64
            + """
        to_ring3 UCODE32, user
    bits 32
    user:
        syscall
    after:
        mov eax, cs
        out LOG, eax
        to_ring0 done
    bits 64
    kernel:
        ud2
    kernel32:
        mov rax, rcx
        sub rax, after
        out LOG, eax
        o32 sysret
    done:
        finish"""
        ),
    )
    assert rig.log == [0, 0x1B]
    assert rig.frames == []


def test_sysenter_in_long_mode(engine: str) -> None:
    rig = run(
        engine,
        long("""
        write_msr 0x174, 0, KCODE
        write_msr 0x175, 0, STACK - 64
        write_msr 0x176, 0, kernel
        to_ring3 UCODE, user
    user:
        sysenter
        ud2
    after:
        mov eax, cs
        out LOG, eax
        to_ring0 done
    kernel:
        mov eax, cs
        out LOG, eax
        mov eax, esp
        out LOG, eax
        mov rdx, after
        mov rcx, USER_STACK
        o64 sysexit
    done:
        finish"""),
    )
    assert rig.log == [0x08, 0x5000 - 64, 0x2B]
    assert rig.frames == []


def test_sysret_and_sysexit_are_for_ring_0(engine: str) -> None:
    rig = run(
        engine,
        long("""
        to_ring3 UCODE, user
    user:
        try sysret
        try sysexit
        to_ring0 done
    done:
        finish"""),
    )
    assert rig.briefs == [(r.GP, 0, 0)] * 2


def test_a_single_step_passes_through_the_entry(engine: str) -> None:
    """With TF in FMASK the kernel runs free; the user's trap comes after SYSRET. [SDM2B] SYSCALL."""
    rig = run(
        engine,
        long(
            MSRS_64.replace("0x600 ", "0x700 ")
            + """
        mov qword [tried], user
        to_ring3 UCODE, user
    user:
        pushfq
        or dword [rsp], 0x100
        popfq
        syscall
        nop
        pushfq
        and dword [rsp], ~0x100
        popfq
        to_ring0 done
    kernel:
        nop
        o64 sysret
    kernel32:
        ud2
    done:
        finish"""
        ),
    )
    assert {frame.cs for frame in rig.frames} == {0x2B}
    assert [frame.vector for frame in rig.frames] == [r.DB] * len(rig.frames)
