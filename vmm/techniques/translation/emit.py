"""The code that stands in for sensitive instructions in the translation cache.

All of it is 32-bit code of ring 1, and none changes a flag that the guest's instruction would not: what
needs a decision goes by JECXZ. Virtual flags, spilled registers and the lookup table lie on the monitor's
data pages, which the code reaches through CS: its base is part of a translation's key, while those of the
other segments are the guest's affair. (The engine lets code segments be written; where a processor does
not, a segment register has to be kept for this, as VMware kept GS.)

Each sequence may be interrupted between any two instructions: the technique then runs on to its end.
Where it can fault, which is at the guest's own memory accesses only, nothing of the guest has changed yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu.paging import MASK_32, PAGE_SIZE

# The data pages
FLAGS: Final = 0  # the virtual flags; IF is in the byte behind the first
PENDING: Final = 4  # a byte: whether INTR is asserted
SAVED_ECX: Final = 8
SAVED_EAX: Final = 12
TARGET: Final = 16  # where an indirect branch leads, in the guest
FOUND: Final = 20  # and its translation
TABLE: Final = PAGE_SIZE
TABLE_ENTRIES: Final = 1 << 16  # by the low half of the guest's EIP: -EIP, and EIP in the cache
DATA_PAGES: Final = 1 + TABLE_ENTRIES * 8 // PAGE_SIZE

TRAP: Final = b"\xf4"  # HLT: a callout
JUMP: Final = b"\xe9"
_IF: Final = 0x200
# What POPF cannot do here: TF, IOPL, NT, RF, VM, VIF, VIP
_UNUSUAL_FLAGS: Final = 0x1B_7100


def dword(value: int) -> bytes:
    """Four bytes of code."""
    return (value & MASK_32).to_bytes(4, "little")


class Emitter:
    """The sequences for code whose CS has its base at `base`, with the data pages at linear `data`."""

    def __init__(self, data: int, base: int) -> None:
        def at(offset: int) -> bytes:
            return dword(data + offset - base)

        self.save_ecx = b"\x2e\x89\x0d" + at(SAVED_ECX)
        self.load_ecx = b"\x2e\x8b\x0d" + at(SAVED_ECX)
        self.save_eax = b"\x2e\xa3" + at(SAVED_EAX)
        self.load_eax = b"\x2e\xa1" + at(SAVED_EAX)
        self.save_target = b"\x2e\xa3" + at(TARGET)
        self.clear_target = b"\x2e\xc7\x05" + at(TARGET) + dword(0)
        self.pop_target = b"\x2e\x8f\x05" + at(TARGET)
        set_if = b"\x2e\xc6\x05" + at(FLAGS + 1)
        self.cli, self._set_if = set_if + b"\0", set_if + b"\2"
        read_if = b"\x2e\x0f\xb6\x0d" + at(FLAGS + 1)
        read_pending = b"\x2e\x0f\xb6\x0d" + at(PENDING)
        # STI up to the trap of a window that opens, and what follows it
        leave = self.load_ecx + TRAP
        self.sti = self._set_if + self.save_ecx + read_pending + _jecxz(len(leave)) + leave[:-1]
        self.sti_end = self.load_ecx
        clear = b"\x8b\x0c\x24\x8d\x89" + dword(-_IF) + b"\x89\x0c\x24" + self.load_ecx
        keep = self.load_ecx + b"\xeb" + bytes((len(clear),))
        self.pushf = b"\x9c" + self.save_ecx + read_if + _jecxz(len(keep)) + keep + clear
        self.popf, self.popf_end = self._popf(at)
        self.lookup = self._lookup(at)

    def _popf(self, at: Callable[[int], bytes]) -> tuple[bytes, bytes]:
        """POPF up to the trap of what is not done here, and what follows it. The flags are its to change."""
        end = self.load_ecx + b"\x9d"
        bail = self.load_ecx + TRAP
        allow = b"\x2e\x80\x3d" + at(PENDING) + b"\0" + b"\x75" + bytes((len(self._set_if) + 2,))
        allow += self._set_if + b"\xeb" + bytes((len(bail),))
        mask = self.cli + b"\xeb" + bytes((len(allow) + len(bail),))
        decide = b"\xf6\xc5\x02\x75" + bytes((len(mask),)) + mask + allow
        unusual = b"\xf7\xc1" + dword(_UNUSUAL_FLAGS) + b"\x75" + bytes((len(decide),))
        return self.save_ecx + b"\x8b\x0c\x24" + unusual + decide + bail[:-1], end

    def _lookup(self, at: Callable[[int], bytes]) -> bytes:
        """Jump to the translation of TARGET; the last byte is the trap where there is none."""
        index = b"\x0f\xb7\xc8"  # movzx ecx, ax
        probe = b"\x2e\x8b\x0c\xcd" + at(TABLE) + b"\x8d\x0c\x01"  # mov ecx, [ecx*8]; lea ecx, [ecx+eax]
        hit = b"\x0f\xb7\xc0\x2e\x8b\x04\xc5" + at(TABLE + 4) + b"\x2e\xa3" + at(FOUND)
        hit += self.load_eax + self.load_ecx + b"\x2e\xff\x25" + at(FOUND)
        # Missed: jump over the hit, so that the trap is last
        missed = self.load_eax + self.load_ecx + b"\xeb" + bytes((len(hit),))
        head = self.save_ecx + self.save_eax
        self.lookup_saved = len(head)  # from here on EAX and ECX are those saved
        head += b"\x2e\xa1" + at(TARGET)
        return head + index + probe + _jecxz(len(missed)) + missed + hit + TRAP


def _jecxz(distance: int) -> bytes:
    return b"\xe3" + bytes((distance,))
