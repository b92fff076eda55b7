"""The random actions of a guest, one short run of code each: rings, tables, control registers, MSRs."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tests.fuzz import tables as t
from tests.fuzz.assembler import AX, BP, CX, DI, DX, SI, SP, Assembler
from tests.fuzz.tables import Place

Atom = Callable[[Assembler, Random], None]

FLAGS: Final = (2, 0x202, 0x102, 0x3002, 0x3202, 0x4002, 0x10002, 0x20002, 0x23202, 0x40002, 0xD7, 0x200002)
MSRS: Final = (
    0x10, 0x17, 0x1B, 0x2A, 0x3A, 0x79, 0x8B, 0xCD, 0xFE, 0x174, 0x175, 0x176, 0x179, 0x17A, 0x17B, 0x198,
    0x1A0, 0x1D9, 0x200, 0x20F, 0x250, 0x26F, 0x277, 0x2FF, 0x38D, 0x400, 0x403, 0x427, 0x480, 0x800,
    0x830, 0xDA0,
    0xC0000080, 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102,
    0xC0000103, 0xC0010114, 0xC0010117, 0x40000000, 0xFFFFFFFF,
)  # fmt: skip
SELDOM: Final = (
    (0x0F, 0x01, 0xC1), (0x0F, 0x01, 0xC2), (0x0F, 0x01, 0xC3), (0x0F, 0x01, 0xC4), (0x0F, 0x01, 0xC8),
    (0x0F, 0x01, 0xC9), (0x0F, 0x01, 0xD0), (0x0F, 0x01, 0xD1), (0x0F, 0x01, 0xD8), (0x0F, 0x01, 0xD9),
    (0x0F, 0x01, 0xDA), (0x0F, 0x01, 0xDB), (0x0F, 0x01, 0xDC), (0x0F, 0x01, 0xDD), (0x0F, 0x01, 0xDE),
    (0x0F, 0x01, 0xDF), (0x0F, 0x01, 0xF8), (0x0F, 0x01, 0xF9), (0x0F, 0x01, 0xCA), (0x0F, 0x01, 0xCB),
    (0x0F, 0x01, 0xEE), (0x0F, 0x01, 0xEF), (0xF3, 0x0F, 0xC7, 0x30), (0x0F, 0xC7, 0x30),
    (0x66, 0x0F, 0xC7, 0x30),
    (0x0F, 0xC7, 0x38), (0x0F, 0xC7, 0x08), (0x48, 0x0F, 0xC7, 0x08), (0x0F, 0xC7, 0xF0), (0x0F, 0xC7, 0xF8),
    (0x0F, 0x78, 0xC0), (0x0F, 0x79, 0xC0), (0x0F, 0xAA), (0x0F, 0x33), (0x0F, 0x08), (0x0F, 0x09),
    (0x0F, 0x0B), (0x0F, 0xFF, 0xC0), (0x0F, 0xB9, 0xC0), (0x0F, 0x04), (0x0F, 0x37), (0xF1,), (0xD6,),
    (0x66, 0x0F, 0x38, 0x82, 0x00), (0x66, 0x0F, 0x38, 0x80, 0x00), (0x0F, 0x0D, 0x08),
    (0xF0, 0x0F, 0x20, 0xC0),
    (0x0F, 0x3F, 0x05, 0x0A), (0x0F, 0xAE, 0xF8), (0x0F, 0xAE, 0xE8), (0xF3, 0x90), (0x9B,), (0x0F, 0x06),
    (0xF3, 0x0F, 0x1E, 0xFA), (0xF3, 0x0F, 0xAE, 0xC0), (0xF3, 0x0F, 0xAE, 0xD0), (0xC5, 0xF8, 0x77),
    (0x62, 0xF1, 0x7C, 0x48, 0x58, 0xC0), (0x8F, 0xE8, 0x78, 0x00),
)  # fmt: skip
ANYWHERE: Final = (
    0, 0xFFC, 0x400, 0x7BFF, 0xFFFF, Place.CODE, Place.GDT, Place.IDT, Place.TSS, Place.SCRATCH, 0x9FFFF,
    0xA0000, 0xB8000, 0xBFFFE, 0xC0000, 0xE0000, 0xFFFF0, 0xFFFFE, 0x100000, 0x1FFFFE, 0xFFFFFC, 0xFFFFFF,
    0x1000000, 0x10000000, 0xDFFFFFFF, 0xE0000000, 0xFEBFFFFF, 0xFEC00000, 0xFEE00000, 0xFFFE0000, 0xFFFFFFF0,
    0xFFFFFFFD,
)  # fmt: skip


def anywhere(rng: Random) -> int:
    """An address worth touching."""
    if rng.random() < 0.3:
        return rng.randrange(Place.CODE, Place.END)
    return rng.choice(ANYWHERE) if rng.random() < 0.8 else rng.getrandbits(32)


def quad(rng: Random) -> int:
    """A 64-bit value with its odd corners."""
    corner = rng.choice((0, 1, 1 << 31, 1 << 32, 1 << 39, 1 << 40, 1 << 47, (1 << 64) - 1, 0xFFFF8000 << 32))
    return rng.choice((corner, anywhere(rng), corner | anywhere(rng), rng.getrandbits(64)))


# -- rings, gates and tasks


def load_segment(code: Assembler, rng: Random) -> None:
    kind = rng.randrange(8)
    index = rng.choice((0, 1, 2, 2, 3, 3, 4, 5))
    if kind < 5:
        code.mov_segment(index, t.selector(rng))
    elif kind == 5:
        code.push(t.selector(rng))
        code.db(rng.choice((0x07, 0x17, 0x1F)))
    elif kind == 6:
        code.push(t.selector(rng))
        code.db(0x0F, rng.choice((0xA1, 0xA9)))
    else:
        code.store(Place.SCRATCH, anywhere(rng))
        code.store(Place.SCRATCH + 4, t.selector(rng), 2)
        opcode = rng.choice(((0xC4,), (0xC5,), (0x0F, 0xB2), (0x0F, 0xB4), (0x0F, 0xB5)))
        code.memory(*opcode, field=rng.choice((0, 3, 6)), address=Place.SCRATCH)


def far_transfer(code: Assembler, rng: Random) -> None:
    target = rng.choice((t.snippet(rng), t.snippet(rng), code.here + 7, anywhere(rng)))
    kind = rng.randrange(4)
    if kind == 0:
        code.far_jump(t.selector(rng), target)
    elif kind == 1:
        code.far_call(t.selector(rng), target, Place.SCRATCH)
    elif kind == 2:
        gate = rng.choice((t.CALL_GATE, t.CALL_GATE_16, t.TASK_GATE, t.TSS_A, t.TSS_B, t.TSS_16))
        code.far_call(gate | rng.choice((0, 3)), target, Place.SCRATCH)
    else:
        gate = rng.choice((t.CALL_GATE, t.TASK_GATE, t.TSS_A, t.TSS_B, t.TSS_16))
        code.far_jump(gate | rng.choice((0, 3)), target)


def return_far(code: Assembler, rng: Random) -> None:
    """IRET or RETF with a frame: to ring 3, to VM86, to a task, to nonsense."""
    good = rng.random() < 0.5
    to_64 = code.bits == 64
    user = (t.CODE_3_64 if to_64 else t.CODE_3, t.DATA_3)
    cs, ss = user if good else (t.selector(rng), t.selector(rng))
    wide = code.bits == 64
    flags = rng.choice(FLAGS)
    if rng.random() < 0.7:
        if flags & 0x20000:
            for _ in range(4):
                code.push(rng.randrange(0x1000))
        code.push(ss)
        code.push(rng.choice((Place.STACK_2, Place.STACK, anywhere(rng))))
        code.push(flags)
        code.push(cs)
        code.push(code.here + rng.choice((10, 8, 7)) if good else t.snippet(rng))
        code.db(*((0x48, 0xCF) if wide else (0x66, 0xCF) if code.bits == 16 else (0xCF,)))
        code.db(0x90, 0x90, 0x90, 0x90)
    else:
        count = rng.choice((0, 0, 8, 0xFFFF))
        code.push(ss)
        code.push(Place.STACK_2)
        code.push(cs)
        code.push(t.snippet(rng))
        code.db(*((0x48,) if wide else (0x66,) if code.bits == 16 else ()), 0xCA, count, count >> 8)


def interrupt(code: Assembler, rng: Random) -> None:
    code.db(*rng.choice(((0xCC,), (0xCE,), (0xF1,), *[(0xCD, rng.randrange(256))] * 5)))


def load_table(code: Assembler, rng: Random) -> None:
    kind = rng.randrange(8)
    if kind < 2:  # LLDT, LTR
        code.mov(
            AX,
            rng.choice((t.LDT, t.selector(rng)))
            if kind
            else rng.choice((t.TSS_A, t.TSS_B, t.TSS_16, t.selector(rng))),
        )
        code.db(0x0F, 0x00, 0xD0 if kind else 0xD8)
    elif kind < 4:  # LGDT, LIDT: often the same tables with another limit
        base = Place.GDT if kind == 2 else Place.IDT
        limit = rng.choice((0x1FF, 0xFFF, 0, 0x3F, 0x100, 0xFFFF))
        code.store(Place.SCRATCH, limit, 2)
        code.store(Place.SCRATCH + 2, base if rng.random() < 0.85 else anywhere(rng))
        code.store(Place.SCRATCH + 6, rng.choice((0, 0, 0, 0xFFFF8000)))
        code.memory(0x0F, 0x01, field=kind, address=Place.SCRATCH)
    elif kind < 6:  # SLDT, STR, VERR, VERW; SGDT, SIDT, SMSW, LMSW, INVLPG
        opcode, field = rng.choice(((0, 0), (0, 1), (0, 4), (0, 5), (1, 0), (1, 1), (1, 4), (1, 6), (1, 7)))
        code.memory(0x0F, opcode, field=field, address=anywhere(rng))
    else:  # LAR, LSL, VERR, VERW, ARPL
        code.mov(AX, t.selector(rng))
        code.db(
            *rng.choice(
                ((0x0F, 0x02, 0xD8), (0x0F, 0x03, 0xD8), (0x0F, 0x00, 0xE0), (0x0F, 0x00, 0xE8), (0x63, 0xC3))
            )
        )


def spoil_table(code: Assembler, rng: Random) -> None:
    """Write into a descriptor table or a task state."""
    table, size = rng.choice(((Place.GDT, 0x100), (Place.LDT, 0x80), (Place.TSS, 0x200), (Place.IDT, 0x400)))
    code.store(table + rng.randrange(size), rng.getrandbits(32), rng.choice((1, 1, 2, 4)))


# -- control registers, MSRs, paging


def control_register(code: Assembler, rng: Random) -> None:
    kind = rng.randrange(12)
    if kind < 3:  # CR0: change one bit
        code.db(0x0F, 0x20, 0xC0)
        code.wide()
        code.db(0x35)
        code.number(1 << rng.choice((0, 1, 2, 3, 4, 5, 16, 18, 29, 30, 31, 31, rng.randrange(32))), 4)
        code.db(0x0F, 0x22, 0xC0)
    elif kind < 6:
        tables = (Place.PD_32, Place.PDPT_PAE, Place.PML4)
        code.write_cr(3, rng.choice((*tables, *tables, quad(rng))))
    elif kind < 8:
        code.db(0x0F, 0x20, 0xE0)
        code.wide()
        code.db(0x35)
        code.number(1 << rng.choice((0, 1, 2, 3, 4, 5, 7, 9, 10, 16, 17, 18, 20, 21, rng.randrange(32))), 4)
        code.db(0x0F, 0x22, 0xE0)
    elif kind == 8:
        code.mov64(AX, quad(rng))
        code.db(0x0F, rng.choice((0x20, 0x22)), 0xC0 | rng.randrange(8) << 3)
    elif kind == 9:  # CR8 and its LOCK form
        code.mov(AX, rng.getrandbits(4))
        code.db(*((0x44,) if code.bits == 64 else (0xF0,)), 0x0F, rng.choice((0x20, 0x22)), 0xC0)
    elif kind == 10:
        code.mov(AX, rng.getrandbits(16))
        code.db(0x0F, 0x01, 0xF0)
    else:
        code.mov64(AX, rng.choice((anywhere(rng), 0x400, 0x155, 0xF0155, quad(rng))))
        code.db(0x0F, rng.choice((0x23, 0x23, 0x21)), 0xC0 | rng.randrange(8) << 3)


def msr(code: Assembler, rng: Random) -> None:
    index = rng.choice(MSRS) if rng.random() < 0.95 else rng.getrandbits(32)
    if rng.random() < 0.3:
        code.mov(CX, index)
        code.db(0x0F, 0x32)
        return
    value = rng.choice(
        (0, 0x08, 0x38, t.snippet(rng), 1, 0x100, 0x101, 0x801, 0x1D01, quad(rng), 0x1B0008 << 32)
    )
    if index == 0xC0000080 and rng.random() < 0.6:  # EFER: toggle one bit
        code.mov(CX, index)
        code.db(0x0F, 0x32)
        code.wide()
        code.db(0x35)
        code.number(1 << rng.choice((0, 8, 11, 12, 14)), 4)
        code.db(0x0F, 0x30)
        return
    code.wrmsr(index, value)


def system_call(code: Assembler, rng: Random) -> None:
    if rng.random() < 0.6:
        code.wrmsr(0x174, rng.choice((0x08, 0x08, 0, t.selector(rng))))
        code.wrmsr(0x175, Place.STACK_0)
        code.wrmsr(0x176, t.snippet(rng))
        code.wrmsr(0xC0000081, rng.choice((0x001B0008 << 32, 0x00330038 << 32, quad(rng))) | t.snippet(rng))
        code.wrmsr(0xC0000082, rng.choice((t.snippet(rng), quad(rng))))
        code.wrmsr(0xC0000083, t.snippet(rng))
        code.wrmsr(0xC0000084, rng.choice(FLAGS))
    code.mov64(CX, rng.choice((t.snippet(rng), Place.STACK_2, quad(rng))))
    code.mov64(DX, rng.choice((t.snippet(rng), quad(rng))))
    rex = (0x48,) if code.bits == 64 and rng.random() < 0.5 else ()
    code.db(*rex, 0x0F, rng.choice((0x05, 0x07, 0x34, 0x35)))


def page_table(code: Assembler, rng: Random) -> None:
    """Change a paging structure and forget the translation, or not."""
    table, entries, size = rng.choice(
        ((Place.PD_32, 1024, 4), (Place.PT_32, 1024, 4), (Place.PD_PAE, 512, 8), (Place.PT_64, 512, 8),
         (Place.PML4, 512, 8), (Place.PDPT_64, 512, 8), (Place.PD_64, 512, 8), (Place.PDPT_PAE, 4, 8))
    )  # fmt: skip
    index = rng.choice((0, 1, 8, 14, 15, 24, entries - 1, rng.randrange(entries))) % entries
    entry = t.page_entry(rng, size)
    code.store(table + index * size, entry)
    if size == 8:
        code.store(table + index * size + 4, entry >> 32)
    if rng.random() < 0.5:
        code.memory(0x0F, 0x01, field=7, address=index << 12)


# -- memory, code, strings


def touch(code: Assembler, rng: Random) -> None:
    opcode = rng.choice((0x8A, 0x8B, 0x88, 0x89, 0x01, 0x87, 0x86, 0xFF, 0xF7, 0xDD, 0xD9))
    lock = (0xF0,) if rng.random() < 0.1 else ()
    code.memory(*lock, opcode, field=rng.randrange(8), address=anywhere(rng))


def jump_anywhere(code: Assembler, rng: Random) -> None:
    code.jump(anywhere(rng))


def modify_code(code: Assembler, rng: Random) -> None:
    code.store(code.here + rng.randrange(24), rng.getrandbits(32), rng.choice((1, 2, 4)))
    code.db(0x90, 0x90, 0x90, 0x90)


def string(code: Assembler, rng: Random) -> None:
    """MOVS, CMPS, STOS, LODS, SCAS, INS or OUTS with odd pointers, counts, sizes and segments."""
    code.mov(SI, anywhere(rng))
    code.mov(DI, anywhere(rng))
    code.mov(CX, rng.choice((0, 1, 2, 3, 255, 4096, 0x10000, rng.getrandbits(16), 0xFFFFFFFF)))
    code.mov(DX, rng.choice((0x1F0, 0x170, 0x60, 0x3F8, 0xCFC, 0x3C9, 0xE9, rng.getrandbits(16))))
    code.db(rng.choice((0xFC, 0xFC, 0xFD)))
    for prefix in (0xF3, 0xF2, 0x66, 0x67, 0x26, 0x2E, 0x64):
        if rng.random() < (0.6 if prefix == 0xF3 else 0.2):
            code.db(prefix)
    code.db(rng.choice((0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF, 0x6C, 0x6D, 0x6E, 0x6F)))


def flags(code: Assembler, rng: Random) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        code.push(rng.choice(FLAGS))
        code.db(0x9D)
    elif kind == 1:
        code.db(rng.choice((0xFA, 0xFB, 0xFC, 0xFD, 0x9C, 0x9D, 0x9E, 0x9F)))
    elif kind == 2:
        code.db(0xFB, 0xF4)  # STI; HLT
    else:
        code.mov(AX, rng.choice((0, 1, 7, 0x80000000, 0xD, 0x40000000, rng.getrandbits(32))))
        code.mov(CX, rng.randrange(8))
        code.db(*rng.choice(((0x0F, 0xA2), (0x0F, 0x31), (0x0F, 0x01, 0xF9))))


def seldom(code: Assembler, rng: Random) -> None:
    code.mov(AX, anywhere(rng))
    code.mov(CX, rng.choice((0, 1, 0x174)))
    code.mov(DX, 0)
    code.db(*rng.choice(SELDOM))


def floating(code: Assembler, rng: Random) -> None:
    """x87, MMX and SSE, with images of their state from anywhere."""
    kind = rng.randrange(6)
    if kind == 0:
        code.db(0xD8 + rng.randrange(8), 0xC0 | rng.randrange(64))
    elif kind == 1:
        code.memory(0xD8 + rng.randrange(8), field=rng.randrange(8), address=anywhere(rng))
    elif kind == 2:
        code.memory(0x0F, 0xAE, field=rng.randrange(8), address=anywhere(rng) & ~15)
    elif kind == 3:
        prefix = rng.choice(((), (0x66,), (0xF2,), (0xF3,)))
        code.db(*prefix, 0x0F, rng.choice((0x10, 0x28, 0x50, 0x70, 0xD0, 0xE0, 0xF0)) + rng.randrange(16))
        code.db(0xC0 | rng.randrange(64), rng.getrandbits(8))
    elif kind == 4:
        prefix = rng.choice(((), (0x66,), (0xF2,), (0xF3,)))
        escape = rng.choice((0x38, 0x3A))
        code.db(*prefix, 0x0F, escape, rng.getrandbits(8), 0xC0 | rng.randrange(64), rng.getrandbits(8))
    else:
        code.db(0xDB, 0xE3, 0xD9, 0xE8, 0xD9, 0xEE, 0xDE, 0xF9, 0x9B)


def noise(code: Assembler, rng: Random) -> None:
    """Random bytes."""
    code.raw(rng.randbytes(rng.randrange(4, 24)))


def instruction(code: Assembler, rng: Random) -> None:
    """Any opcode with any prefixes, its operand a register or memory at a chosen place."""
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4, 13))):
        code.db(rng.choice((0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x64, 0x65, 0x48, 0x4F, 0x41)))
    code.db(*rng.choice(((), (), (0x0F,), (0x0F,), (0x0F,), (0x0F, 0x38), (0x0F, 0x3A))))
    opcode = rng.getrandbits(8)
    if rng.random() < 0.5:
        code.db(opcode, 0xC0 | rng.getrandbits(6))
    else:
        code.db(opcode)
        code.at(rng.choice((Place.SCRATCH, Place.SCRATCH + 0xFFC, anywhere(rng))), rng.randrange(8))
    code.number(rng.getrandbits(32), 4)


def stack(code: Assembler, rng: Random) -> None:
    code.mov(SP, rng.choice((Place.STACK, 0, 1, 2, anywhere(rng))))
    code.mov(BP, anywhere(rng))
    code.db(
        *rng.choice(
            (
                (0x60,),
                (0x61,),
                (0x06,),
                (0x1F,),
                (0xC9,),
                (0xC8, 0x10, 0, rng.randrange(32)),
                (0x9C,),
                (0x58,),
            )
        )
    )
    code.mov(SP, Place.STACK)


CORE: Final[tuple[tuple[int, Atom], ...]] = (
    (6, load_segment), (8, far_transfer), (8, return_far), (6, interrupt), (7, load_table), (4, spoil_table),
    (7, control_register), (5, msr), (4, system_call), (5, page_table), (5, touch), (2, jump_anywhere),
    (3, modify_code), (5, string), (5, flags), (4, seldom), (5, floating), (3, noise), (5, instruction),
    (3, stack),
)  # fmt: skip
OPCODES: Final[tuple[tuple[int, Atom], ...]] = ((8, instruction), (2, floating), (1, noise), (1, seldom))
