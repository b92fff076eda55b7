"""Calls that mean something: registers by name, and what lies at DS:SI, ES:DI or ES:BX."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

DRIVES: Final = (0, 0, 1, 0x80, 0x80, 0x81, 0xE0, 0xE0, 0xE1, 0x7F, 0x82)
SCAN_CODES: Final = bytes.fromhex(
    "1e9e 2aaa 1d9d 38b8 45c5 46 3aba 37 54d4 4f 52 53 e0e0 e1 fafa fe 1c 1de046 e11d45"
)
DEVICES: Final = (0x00, 0x08, 0x09, 0x10, 0xF8)
PCI_NAMES: Final = ((0x7010, 0x8086), (0x1111, 0x1234), (0x1234, 0x5678), (0, 0xFFFF))
PCI_CLASSES: Final = (0x010180, 0x030000, 0x060000, 0x123456)
SMAP: Final = 0x534D_4150
PCI_SERVICE: Final = 0x4943_5024


class Call(NamedTuple):
    """Registers (`ax`, `ebx` ...) and memory by the registers that point to it (`ds:si` ...)."""

    regs: dict[str, int]
    memory: dict[str, bytes] = {}


def _disk_by_chs(rng: Random) -> Call:
    function, drive = rng.choice((2, 3, 4, 5, 8, 0x15, 0x16, 0x17, 0x18)), rng.choice(DRIVES)
    cx, dh = (
        rng.choice((1, 2, 0x12, 0x0101, 0x4F12, 0x4F09, rng.getrandbits(16))),
        rng.choice((0, 1, 15, 255)),
    )
    count = rng.choice((1, 1, 2, 9, 18, 128, 129))
    field = bytes((cx >> 8, dh, 1, 2)) * 18
    return Call({"ax": function << 8 | count, "cx": cx, "dx": dh << 8 | drive}, {"es:bx": field})


def _disk_by_packet(rng: Random) -> Call:
    function, size = rng.choice((*range(0x41, 0x4A), 0x4E, 0x48)), rng.choice((16, 16, 24, 8))
    place = rng.choice(((0, 0x3000), (0xFFFF, 0xFFFF), (0x1234, 0xF000)))
    block = rng.choice((0, 5, 20, 3999, 1 << 40))
    packet = struct.pack(
        "<BBHHHQQ", size, 0, rng.choice((0, 1, 5, 127, 128)), *place, block, rng.getrandbits(34)
    )
    if function == 0x48:
        packet = struct.pack("<H", rng.choice((0x19, 0x1A, 0x1E, 0x42, 0xFFFF))) + bytes(30)
    regs = {"ax": function << 8 | rng.randrange(8), "bx": rng.choice((0x55AA, 0)), "dx": rng.choice(DRIVES)}
    return Call(regs, {"ds:si": packet})


def _disc(rng: Random) -> Call:
    media, number = rng.choice((0, 1, 2, 3, 4, 7)), rng.choice((0, 0x80, 0xE0))
    shape = (rng.choice((79, 255)), rng.choice((18, 63, 0, 0xFF)), rng.choice((1, 15, 255)))
    packet = struct.pack("<BBBBIHHHHBBB", 19, media, number, 0, rng.choice((20, 31, 1 << 31)), 0, 0,
                         rng.choice((0, 0x2000)), rng.choice((0, 1, 4, 0xFFFF)), *shape)  # fmt: skip
    function = rng.choice((0x4A, 0x4B, 0x4B, 0x4C, 0x4D))
    if function == 0x4D:
        packet = struct.pack("<BBIH", 8, rng.randrange(3), 0x3000_0000, rng.choice((0, 1, 0xFFFF)))
    return Call({"ax": function << 8 | rng.randrange(3), "dx": rng.choice(DRIVES)}, {"ds:si": packet})


def _port(rng: Random) -> Call:
    bx, cx = rng.randrange(6) << 8 | rng.randrange(2), rng.randrange(5) << 8 | rng.randrange(10)
    return Call(
        {"ax": rng.randrange(6) << 8 | rng.randrange(256), "bx": bx, "cx": cx, "dx": rng.randrange(5)}
    )


def _system(rng: Random) -> Call:
    kind = rng.randrange(4)
    if kind == 0:
        return Call({"eax": 0xE820, "ebx": rng.randrange(7), "ecx": rng.choice((20, 24, 19)), "edx": SMAP})
    if kind == 1:
        table = bytes(16) + rng.randbytes(32)
        return Call({"ax": 0x8700, "cx": rng.choice((0, 1, 0x8000, 0x8001))}, {"es:si": table})
    if kind == 2:
        return Call(
            {"ax": rng.choice((0x8300, 0x8301, 0x8600)), "cx": rng.randrange(2), "dx": rng.getrandbits(16)}
        )
    return Call({"ax": rng.choice((0x2400, 0x2401, 0x2402, 0x2403, 0xC000, 0xC100, 0xE801, 0x8800, 0x9000))})


def _mouse(rng: Random) -> Call:
    function, bh = rng.choice((0, 0, 5, 7, 7, rng.randrange(9))), rng.choice((0, 1, 1, 3, rng.randrange(10)))
    return Call({"ax": 0xC200 | function, "bx": bh << 8 | rng.randrange(256)})


def _video(rng: Random) -> Call:
    regs = {"ax": rng.randrange(0x20) << 8 | rng.choice((0, 3, 0x13, 0x41, rng.randrange(256)))}
    regs |= {
        "bx": rng.choice((0, 7, 0x0107, rng.getrandbits(16))),
        "cx": rng.choice((0, 1, 80, rng.getrandbits(16))),
    }
    return Call(regs | {"dx": rng.choice((0, 0x184F, 0x0A0A, rng.getrandbits(16)))})


VBE_MODES: Final = (0x03, 0x13, 0x100, 0x101, 0x4101, 0xC112, 0x4144, 0x118, 0x147, 0x1FF)


def _vbe(rng: Random) -> Call:
    function = rng.choice((0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 0x0A, 0x15))
    bx = rng.choice(VBE_MODES) if function == 2 else rng.choice((0, 1, 2, 3, 0x80, 0x0100, 0x0800))
    sizes = (0, 1, 80, 640, 0x101, 1024, rng.getrandbits(16))
    regs = {"ax": 0x4F00 | function, "bx": bx, "cx": rng.choice(sizes), "dx": rng.choice(sizes)}
    return Call(regs, {"es:di": b"VBE2".ljust(16, b"\0") if function == 0 else rng.randbytes(32)})


def _palette_or_font(rng: Random) -> Call:
    function = rng.choice((0x10, 0x11, 0x12, 0x1B, 0x1C))
    low = rng.choice((0, 1, 2, 3, 4, 7, 9, 0x10, 0x12, 0x13, 0x15, 0x17, 0x1B, 0x21, 0x23, 0x30))
    regs = {"ax": function << 8 | low, "bx": rng.choice((0, 1, 0x0800, 0x1000, 0x0110, rng.getrandbits(16)))}
    return Call(regs | {"cx": rng.choice((0, 7, 16, 256, rng.getrandbits(16))), "dx": rng.randrange(300)})


def _keys(rng: Random) -> Call:
    return Call({"ax": rng.randrange(0x13) << 8 | rng.randrange(6), "bx": rng.getrandbits(16)})


def _scan_code(rng: Random) -> Call:
    return Call({"ax": rng.choice(SCAN_CODES)})


def _clock(rng: Random) -> Call:
    if rng.random() < 0.4:
        return Call({"ax": rng.randrange(8) << 8, "cx": rng.getrandbits(16), "dx": rng.getrandbits(16)})
    return _pci(rng)


def _pci(rng: Random) -> Call:
    function = rng.choice((1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15))
    device, vendor = rng.choice(PCI_NAMES)
    regs = {"ax": 0xB100 | function, "bx": rng.choice(DEVICES), "ecx": device, "dx": vendor}
    regs |= {"edi": rng.choice((0, 4, 0x10, 0x20, 0x61, 0x100)), "si": rng.randrange(3)}
    if function == 3:
        regs["ecx"] = rng.choice(PCI_CLASSES)
    room = struct.pack("<HIH", rng.choice((0, 16, 0x1000)), 0x3000_0000, 0x10)
    return Call(regs, {"es:di": room})


def _directory(rng: Random) -> Call:
    return Call({"eax": rng.choice((PCI_SERVICE, PCI_SERVICE, 0)), "ebx": rng.choice((0, 0, 1))})


def _nothing(_rng: Random) -> Call:
    return Call({})


RECIPES: Final[dict[int, tuple[Callable[[Random], Call], ...]]] = {
    **dict.fromkeys((0x05, 0x08, 0x0E, 0x18, 0x19, 0x70, 0x74, 0x76), (_nothing,)),
    0x09: (_scan_code,),
    0x10: (_video, _vbe, _palette_or_font),
    0x13: (_disk_by_chs, _disk_by_packet, _disc),
    0x14: (_port,),
    0x15: (_system, _mouse),
    0x16: (_keys,),
    0x17: (_port,),
    0x1A: (_clock,),
    0xF1: (_directory,),
    0xF2: (_pci,),
}
