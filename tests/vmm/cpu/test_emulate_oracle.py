"""Emulated instructions against Unicorn running the same ones, in random states of every mode.

Descriptors here have their accessed bit set: the engine's far jumps do not set it. Task switches and
delivery have tests of their own. Where Unicorn is wrong the SDM's answer is expected, by name.
"""

from __future__ import annotations

import random

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_view import FakeView
from tests.vmm.cpu.native_step import Stepper
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import Gate, pack_gate, pack_segment

CODE_AT, DATA_AT, STACK_AT = 0x6000, 0x7000, 0x8000
PD_AT, PT_AT = 0x2_0000, 0x2_1000
ENTRIES = 64
ROUNDS = 60


@pytest.fixture(scope="module")
def stepper() -> Stepper:
    return Stepper()


def _flags(rng: random.Random) -> int:
    """Attributes of a code or data segment."""
    dpl = rng.randrange(4) << r.DESC_DPL_SHIFT
    kind = rng.choice([0, r.DESC_CODE, r.DESC_CODE | r.DESC_CONFORMING])
    return (
        (r.DESC_P if rng.random() < 0.93 else 0) | dpl | r.DESC_S | kind | r.DESC_ACCESSED
        | (r.DESC_WRITABLE if rng.random() < 0.85 else 0) | (r.DESC_B if rng.random() < 0.7 else 0)
    )  # fmt: skip


def _entry(rng: random.Random) -> bytes:
    """A random descriptor: mostly segments, then call gates, LDTs and TSSs that a transfer refuses."""
    chance = rng.random()
    if chance < 0.72:
        flags = _flags(rng)
        base = rng.choice([0, 0x10, 0x100])
        if rng.random() < 0.6:
            return pack_segment(base, f.FLAT, flags | r.DESC_G)
        return pack_segment(base, 0xFFFF, flags)
    if chance < 0.9:
        kind = rng.choice([d.TYPE_CALL_GATE16, d.TYPE_CALL_GATE32])
        found = Gate(
            selector(rng), rng.randrange(0x3000), kind, rng.choice([0, 3, 3, 3]), rng.random() < 0.95,
            parameter=rng.choice([0, 0, 1, 5]),
        )  # fmt: skip
        return pack_gate(found)
    kind = rng.choice([d.TYPE_LDT, d.TYPE_TSS16_BUSY, d.TYPE_TSS32_BUSY, 0, 8, 10, 13, 14])
    present = r.DESC_P if rng.random() < 0.8 else 0
    return pack_segment(0, 0x67, kind << r.DESC_TYPE_SHIFT | present | rng.randrange(4) << r.DESC_DPL_SHIFT)


def selector(rng: random.Random) -> int:
    """A selector of either table, rarely null or beyond the end."""
    return rng.choice([0, 0, 4, 4, 4]) | rng.randrange(ENTRIES + 2) << 3 | rng.randrange(4)


def fill_tables(view: FakeView, rng: random.Random) -> None:
    """Random descriptors, a TSS with inner stacks, and selectors all over data and stack."""
    view.gdt.base, view.gdt.limit = f.GDT_AT, ENTRIES * 8 - 1
    view.ldt.selector, view.ldt.base, view.ldt.limit, view.ldt.flags = 0x50, f.LDT_AT, ENTRIES * 8 - 1, 0x8200
    for table in (f.GDT_AT, f.LDT_AT):
        for index in range(ENTRIES):
            view.memory.write(table + index * 8, _entry(rng))
    for ring in range(3):  # the last entries of the GDT: good stacks and good code
        ring_flags = ring << r.DESC_DPL_SHIFT
        stack = (ENTRIES - 1 - ring) << 3 | ring
        view.put_descriptor(stack, pack_segment(0, f.FLAT, f.DATA32 | f.GRANULAR | ring_flags))
        code = (ENTRIES - 5 - ring) << 3 | ring
        view.put_descriptor(code, pack_segment(0, f.FLAT, f.CODE32 | f.GRANULAR | ring_flags))
        sp = (0x9000 + ring * 0x400).to_bytes(4, "little")
        chosen = stack if rng.random() < 0.9 else selector(rng)
        view.memory.write(f.TSS_AT + 4 + ring * 8, sp + chosen.to_bytes(4, "little"))


def likely(rng: random.Random, cpl: int) -> int:
    """A selector that has a chance: mostly of the code entries of some ring, or any at all."""
    if rng.random() < 0.3:
        return (ENTRIES - 5 - rng.randrange(3)) << 3 | rng.choice([cpl, rng.randrange(4)])
    return selector(rng) & ~3 | rng.choice([cpl, cpl, rng.randrange(4)])


