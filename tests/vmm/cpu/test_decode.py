"""Decoding by capstone, opcode classes, and our own decoder against capstone's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.cpu.decode import InstructionClass, classify, decode, robin_irvine
from vmm.cpu.encoding import parse

PRIVILEGED, SENSITIVE, INNOCUOUS = InstructionClass


@pytest.mark.parametrize(("code", "bits", "text"), [
    ("f4", 16, "hlt"), ("0f22c0", 32, "mov cr0, eax"), ("b83412", 16, "mov ax, 0x1234"),
    ("48890424", 64, "mov qword ptr [rsp], rax"), ("ea00001000", 16, "ljmp 0x10:0"), ("ffe0", 32, "jmp eax"),
])  # fmt: skip
def test_text(code: str, bits: int, text: str) -> None:
    found = decode(bytes.fromhex(code) + bytes(8), bits, 0x1000)
    assert (found.text, found.length, found.address) == (text, len(code) // 2, 0x1000)
    assert found.code == bytes.fromhex(code)


@pytest.mark.parametrize(("code", "bits", "address", "text"), [
    ("ebfe", 32, 0xC000_0000, "jmp 0xc0000000"), ("ebfe", 32, 0x10, "jmp 0x10"), ("74f0", 16, 4, "je 0xfff6"),
    ("e8fbffffff", 64, 0xFFFF_FFFF_8100_0000, "call 0xffffffff81000000"), ("e2f0", 32, 0, "loop 0xfffffff2"),
])  # fmt: skip
def test_branch_targets_follow_the_address(code: str, bits: int, address: int, text: str) -> None:
    assert decode(bytes.fromhex(code), bits, address).text == text
    target = int(text.split()[1], 0)
    assert decode(bytes.fromhex(code), bits, address, detail=True).operands[0].immediate == target


def test_operands_only_with_detail() -> None:
    code = bytes.fromhex("648b4c9a10")
    assert decode(code, 32, 0).operands == ()
    register, memory = decode(code, 32, 0, detail=True).operands
    assert (register.kind, register.register, register.size) == ("reg", "ecx", 4)
    place = (memory.segment, memory.base, memory.index, memory.scale, memory.displacement)
    assert (memory.kind, *place) == ("mem", "fs", "edx", "ebx", 4, 16)


@pytest.mark.parametrize("code", [b"", b"\x0f", b"\x0f\x04\xff", b"\xe8\x00"])
def test_bytes_that_are_no_instruction_do_not_raise(code: bytes) -> None:
    for detail in (False, True):
        assert decode(code, 32, 0, detail=detail).mnemonic == "(bad)"


@pytest.mark.parametrize("code", [
    "f4", "fa", "fb", "e464", "6c", "f36d", "0f06", "0f08", "0f09", "0f20c0", "0f21c0", "0f22c0", "0f23c0",
    "0f30", "0f32", "0f00d0", "0f00d8", "0f0110", "0f0118", "0f01f0", "0f0138", "0f35", "0f01c1", "0f01d8",
])  # fmt: skip
def test_privileged(code: str) -> None:
    assert classify(bytes.fromhex(code)) is PRIVILEGED


ROBIN_IRVINE = {
    "SGDT": "0f0100", "SIDT": "0f0108", "SLDT": "0f00c0", "SMSW": "0f01e0", "PUSHF": "9c", "POPF": "9d",
    "LAR": "0f02c1", "LSL": "0f03c1", "VERR": "0f00e0", "VERW": "0f00e8", "POP": "1f", "PUSH": "0e",
    "CALL": "9a0000000008 00", "JMP": "ff28", "INT n": "cd80", "RET": "cb", "STR": "0f00c8", "MOV": "8cc8",
}  # fmt: skip


@pytest.mark.parametrize(("name", "code"), ROBIN_IRVINE.items())
def test_robin_and_irvines_list(name: str, code: str) -> None:
    for prefix in (b"", b"\x66", b"\x2e\x67"):
        assert robin_irvine(prefix + bytes.fromhex(code)) == name
        assert classify(prefix + bytes.fromhex(code)) is SENSITIVE


@pytest.mark.parametrize("code", [
    "90", "50", "58", "c3", "e800000000", "ff10", "ff20", "89c8", "0fa2", "0f31", "0f01d0", "0f01f9", "ffd8",
    "", "0f",
])  # fmt: skip
def test_innocuous(code: str) -> None:
    assert classify(bytes.fromhex(code)) is INNOCUOUS


def test_64_bit_mode_has_rex_prefixes_and_fewer_instructions() -> None:
    assert classify(bytes.fromhex("480f22c0"), 64) is PRIVILEGED
    assert classify(b"\x0e", 64) is INNOCUOUS
    assert classify(bytes.fromhex("480f0100"), 64) is SENSITIVE


_OPCODES = [
    "0f00",
    "0f01",
    "0f06",
    "0f08",
    "0f09",
    "0f20",
    "0f22",
    "0f30",
    "0f31",
    "0f32",
    "0fa2",
    "9c",
    "f4",
    "fa",
]
_PREFIXES = st.lists(st.sampled_from([0x66, 0x67, 0x2E, 0x36, 0x65]), max_size=3, unique=True)


@settings(max_examples=300)
@given(
    prefixes=_PREFIXES,
    rex=st.sampled_from([b"", b"\x41", b"\x42", b"\x48", b"\x4f"]),
    opcode=st.sampled_from([bytes.fromhex(code) for code in _OPCODES]),
    rest=st.binary(min_size=8, max_size=8),
    bits=st.sampled_from([16, 32, 64]),
)
def test_our_decoder_agrees_with_capstone_on_length_and_memory(
    prefixes: list[int], rex: bytes, opcode: bytes, rest: bytes, bits: int
) -> None:
    code = bytes(prefixes) + (rex if bits == 64 else b"") + opcode + rest
    theirs = decode(code, bits, 0, detail=True)
    ours = parse(code, bits)
    if theirs.mnemonic == "(bad)" or ours.key == -1:
        return
    assert ours.length == theirs.length
    memory = [operand for operand in theirs.operands if operand.kind == "mem"]
    if ours.memory is not None and memory:
        assert ours.memory.displacement == memory[0].displacement
        assert (ours.memory.index >= 0) + (ours.memory.base >= 0) == bool(memory[0].base) + bool(
            memory[0].index
        )
