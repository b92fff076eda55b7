"""Boot sectors that once took the monitor down, or would without a work-around, each as small as it gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.fuzz import tables as t
from tests.fuzz.assembler import AX, DS, ES, OPERAND, SP, SS, Assembler
from tests.fuzz.bootsectors import EXIT_PORT, LOAD_AT, SECTOR, SIGNATURE

GDT: Final = LOAD_AT + 0x100
IDT: Final = 0x6000
TSS: Final = 0x6800
LEAVE: Final = GDT + 0x80
STACK: Final = 0x5000
SCRATCH: Final = 0x5800
HOLE: Final = 0xF000_0000
FLAT_CODE, FLAT_DATA, USER_CODE, USER_DATA, SMALL_STACK, TASK, USER_GATE = (
    8,
    0x10,
    0x1B,
    0x23,
    0x28,
    0x30,
    0x3B,
)
INTERRUPT, UD, PF = 0x30, 6, 14
NOT_MAPPED: Final = 0x800000
PAGE_DIRECTORY: Final = 0x10000
DATA_3, CODE_3, CODE, DATA, TSS_32, TSS_32_BUSY, INTERRUPT_GATE, CALL_GATE = (
    0xF2, 0xFA, 0x9A, 0x92, 0x89, 0x8B, 0xEE, 0xEC,
)  # fmt: skip


def sector(code: Assembler, gdt: bytes = b"") -> bytes:
    """The boot sector: code, and at fixed places a GDT and the way out."""
    assert len(code.code) <= GDT - LOAD_AT
    image = bytes(code.code).ljust(GDT - LOAD_AT, b"\0") + gdt.ljust(LEAVE - GDT, b"\0")
    image += bytes((0xB0, 0x01, 0xE6, EXIT_PORT, 0xEB, 0xFE))
    return image.ljust(SECTOR - 2, b"\0") + SIGNATURE


def real() -> Assembler:
    """Code at the start of a boot sector, its segments zero."""
    code = Assembler(LOAD_AT, 16)
    code.db(0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C)
    return code


def protected(task_access: int = TSS_32) -> tuple[Assembler, bytes]:
    """Into 32-bit protected mode by way of `real`; the code goes on there."""
    code = real()
    code.store(SCRATCH, 0x3F, 2)
    code.store(SCRATCH + 2, GDT)
    code.memory(OPERAND, 0x0F, 0x01, field=2, address=SCRATCH)
    code.store(SCRATCH, 0x1FF, 2)
    code.store(SCRATCH + 2, IDT)
    code.memory(OPERAND, 0x0F, 0x01, field=3, address=SCRATCH)
    code.write_cr(0, 1)
    code.far_jump(FLAT_CODE, code.here + 8)
    code.bits = 32
    for segment in (DS, ES, SS):
        code.mov_segment(segment, FLAT_DATA)
    code.mov(SP, STACK)
    entries = (
        bytes(8), t.segment(CODE, 0xCF), t.segment(DATA, 0xCF),
        t.segment(CODE_3, 0xCF), t.segment(DATA_3, 0xCF),
        t.segment(DATA, 0, 0x20000, 0xFFFF), t.segment(task_access, 0, TSS, 0x67),
        t.gate(CALL_GATE, FLAT_CODE, LEAVE),
    )  # fmt: skip
    return code, b"".join(entries)


def put_gate(code: Assembler, vector: int, offset: int) -> None:
    """Let `vector` lead to `offset` in ring 0, from any ring."""
    gate = t.gate(INTERRUPT_GATE, FLAT_CODE, offset)
    code.store(IDT + 8 * vector, int.from_bytes(gate[:4], "little"))
    code.store(IDT + 8 * vector + 4, int.from_bytes(gate[4:], "little"))


def to_ring_3(code: Assembler) -> None:
    """IRET to what follows, at CPL 3."""
    for value in (USER_DATA, STACK, 2, USER_CODE):
        code.push(value)
    code.push(code.here + 6)
    code.db(0xCF)


def load_task(code: Assembler, selector: int) -> None:
    """LTR."""
    code.mov(AX, selector)
    code.db(0x0F, 0x00, 0xD8)


def interrupt_without_task() -> bytes:
    """INT in ring 3 while TR is as after reset: QEMU aborts on `invalid tss type`."""
    code, gdt = protected()
    put_gate(code, INTERRUPT, LEAVE)
    to_ring_3(code)
    code.db(0xCD, INTERRUPT, 0xEB, 0xFE)
    return sector(code, gdt)


def call_gate_without_task() -> bytes:
    """The same by a call gate, which the engine serves itself."""
    code, gdt = protected()
    to_ring_3(code)
    code.far_call(USER_GATE, 0, SCRATCH)
    return sector(code, gdt)


def interrupt_with_task(access: int, selector: int = TASK) -> bytes:
    """LTR of a task, then INT in ring 3: QEMU keeps the busy type, and aborts on it."""
    code, gdt = protected(access)
    put_gate(code, INTERRUPT, LEAVE)
    code.store(TSS + 4, STACK)
    code.store(TSS + 8, FLAT_DATA)
    load_task(code, selector)
    to_ring_3(code)
    code.db(0xCD, INTERRUPT, 0xEB, 0xFE)
    return sector(code, gdt)


def faults_without_code() -> bytes:
    """The handler of #PF is not mapped, its stack wraps: no instruction ever runs again."""
    code, gdt = protected()
    put_gate(code, PF, NOT_MAPPED)
    code.store(PAGE_DIRECTORY, 0x83)
    code.write_cr(4, 0x10)
    code.write_cr(3, PAGE_DIRECTORY)
    code.mov_segment(SS, SMALL_STACK)
    code.write_cr(0, 0x80000001)
    code.jump(NOT_MAPPED)
    return sector(code, gdt)


