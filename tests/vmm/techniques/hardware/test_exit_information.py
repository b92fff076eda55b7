"""What an exit tells, against the tables of [SDM3C] §27.2 and [AMD-V] §15."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import assemble
from vmm.cpu.intercepts import EXCEPTIONS, EXIT_CODES
from vmm.techniques.hardware.exit_information import (
    NPF,
    ExitRecord,
    io_exitinfo1,
    io_qualification,
)


def record(
    name: str, instruction: str = "", error_code: int = 0, address: int = 0, gpr: int = 0
) -> ExitRecord:
    code = assemble(f"bits 32\n{instruction}") if instruction else b""
    vector = NPF if name == "npf" else 0x100 + (EXIT_CODES | EXCEPTIONS)[name]
    return ExitRecord(vector, code.ljust(15, b"\x90"), 32, 0x1000, error_code, address, gpr)


@pytest.mark.parametrize(("name", "instruction", "reason", "code", "qualification"), [
    ("cr0-write", "mov cr0, edx", 28, 0x10, 0x200),
    ("cr3-write", "mov cr3, eax", 28, 0x13, 0x003),
    ("cr3-read", "mov ebx, cr3", 28, 0x03, 0x313),
    ("cr4-write", "mov cr4, ecx", 28, 0x14, 0x104),
    ("cr0-write", "clts", 28, 0x10, 0x20),
    ("cr0-write", "lmsw [ebx]", 28, 0x10, 0x70),
    ("dr7-write", "mov dr7, eax", 29, 0x37, 0x007),
    ("dr6-read", "mov ecx, dr6", 29, 0x26, 0x116),
    ("hlt", "hlt", 12, 0x78, 0),
    ("cpuid", "cpuid", 10, 0x72, 0),
    ("ltr", "ltr ax", 47, 0x6D, 0),
    ("lgdt", "lgdt [eax]", 46, 0x6B, 0),
    ("rdpmc", "rdpmc", 15, 0x6F, 0),
    ("wbinvd", "wbinvd", 54, 0x89, 0),
    ("pushf", "pushfd", None, 0x70, 0),
])  # fmt: skip
def test_reason_code_and_qualification_of_an_instruction(
    name: str, instruction: str, reason: int | None, code: int, qualification: int
) -> None:
    found = record(name, instruction)
    assert (found.vmx_reason, found.svm_code, found.qualification) == (reason, code, qualification)


def test_lmsw_tells_what_it_loads() -> None:
    assert record("cr0-write", "lmsw ax", gpr=0xBEEF).qualification == 0xBEEF_0030


def test_wrmsr_and_rdmsr_are_two_reasons_of_vt_x_and_one_code_of_amd_v() -> None:
    read, write = record("msr", "rdmsr"), record("msr", "wrmsr")
    assert (read.vmx_reason, write.vmx_reason) == (31, 32)
    assert (read.exitinfo1, write.exitinfo1) == (0, 1)
    assert read.svm_code == write.svm_code == 0x7C


def test_a_page_fault_is_reason_0_and_its_address_the_qualification() -> None:
    found = record("pf", "mov eax, [0]", error_code=6, address=0xC000_1234)
    assert (found.vmx_reason, found.svm_code, found.qualification) == (0, 0x4E, 0xC000_1234)
    assert found.interruption == 0x8000_0B0E
    assert (found.exitinfo1, found.length) == (6, 0)


@pytest.mark.parametrize(("error_code", "qualification"), [(4, 1), (6, 2), (0x14, 4), (7, 0x3A)])
def test_an_ept_violation_says_what_was_tried(error_code: int, qualification: int) -> None:
    found = record("npf", error_code=error_code, address=0xA_0000)
    assert (found.vmx_reason, found.svm_code, found.qualification) == (48, 0x400, qualification)


def test_invlpg_is_qualified_by_its_operand() -> None:
    assert record("invlpg", "invlpg [ebx]", address=0xC012_3000).qualification == 0xC012_3000


def test_the_length_counts_prefixes() -> None:
    assert record("cr3-write", "db 0x2e\nmov cr3, eax").length == 4


@pytest.mark.parametrize(("code", "port", "size", "is_in", "vmx", "svm"), [
    (b"\xec", 0x3F8, 1, True, 0x03F8_0008, 0x03F8_0011),
    (b"\xe6\x80", 0x80, 1, False, 0x0080_0040, 0x0080_0010),
    (b"\x66\xed", 0x1F0, 2, True, 0x01F0_0009, 0x01F0_0021),
    (b"\xf3\x66\x6d", 0x1F0, 2, True, 0x01F0_0039, 0x01F0_002D),
    (b"\xf3\x6f", 0x1F0, 4, False, 0x01F0_0033, 0x01F0_004C),
])  # fmt: skip
def test_port_accesses(code: bytes, port: int, size: int, is_in: bool, vmx: int, svm: int) -> None:
    assert io_qualification(port, size, code, is_in=is_in) == vmx
    assert io_exitinfo1(port, size, code, is_in=is_in) == svm
