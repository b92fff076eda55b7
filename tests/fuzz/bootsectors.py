"""Random boot sectors: blind ones of 510 random bytes, and generated ones that go deep.

A generated guest reads the rest of itself from the disk, enters real, protected or long mode, with
or without paging, and then runs *atoms*: short random actions. Every exception leads to a handler
that restores a usable state and goes on with the next atom, so one bad atom does not end the guest.
"""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from tests.fuzz import tables as t
from tests.fuzz.assembler import ADDRESS, AX, BX, DS, ES, OPERAND, SP, SS, Assembler
from tests.fuzz.atoms import CORE, OPCODES
from tests.fuzz.chip_atoms import CHIPS
from tests.fuzz.tables import Place

SECTOR: Final = 512
LOAD_AT: Final = 0x7C00
SIGNATURE: Final = b"\x55\xaa"
EXIT_PORT: Final = 0xF4
PACKETS: Final = ((64, 0x0800, 1), (64, 0x1000, 65))  # sectors, segment, LBA
REAL_VECTORS: Final = (0, 1, 3, 4, 5, 6, 7, 0x0C, 0x0D)  # those that no BIOS service has
MOST_ATOMS: Final = 100  # as many as the space for their addresses holds
DIETS: Final = ((*CORE, *CHIPS), CORE, CHIPS, OPCODES)


class Mode(NamedTuple):
    """What the atoms of a guest run in."""

    name: str
    bits: int
    cr4: int = 0
    cr3: int = 0
    protected: bool = True
    long: bool = False


MODES: Final = (
    Mode("real", 16, protected=False),
    Mode("protected 16", 16),
    Mode("protected", 32),
    Mode("paging", 32, 0x10, Place.PD_32),
    Mode("pae", 32, 0x30, Place.PDPT_PAE),
    Mode("long", 64, 0x620, Place.PML4, long=True),
    Mode("compatibility", 32, 0x620, Place.PML4, long=True),
)
_WEIGHTS: Final = (2, 2, 4, 5, 3, 5, 3)


def blind(seed: int) -> bytes:
    """510 random bytes and the signature; half of them denser in what matters."""
    rng = Random(seed)
    code = bytearray(rng.randbytes(SECTOR - 2))
    if seed & 1:
        for _ in range(60):
            code[rng.randrange(len(code))] = rng.choice(
                (0x0F, 0xCD, 0xEA, 0x8E, 0xCF, 0x66, 0xF3, 0x9D, 0xFB)
            )
    return bytes(code) + SIGNATURE


def generated(seed: int) -> bytes:
    """A disk image whose boot sector loads and runs a structured random guest."""
    rng = Random(seed)
    mode = rng.choices(MODES, _WEIGHTS)[0]
    image = bytearray(Place.END - Place.CODE)

    def put(address: int, data: bytes) -> None:
        image[address - Place.CODE : address - Place.CODE + len(data)] = data

    body, entries = _body(rng, mode)
    put(Place.CODE, _entry(rng, mode))
    put(Place.HANDLER, _handler(rng, mode))
    put(Place.HANDLER_64, _to_compatibility())
    put(Place.BODY, body)
    put(Place.GDT, t.gdt(rng, mode.long))
    put(Place.LDT, t.ldt(rng))
    put(Place.TSS, t.tss(rng, mode.cr3, mode.long))
    put(Place.VARIABLES, b"\xff" * 4)  # the number of the atom that runs
    put(Place.ATOMS, b"".join(entry.to_bytes(8, "little") for entry in entries))
    put(Place.IDT, t.idt(rng, long=mode.long, bits=mode.bits))
    put(Place.SNIPPETS, t.snippets(rng, mode.bits))
    put(Place.PD_32, t.paging(rng))
    return _loader() + bytes(image)


def _loader() -> bytes:
    """Read the image to Place.CODE by two EDD packets and start it."""
    code = Assembler(LOAD_AT, 16)
    code.db(0xFA, 0xFC, 0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xD0, 0xBC, 0x00, 0x7C)
    packets = LOAD_AT + 0x80
    for number in range(len(PACKETS)):
        code.db(0xBE)
        code.number(packets + 16 * number, 2)
        code.db(0xB4, 0x42, 0xCD, 0x13)
    code.db(0xEA)
    code.number(Place.CODE, 4)
    sector = bytearray(SECTOR)
    sector[: len(code.code)] = code.code
    for number, (sectors, segment, lba) in enumerate(PACKETS):
        packet = Assembler(0, 16)
        for value, size in ((0x10, 2), (sectors, 2), (0, 2), (segment, 2), (lba, 8)):
            packet.number(value, size)
        sector[0x80 + 16 * number : 0x90 + 16 * number] = packet.code
    sector[-2:] = SIGNATURE
    return bytes(sector)


