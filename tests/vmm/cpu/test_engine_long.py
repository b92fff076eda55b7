"""Long mode, compatibility mode and VM86 on both engines, [SDM3] §6.14, chapters 20 and 5.8."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, long, prot, run
from vmm.cpu import registers as r

pytestmark = both_engines
KCODE, KDATA, UCODE32, UDATA, UCODE = 0x08, 0x10, 0x1B, 0x23, 0x2B
STACK, INNER_STACK, IST1_STACK, USER_STACK = 0x5000, 0x5800, 0x5C00, 0x4800


@pytest.mark.parametrize(("instruction", "event"), [
    ("try ud2", (r.UD, 0, 0)),
    ("try int3", (r.BP, 0, 1)),
    ("try int 0x30", (0x30, 0, 2)),
    ("try int 0x60", (r.GP, 0x60 * 8 + 2, 0)),
    ("mov byte [IDT_AT + 0x31 * 16 + 5], 0x6e\n try int 0x31", (r.NP, 0x31 * 8 + 2, 0)),
    ("mov word [IDT_AT + 0x31 * 16 + 2], KCODE32\n try int 0x31", (r.GP, 0x40, 0)),
    ("mov rax, 0x800000000000\n try mov rax, [rax]", (r.GP, 0, 0)),
    ("mov rax, 0xffff800000000000\n try mov rax, [rax]", (r.PF_FAULT, 0, 0)),
    ("mov ax, 0xf8\n try mov ds, ax", (r.GP, 0xF8, 0)),
    ("xor eax, eax\n try div eax", (r.DE, 0, 0)),
    ("mov rax, 1 << 40\n mov rsp, rax\n try push rax", (r.PF_FAULT, 2, 0)),
])  # fmt: skip
def test_exceptions_of_ring_0(engine: str, instruction: str, event: tuple[int, int, int]) -> None:
    """A #PF on the stack itself is delivered on IST 1, as a kernel would have it."""
    rig = run(engine, long(f"mov byte [IDT_AT + 14 * 16 + 4], 1\n{instruction}\nfinish"))
    assert rig.briefs == [event]


@pytest.mark.parametrize("selector", ["UCODE", "UCODE32"])
def test_ring_3_enters_on_the_stack_of_the_tss_with_a_null_ss(engine: str, selector: str) -> None:
    """[SDM3] §6.14.4: from 64-bit and from compatibility code."""
    bits = 32 if selector == "UCODE32" else 64
    rig = run(
        engine,
        long(f"""
        gate 0x30, look, 0xee00
        to_ring3 {selector}, user
    bits {bits}
    user:
        int 0x30
        try hlt
        mov ecx, esp
        to_ring0 done
    bits 64
    look:
        mov rax, ss
        out LOG, eax
        mov eax, esp
        out LOG, eax
        mov rax, [rsp + 8]
        out LOG, eax
        mov rax, [rsp + 32]
        out LOG, eax
        mov rax, [rsp + 24]
        out LOG, eax
        iretq
    done:
        log ecx
        finish"""),
    )
    code = UCODE if bits == 64 else UCODE32
    assert rig.log == [0, INNER_STACK - 40, code, UDATA, USER_STACK, USER_STACK]
    (frame,) = rig.frames
    assert (frame.brief, frame.cs, frame.sp, frame.ss) == ((r.GP, 0, 0), code, USER_STACK, UDATA)


def test_the_interrupt_stack_table_is_taken_whatever_the_ring(engine: str) -> None:
    """Deliberate difference: without a change of ring Unicorn loads a null SS with an IST; ours keeps SS.

    [SDM3] §6.14.5 keeps SS, so only RSP and the frame are compared.
    """
    rig = run(
        engine,
        long("""
        gate 0x30, look, 0xee01
        int 0x30
        to_ring3 UCODE, user
    user:
        int 0x30
        to_ring0 done
    look:
        mov eax, esp
        out LOG, eax
        mov rax, [rsp + 24]
        out LOG, eax
        mov rax, [rsp + 32]
        out LOG, eax
        iretq
    done:
        finish"""),
    )
    inside = IST1_STACK - 40
    assert rig.log == [inside, STACK, KDATA, inside, USER_STACK, UDATA]


def test_the_stack_is_aligned_and_error_codes_pushed_as_eight_bytes(engine: str) -> None:
    rig = run(
        engine,
        long("""
        gate 13, look, 0x8e00
        mov rsp, 0x4ff9
        mov ax, 0xf8
    faults:
        mov ds, ax
        finish
    look:
        mov eax, esp
        out LOG, eax
        mov rax, [rsp]
        out LOG, eax
        mov rax, [rsp + 32]
        out LOG, eax
        add rsp, 8
        add qword [rsp], 2
        iretq"""),
    )
    assert rig.log == [0x4FF0 - 48, 0xF8, 0x4FF9]


def test_iret_between_64_bit_and_compatibility_code_in_ring_0(engine: str) -> None:
    rig = run(
        engine,
        long("""
        push qword KDATA
        push qword 0x4000
        pushfq
        push qword KCODE32
        push qword compatible
        iretq
    bits 32
    compatible:
        mov eax, 0xffffffff
        inc eax                         ; 40h: INC, not a prefix
        log eax
        mov ecx, esp
        log ecx
        int 0x30
        jmp KCODE:wide
    bits 64
    wide:
        mov rax, -1
        shr rax, 32
        log eax
        finish"""),
    )
    assert rig.log == [0, 0x4000, 0xFFFF_FFFF]
    (frame,) = rig.frames
    assert (frame.vector, frame.cs, frame.sp, frame.ss) == (0x30, 0x40, 0x4000, KDATA)


