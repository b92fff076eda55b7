"""The opcode table against capstone, an independent decoder."""

from __future__ import annotations

import random
from typing import Final

import capstone
import pytest

from vmm.techniques.translation.lengths import shape

MODES: Final = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32}
# #UD by design: capstone gives them no ModRM, which [SDM2B] does
WITHOUT_MODRM: Final = ("ud0", "ud1")


@pytest.mark.parametrize("bits", [16, 32])
def test_lengths_are_those_of_an_independent_decoder(bits: int) -> None:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, MODES[bits])
    source = random.Random(bits)
    seen = 0
    for _ in range(20_000):
        code = source.randbytes(15)
        if source.random() < 0.4:
            code = b"\x0f" + code
        found = next(decoder.disasm_lite(code[:15], 0, 1), None)
        if found is None or found[2] in WITHOUT_MODRM or (found[2][0] == "v" and found[2][:3] != "ver"):
            continue  # AVX is nothing this processor has
        seen += 1
        assert shape(code[:15], 0, bits).length == found[1], code.hex()
    assert seen > 10_000


def test_an_instruction_that_is_cut_off_says_so() -> None:
    for cut in range(1, 7):
        with pytest.raises(IndexError):
            shape(bytes.fromhex("81042411223344")[:cut], 0, 32)