def _entry(rng: Random, mode: Mode) -> bytes:
    """From the loader's real mode into `mode`, at the handler."""
    code = Assembler(Place.CODE, 16)
    if not mode.protected:
        for vector in REAL_VECTORS:
            code.store(vector * 4, Place.HANDLER)
        code.far_jump(0, Place.HANDLER)
        return bytes(code.code)
    for field, limit, base in ((2, 0x1FF, Place.GDT), (3, 0xFFF, Place.IDT)):
        code.store(Place.SCRATCH, limit, 2)
        code.store(Place.SCRATCH + 2, base)
        code.memory(OPERAND, 0x0F, 0x01, field=field, address=Place.SCRATCH)
    cr4 = mode.cr4
    if mode.cr3:
        cr4 |= rng.choice((0, 0, 0, 0x80, 0x10, 0x600, 0x200000))
        code.write_cr(3, mode.cr3)
    code.write_cr(4, cr4)
    if mode.long:
        code.wrmsr(0xC0000080, rng.choice((0x100, 0x101, 0x901)))
    elif mode.cr3 == Place.PDPT_PAE and rng.random() < 0.5:
        code.wrmsr(0xC0000080, 0x800)
    code.write_cr(0, 1 | (0x80000000 if mode.cr3 else 0) | rng.choice((0, 0x10000, 0x20, 0x10022)))
    code.far_jump({16: t.CODE_16, 32: t.CODE_0, 64: t.CODE_64}[mode.bits], Place.HANDLER)
    return bytes(code.code)


def _handler(rng: Random, mode: Mode) -> bytes:
    """Restore segments and stack, then the next atom; after the last one the end."""
    code = Assembler(Place.HANDLER, mode.bits)
    data = (t.DATA_16 if mode.bits == 16 else t.DATA_0) if mode.protected else 0
    for index in (DS, ES, SS):
        code.mov_segment(index, data)
    code.mov(SP, Place.STACK)
    code.wide()
    code.memory(0xFF, field=0, address=Place.VARIABLES)
    code.wide()
    code.memory(0x8B, field=BX, address=Place.VARIABLES)
    code.wide()
    code.db(0x83, 0xFB, MOST_ATOMS)
    jump = ((ADDRESS,) if mode.bits == 16 else ()) + (0xFF, 0x24, 0xDD)  # [EBX * 8 + ATOMS]
    code.db(0x73, len(jump) + 4, *jump)
    code.number(Place.ATOMS, 4)
    if rng.random() < 0.85:
        code.db(0xB0, 0x01, 0xE6, EXIT_PORT)
    code.db(*rng.choice(((0xFA, 0xF4), (0xFB, 0xF4), (0xEB, 0xFE))), 0xEB, 0xFC)
    return bytes(code.code)


def _to_compatibility() -> bytes:
    """From the 64-bit code that gates of long mode need to the handler of 32-bit atoms."""
    code = Assembler(Place.HANDLER_64, 64)
    code.far_jump(t.CODE_0, Place.HANDLER)
    return bytes(code.code)


def _body(rng: Random, mode: Mode) -> tuple[bytes, list[int]]:
    """The atoms one after the other, and their addresses; the last of these lead back to the handler."""
    code = Assembler(Place.BODY, mode.bits)
    entries = []
    diet = rng.choices(DIETS, (5, 2, 1, 2))[0]
    weights = [weight for weight, _ in diet]
    if mode.protected and rng.random() < 0.85:
        entries.append(code.here)
        code.mov(AX, rng.choice((t.TSS_A, t.TSS_A, t.TSS_16)))
        code.db(0x0F, 0x00, 0xD8)
    for _, atom in rng.choices(diet, weights, k=rng.randrange(20, MOST_ATOMS - 1)):
        if code.here > Place.GDT - 0x200:
            break
        entries.append(code.here)
        code.store(Place.VARIABLES, len(entries) - 1)
        atom(code, rng)
    code.store(Place.VARIABLES, MOST_ATOMS)
    code.jump(Place.HANDLER)
    return bytes(code.code), entries + [Place.HANDLER] * (MOST_ATOMS - len(entries))