def test_leaving_and_entering_long_mode_again(engine: str) -> None:
    """[SDM3] §9.8.5.4: from compatibility mode, paging off; back by paging on with EFER.LME kept."""
    rig = run(
        engine,
        long("""
        push qword KCODE32
        push qword down
        retfq
    bits 32
    down:
        mov eax, cr0
        and eax, 0x7fffffff
        mov cr0, eax
        mov ecx, 0xc0000080
        rdmsr
        log eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        rdmsr
        log eax
        jmp KCODE:up
    bits 64
    up: finish"""),
    )
    assert rig.log == [0x101, 0x501]


def test_no_execute_pages_fault_on_fetch_only(engine: str) -> None:
    rig = run(
        engine,
        long("""
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x800
        wrmsr
        mov byte [0x200000], 0xc3
        mov dword [PTE + 0x200 * 8 + 4], 0x80000000
        mov rax, cr3
        mov cr3, rax
        mov rax, [0x200000]
        mov qword [tried], 0x200000
        mov qword [resume], after
        mov rax, 0x200000
        call rax
    after:
        finish"""),
    )
    assert [(frame.brief, frame.cr2) for frame in rig.frames] == [((r.PF_FAULT, 0x11, 0), 0x200000)]


VM86 = """
    gate 6, leave_ring3, 0x8e00     ; UD2 ends the task, whatever its IOPL
    mov dword [back], done
    push dword 0x6666               ; GS FS DS ES
    push dword 0x5555
    push dword 0x0050
    push dword 0x0040
    push dword 0x0300               ; SS:ESP
    push dword 0x0ffe
    push dword {flags}
    push dword 0
    push dword task
    iretd
bits 16
task:
    mov dword [cs:tried], first
    mov dword [cs:resume], next
first:
    {body}
next:
    ud2
bits 32
done:
    finish
"""


@pytest.mark.parametrize(("iopl", "body", "event"), [
    (3, "int 0x33", (0x33, 0, 2)),
    (0, "int 0x33", (r.GP, 0, 0)),
    (0, "int3", (r.BP, 0, 1)),
    (0, "cli", (r.GP, 0, 0)),
    (0, "pushf", (r.GP, 0, 0)),
    (0, "iret", (r.GP, 0, 0)),
    (3, "hlt", (r.GP, 0, 0)),
    (3, "mov eax, cr0", (r.GP, 0, 0)),
])  # fmt: skip
def test_vm86_leaves_through_the_tss(engine: str, iopl: int, body: str, event: tuple[int, int, int]) -> None:
    """INT n traps below IOPL 3, INT3 does not: the portable engine took the one for the other."""
    flags = 0x20002 | iopl << 12
    rig = run(engine, prot(VM86.format(flags=flags, body=body)))
    (frame,) = rig.frames
    assert frame.brief == event
    assert (frame.cs, frame.sp & 0xFFFF, frame.ss) == (0, 0x0FFE, 0x0300)
    assert frame.flags & 0x23000 == flags & 0x23000


def test_the_handler_of_a_vm86_interrupt_finds_null_segments_and_the_task_s_in_its_frame(engine: str) -> None:
    """[SDM3] §20.3.1: ES, DS, FS, GS are pushed and loaded with null selectors."""
    guest = VM86.format(flags=0x23002, body="int 0x33")
    rig = run(engine, prot("gate 0x33, look, 0xee00\n" + guest + """
    look:
        mov ebp, esp
        mov ax, ds
        movzx eax, ax
        out LOG, eax
        mov ecx, 0
    .next:
        mov eax, [ss:ebp + 12 + ecx * 4]
        out LOG, eax
        inc ecx
        cmp ecx, 6
        jb .next
        mov eax, esp
        out LOG, eax
        iretd"""))  # fmt: skip
    assert rig.log == [0, 0x0FFE, 0x0300, 0x0040, 0x0050, 0x5555, 0x6666, INNER_STACK - 36]


def test_an_interrupt_leaves_vm86_and_returns_to_it(engine: str) -> None:
    rig = run(engine, prot(VM86.format(flags=0x20202, body="""
        mov al, 0x41
        out INTR, al
        mov cx, 500
        loop $
    """)))  # fmt: skip
    (frame,) = rig.frames
    assert (frame.vector, frame.cs, frame.ss, frame.flags & 0x20200) == (0x41, 0, 0x0300, 0x20200)


def test_cr8_is_the_task_priority_of_the_local_apic(engine: str) -> None:
    """[SDM3] §10.8.6.1: CR8 bits 3 to 0 are TPR bits 7 to 4; other bits set are refused."""
    apic = Rig.local_apic()
    apic.write_tpr(0x35)
    rig = run(
        engine,
        long("""
        mov rax, cr8
        log eax
        mov r9, 0xb
        mov cr8, r9
        mov rbx, cr8
        log ebx
        mov rcx, 0x10
        try mov cr8, rcx
        to_ring3 UCODE, user
    user:
        try mov rax, cr8
        to_ring0 done
    done:
        finish"""),
        apic=apic,
    )
    assert rig.log == [3, 0xB]
    assert apic.tpr == 0xB0
    assert rig.briefs == [(r.GP, 0, 0), (r.GP, 0, 0)]