def handler_in_a_hole() -> bytes:
    """A hole reads as FFh, and FFh FFh is #UD, whose handler is in the hole."""
    code, gdt = protected()
    put_gate(code, UD, HOLE)
    code.mov_segment(SS, SMALL_STACK)
    code.db(0x0F, 0x0B)
    return sector(code, gdt)


def always_new_code() -> bytes:
    """A slide of zeros through all of memory: to translate takes a thousand times what it takes to run."""
    code, gdt = protected()
    code.jump(0x100000)
    return sector(code, gdt)


def sleep_beside_a_masked_timer() -> bytes:
    """HLT with interrupts on and all masked at the PIC: deadlines pass for ever and wake nobody."""
    code = real()
    for port, value in ((0x21, 0xFF), (0xA1, 0xFF), (0x43, 0x34), (0x40, 16), (0x40, 0)):
        code.out(port, value)
    code.db(0xFB, 0xF4, 0xEB, 0xFD)
    return sector(code)


def code_that_modifies_itself() -> bytes:
    """New code at every turn: the translation cache fills and is flushed."""
    code = real()
    top = code.here
    code.store(code.here + 9, 0x90, 1)
    code.db(0x90, 0x90, 0x90, 0x90)
    code.jump(top)
    return sector(code)


def lock_bt_of_a_register() -> bytes:
    """LOCK BT AX, AX: QEMU's translator loads from an address never worked out, and aborts; it is #UD."""
    code = real()
    code.store(4 * UD, LEAVE)
    code.db(0xEB, 0x00, 0xF0, 0x0F, 0xA3, 0xC0, 0xEB, 0xFE)
    return sector(code)


KNOWN: Final[dict[str, Callable[[], bytes]]] = {
    "interrupt-without-task": interrupt_without_task,
    "call-gate-without-task": call_gate_without_task,
    "interrupt-after-ltr": lambda: interrupt_with_task(TSS_32),
    "interrupt-after-busy-ltr": lambda: interrupt_with_task(TSS_32_BUSY),
    "interrupt-after-null-ltr": lambda: interrupt_with_task(TSS_32, 0),
    "faults-without-code": faults_without_code,
    "handler-in-a-hole": handler_in_a_hole,
    "always-new-code": always_new_code,
    "sleep-beside-a-masked-timer": sleep_beside_a_masked_timer,
    "code-that-modifies-itself": code_that_modifies_itself,
    "lock-bt-of-a-register": lock_bt_of_a_register,
}
