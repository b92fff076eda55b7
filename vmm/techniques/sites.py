"""The scanner: sensitive instructions in a block of code that is about to run."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from vmm.cpu.decode import decode, robin_irvine
from vmm.cpu.encoding import MAX_LENGTH

# What a sensitive instruction's opcode begins with; most blocks hold none of these bytes and are done
_CANDIDATE: Final = re.compile(
    rb"[\x06\x07\x0e\x16\x17\x1e\x1f\x8c\x8e\x9a\x9c\x9d\xca\xcb\xcf\xcd\xea\xff]"
    rb"|\x0f[\x00-\x03\xa0\xa1\xa8\xa9\xb2\xb4\xb5]"
)


class Site(msgspec.Struct, frozen=True, gc=False):
    """A sensitive instruction: where in the block, how long, what Robin and Irvine call it."""

    offset: int
    length: int
    name: str
    mnemonic: str
    text: str
    code: bytes

    @property
    def goes_wrong(self) -> bool:
        """Whether it would mislead the guest at ring 1 without a fault of its own.

        INT comes to the monitor; loads and far jumps go by the shadow descriptors; a selector in DS, ES,
        FS or GS is the one the guest loaded; RETF within ring 0 faults by its RPL.
        """
        if self.name in ("PUSH", "MOV"):
            return self.text.endswith((" cs", " ss"))
        if self.name == "RET":
            return self.mnemonic == "iret"
        return self.name not in ("INT n", "POP", "JMP")


@lru_cache(maxsize=16384)
def find_sites(code: bytes, bits: int, *, first_only: bool = False) -> tuple[Site, ...]:
    """Return the sensitive instructions of a block, or look at its first instruction only."""
    if _CANDIDATE.search(code) is None:
        return ()
    found = []
    at = 0
    while at < len(code):
        instruction = decode(code[at : at + MAX_LENGTH], bits, 0)
        if instruction.mnemonic == "(bad)":
            break  # what follows is not known to be an instruction
        name = robin_irvine(instruction.code, bits)
        if name is not None:
            found.append(
                Site(
                    at,
                    instruction.length,
                    name,
                    _plain(instruction.mnemonic),
                    instruction.text,
                    instruction.code,
                )
            )
        if first_only:
            break
        at += instruction.length
    return tuple(found)


def _plain(mnemonic: str) -> str:
    """Without the operand size: pushfd is pushf."""
    return mnemonic[:-1] if mnemonic in ("pushfd", "popfd", "iretd", "pushfq", "popfq", "iretq") else mnemonic