def protected(rng: random.Random) -> FakeView:
    """Protected mode at any ring, 16- or 32-bit code and stack."""
    view = f.protected_view()
    cpl = rng.choice([0, 0, 1, 2, 3])
    ring = cpl << r.DESC_DPL_SHIFT
    fill_tables(view, rng)
    wide = rng.random() < 0.75
    code = (f.CODE32 if wide else f.CODE16) | f.GRANULAR
    stack = (f.DATA32 if rng.random() < 0.8 else f.DATA16) | (f.GRANULAR if wide else 0)
    view.load_segment(r.CS, 8 | cpl, 0, f.FLAT, code | ring)
    view.load_segment(r.SS, 0x10 | cpl, 0, f.FLAT if wide else 0xFFFF, stack | ring)
    for index in (r.ES, r.DS, r.FS, r.GS):
        dpl = rng.randrange(cpl, 4) << r.DESC_DPL_SHIFT
        held = rng.choice([0, 3, 0x20, 0x23])
        view.load_segment(index, held, 0, f.FLAT, f.DATA32 | f.GRANULAR | dpl)
    view.load_segment(r.DS, 0x10 | cpl, 0, f.FLAT, f.DATA32 | f.GRANULAR | ring)
    view.cpl = cpl
    return view


def real(rng: random.Random) -> FakeView:
    """Real mode with a little base everywhere."""
    view = FakeView()
    for index in range(6):
        flags = f.CODE16 if index == r.CS else f.DATA16
        value = rng.randrange(0x40)
        view.load_segment(index, value, value << 4, 0xFFFF, flags)
    return view


def vm86(rng: random.Random) -> FakeView:
    view = f.vm86_view()
    fill_tables(view, rng)
    for index in range(6):
        value = rng.randrange(0x40)
        view.load_segment(index, value, value << 4, 0xFFFF, 0xF300)
    return view


def long(rng: random.Random) -> FakeView:
    """IA-32e mode over an identity map of 2 MiB, from 64-bit or compatibility code."""
    view = protected(rng)
    view.efer = r.EFER_LMA | r.EFER_LME
    view.cr[3], view.cr[4] = PD_AT, r.CR4_PAE
    view.cr[0] |= r.CR0_PG
    for at, entry in ((PD_AT, 0x2_1027), (PT_AT, 0x2_2027), (0x2_2000, 0xE7)):
        view.memory.write(at, entry.to_bytes(8, "little"))
    if rng.random() < 0.7:
        view.segs[r.CS].flags = view.segs[r.CS].flags & ~r.DESC_B | r.DESC_L
    for index in range(0, ENTRIES, 3):  # some 64-bit code
        at = f.GDT_AT + index * 8
        view.memory.write(at + 6, bytes((0xA0 | rng.choice([0xF, 0]),)))
    return view


def run(
    stepper: Stepper,
    rng: random.Random,
    view: FakeView,
    code: bytes,
    sp: int | None = None,
    *,
    jump: bool = False,
) -> None:
    """Fill registers and flags, put the code, and compare."""
    for index in range(8):
        view.regs[index] = rng.getrandbits(32)
    view.regs[r.RSP] = STACK_AT + rng.randrange(0, 0x100, 2) if sp is None else sp
    view.regs[r.RBX] = DATA_AT
    view.regs[r.RSI], view.regs[r.RDI] = DATA_AT + 0x40, DATA_AT + 0x80
    view.regs[r.RAX] = likely(rng, view.cpl)
    view.rflags |= rng.choice([0, r.CF | r.ZF, r.ARITHMETIC_FLAGS]) | rng.randrange(4) << r.IOPL_SHIFT
    view.rip = CODE_AT
    view.memory.write(view.segs[r.CS].base + CODE_AT, code)
    wanted, got = stepper.native(view), stepper.emulated(view)
    if jump and got.fault is not None and wanted.fault == (r.GP, got.fault[1]) and got.fault[0] == r.NP:
        return  # Unicorn's JMP through a gate to code that is absent raises the wrong one
    assert got == wanted, f"{code.hex(' ')}\nwanted {wanted!r}\ngot    {got!r}"


def prefix(rng: random.Random) -> bytes:
    return rng.choice([b"", b"", b"\x66"])


MODES = {"protected": protected, "real": real, "vm86": vm86, "long": long}
modes = pytest.mark.parametrize("mode", MODES)


@modes
def test_segment_moves(stepper: Stepper, mode: str) -> None:
    rng = random.Random(f"segments {mode}")
    for _ in range(ROUNDS):
        view = MODES[mode](rng)
        modrm = 0xC0 | rng.randrange(64)
        bits64 = bool(view.segs[r.CS].flags & r.DESC_L)
        code = rng.choice([b"\x8e" + bytes((modrm & 0xF8,)), b"\x8c" + bytes((modrm,))])
        if rng.random() < 0.4:
            opcodes = [b"\x0f\xa0", b"\x0f\xa1", b"\x0f\xa8", b"\x0f\xa9"]
            if not bits64:
                opcodes += [bytes((value,)) for value in (0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F)]
            code = rng.choice(opcodes)
        view.memory.write(STACK_AT, b"".join(likely(rng, view.cpl).to_bytes(2, "little") for _ in range(256)))
        run(stepper, rng, view, prefix(rng) + code)


