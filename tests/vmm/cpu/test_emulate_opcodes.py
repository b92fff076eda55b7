"""Every opcode: what `classify` calls privileged or sensitive is emulated, in each code size."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.fake_services import FakeServices
from tests.vmm.cpu.fake_view import FakeView, long_view, protected_view
from vmm.cpu import registers as r
from vmm.cpu.decode import InstructionClass, classify, decode, instruction_name, is_hypercall
from vmm.cpu.emulate import Outcome, emulate
from vmm.cpu.paging import GuestFault

# 0F 01 with a register operand: VMX, SVM, MONITOR and MWAIT, which this machine does not have
ABSENT = frozenset({0xC1, 0xC2, 0xC3, 0xC4, 0xC8, 0xC9, *range(0xD8, 0xE0)})
TAIL = bytes(10)


def view_of(bits: int) -> FakeView:
    if bits == 64:
        return long_view()
    view = protected_view() if bits == 32 else FakeView()
    view.regs[r.RSP] = 0x8000
    return view


def is_emulated(code: bytes, bits: int) -> bool:
    """Whether `emulate` takes an instruction on; a fault is an answer too."""
    try:
        return emulate(view_of(bits), FakeServices(), code) is not Outcome.UNHANDLED
    except GuestFault:
        return True


def encodings() -> list[bytes]:
    """One- and two-byte opcodes, each with every ModRM byte."""
    one = [bytes((opcode, modrm)) for opcode in range(256) for modrm in range(256) if opcode != 0x0F]
    two = [bytes((0x0F, opcode, modrm)) for opcode in range(256) for modrm in range(256)]
    return one + two


@pytest.mark.quick("32")
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_no_privileged_or_sensitive_instruction_is_missing(bits: int) -> None:
    missing = []
    for code in encodings():
        if classify(code + TAIL, bits) is InstructionClass.INNOCUOUS:
            continue
        if code[:2] == b"\x0f\x01" and code[2] in ABSENT:
            continue
        if decode(code + TAIL, bits, 0).mnemonic != "(bad)" and not is_emulated(code + TAIL, bits):
            missing.append(code.hex())
    assert missing == []


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_each_of_them_has_a_name_of_its_own(bits: int) -> None:
    for code in encodings():
        if classify(code + TAIL, bits) is InstructionClass.INNOCUOUS:
            continue
        name = instruction_name(code + TAIL, bits)
        assert name == "(bad)" or name.replace("-", "").isalnum(), code.hex()


@pytest.mark.parametrize("code", [b"\x0f\x01\xc1", b"\x0f\x01\xd9"], ids=["vmcall", "vmmcall"])
def test_hypercalls_are_left_to_the_caller(code: bytes) -> None:
    assert not is_emulated(code + TAIL, 32)
    assert is_hypercall(code + TAIL, 32)
