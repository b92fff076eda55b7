"""Decoding by capstone, opcode classes, and our own decoder against capstone's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.cpu.decode import (
    InstructionClass,
    classify,
    decode,
    instruction_name,
    is_hypercall,
    robin_irvine,
)
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


NAMES = {
    "cli": "fa", "sti": "fb", "pushf": "9c", "popf": "9d", "iret": "cf", "hlt": "f4", "int": "cd80",
    "mov-to-cr3": "0f22d8", "mov-from-cr0": "0f20c0", "mov-to-dr7": "0f23f8", "mov-from-dr6": "0f21f0",
    "lgdt": "0f0110", "sidt": "0f0108", "smsw": "0f01e0", "lmsw": "0f01f0", "invlpg": "0f0138",
    "clts": "0f06",
    "mov-from-cs": "8cc8", "mov-to-ss": "8ed0", "push-cs": "0e", "pop-ds": "1f", "push-gs": "0fa8",
    "lar": "0f02c1", "verw": "0f00e8", "far-jmp": "ff28", "far-call": "9a000000000800", "far-ret": "cb",
    "in": "e464", "out": "ee", "ins": "f36d", "outs": "6e", "rdmsr": "0f32", "wrmsr": "0f30", "cpuid": "0fa2",
    "invd": "0f08", "wbinvd": "0f09", "rdpmc": "0f33", "lds": "c507", "vmcall": "0f01c1", "vmmcall": "0f01d9",
    "mov": "89c8", "call": "ff10", "rdtscp": "0f01f9", "(bad)": "0f04", "nop": "90",
}  # fmt: skip


@pytest.mark.parametrize(("name", "code"), NAMES.items())
def test_names_in_reasons(name: str, code: str) -> None:
    for prefix in (b"", b"\x2e"):
        if prefix and name in ("(bad)", "vmcall", "vmmcall", "rdtscp"):
            continue
        assert instruction_name(prefix + bytes.fromhex(code), 32) == name


@pytest.mark.parametrize(("name", "code"), [
    ("mov-to-cr8", "440f22c0"), ("swapgs", "0f01f8"), ("push-fs", "0fa0"), ("iret", "48cf"),
    ("mov-from-cs", "4c8cc8"),
])  # fmt: skip
def test_names_of_64_bit_code(name: str, code: str) -> None:
    assert instruction_name(bytes.fromhex(code), 64) == name


def test_names_of_what_64_bit_code_has_not() -> None:
    for code in ("06", "9a000000000800", "ce"):
        assert instruction_name(bytes.fromhex(code), 64) == "(bad)"


def test_hypercalls_are_told_apart() -> None:
    assert is_hypercall(bytes.fromhex("0f01c1"), 32)
    assert is_hypercall(bytes.fromhex("0f01d9"), 64)
    assert not is_hypercall(bytes.fromhex("0f01c2"), 32)


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
    *("8c", "8e", "ff", "0f02", "0f03", "0fb2", "0fb4", "0fb5", "06", "0e", "17", "1f", "0fa0", "0fa9"),
    *("9a", "ea", "ca", "cb", "cf", "cc", "cd", "ce", "f1", "e4", "e7", "ec", "ef", "6c", "6f", "c4", "c5"),
    *("0f05", "0f07", "0f33", "0f34", "0f35"),
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
