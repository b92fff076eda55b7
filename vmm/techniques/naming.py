"""Short names of the instructions that reach a monitor, as reasons of exits use them."""

from __future__ import annotations

from vmm.cpu.decode import decode
from vmm.cpu.segmentation import code_bits
from vmm.cpu.state import CpuView


def instruction_name(code: bytes, view: CpuView) -> str:
    """Return `cli`, `lgdt`, `mov` ...: the mnemonic of the instruction `code` begins with."""
    return decode(code, code_bits(view), 0).mnemonic