def far_code(rng: random.Random, view: FakeView, opcode: int) -> bytes:
    """JMP or CALL far, direct or through memory, to a likely place."""
    operand = prefix(rng)
    wide = bool(view.segs[r.CS].flags & (r.DESC_B | r.DESC_L)) != bool(operand)
    protected_mode = view.cr[0] & r.CR0_PE and not view.rflags & r.VM
    offset = rng.randrange(0x12000 if protected_mode and rng.random() < 0.3 else 0x8000)
    pointer = (offset & (0xFFFF_FFFF if wide else 0xFFFF)).to_bytes(4 if wide else 2, "little")
    pointer += likely(rng, view.cpl).to_bytes(2, "little")
    if rng.random() < 0.5 and not view.segs[r.CS].flags & r.DESC_L:
        return operand + bytes((opcode,)) + pointer
    view.memory.write(view.segs[r.DS].base + DATA_AT, pointer)
    reg = 5 if opcode == 0xEA else 3
    return operand + bytes((0xFF, (0x07 if code16(view) else 0x03) | reg << 3))  # [bx] or [ebx]


def code16(view: FakeView) -> bool:
    return not view.segs[r.CS].flags & (r.DESC_B | r.DESC_L)


@modes
@pytest.mark.parametrize("opcode", [0xEA, 0x9A], ids=["jmp", "call"])
def test_far_transfers(stepper: Stepper, mode: str, opcode: int) -> None:
    rng = random.Random(f"far {mode} {opcode}")
    for _ in range(ROUNDS):
        view = MODES[mode](rng)
        view.memory.write(STACK_AT, rng.randbytes(0x200))
        run(stepper, rng, view, far_code(rng, view, opcode), jump=opcode == 0xEA)


@modes
@pytest.mark.parametrize("opcode", [b"\xcb", b"\xca\x06\x00", b"\xcf"], ids=["retf", "retf 6", "iret"])
def test_returns(stepper: Stepper, mode: str, opcode: bytes) -> None:
    rng = random.Random(f"returns {mode} {opcode!r}")
    for _ in range(ROUNDS):
        view = MODES[mode](rng)
        operand = prefix(rng)
        size = 2 if code16(view) == (not operand) else 4
        if mode == "long" and view.segs[r.CS].flags & r.DESC_L and rng.random() < 0.5:
            operand, size = b"\x48", 8
        flags = rng.getrandbits(22) & ~(r.VM | r.TF | 0x8028) | 2
        if rng.random() < 0.2 and view.cpl == 0 and mode != "long":
            flags |= r.VM
        code, stack = likely(rng, view.cpl), likely(rng, view.cpl)
        if rng.random() < 0.6:
            stack = (ENTRIES - 1 - rng.randrange(3)) << 3 | code & 3
        frame = [rng.randrange(0x10000), code]  # Unicorn checks no limit here
        frame += [flags] if opcode == b"\xcf" else []
        frame += [STACK_AT + 0x200, stack, *(rng.randrange(0x40) for _ in range(4))]
        words = [(value & (1 << size * 8) - 1).to_bytes(size, "little") for value in frame]
        if opcode == b"\xca\x06\x00":
            words.insert(2, b"\x11" * 6)
        sp = STACK_AT + 0x20
        view.memory.write(view.segs[r.SS].base + sp, b"".join(words))
        run(stepper, rng, view, operand + opcode, sp=sp)


@pytest.mark.parametrize("mode", ["protected", "long"])
def test_verify_instructions(stepper: Stepper, mode: str) -> None:
    rng = random.Random(f"verify {mode}")
    for _ in range(ROUNDS):
        view = MODES[mode](rng)
        code = rng.choice([b"\x0f\x02\xc8", b"\x0f\x03\xc8", b"\x0f\x00\xe0", b"\x0f\x00\xe8"])
        if mode == "long":
            only_long_types(view)
        run(stepper, rng, view, prefix(rng) + code)


def only_long_types(view: FakeView) -> None:
    """Make the system descriptors IA-32e mode does not have, which Unicorn takes, of a type without LAR."""
    for table in (f.GDT_AT, f.LDT_AT):
        for at in range(table + d.ACCESS_BYTE, table + ENTRIES * 8, 8):
            access = view.memory.ram[at]
            if access & 0x1F in (d.TYPE_TSS16, d.TYPE_TSS16_BUSY, d.TYPE_CALL_GATE16, d.TYPE_TASK_GATE):
                view.memory.ram[at] = access & ~0x1F


@modes
def test_ports(stepper: Stepper, mode: str) -> None:
    """Where the TSS allows all: Unicorn asks nobody."""
    rng = random.Random(f"ports {mode}")
    for _ in range(ROUNDS):
        view = MODES[mode](rng)
        view.tr.limit = 0x2100
        view.memory.write(f.TSS_AT + 0x66, (0x80).to_bytes(2, "little"))
        view.memory.write(f.TSS_AT + 0x80, bytes(0x2001))
        codes = [b"\xe4\x64", b"\xe5\x20", b"\xe6\x64", b"\xe7\x20", b"\xec", b"\xed", b"\xee", b"\xef"]
        code = rng.choice([*codes, b"\x6c", b"\x6d", b"\x6e", b"\x6f"])
        run(stepper, rng, view, prefix(rng) + code)
