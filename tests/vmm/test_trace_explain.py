"""What `--explain` says: class of the instruction, what each technique does, names elsewhere."""

from __future__ import annotations

import pytest

from vmm.cpu.decode import _RI_BY_GROUP, _RI_BY_OPCODE
from vmm.trace.events import Exit
from vmm.trace.explain import _SHOWN_AT_CPL_1, TECHNIQUES, explain, what_techniques_do
from vmm.trace.reasons import CATALOGUE, find_reason

ROBIN_IRVINE = {
    "SGDT", "SIDT", "SLDT", "SMSW", "PUSHF", "POPF", "LAR", "LSL", "VERR", "VERW", "POP", "PUSH", "CALL",
    "JMP", "INT n", "RET", "STR", "MOV",
}  # fmt: skip


def exit_by(reason: str, code: str = "") -> Exit:
    return Exit(
        time_ns=0, cs=8, ip=0x1000, cpl=1, mode="prot32", reason=reason, code=bytes.fromhex(code)
    )  # fmt: skip


def test_a_privileged_instruction_traps_outside_ring_0() -> None:
    why, kind, techniques = explain(exit_by("emulate.cli", "fa"))

    assert "clears the interrupt flag" in why
    assert kind.startswith("Class: privileged")
    assert "trap: #GP at CPL 1" in techniques


def test_a_sensitive_instruction_is_named_by_robin_and_irvines_row() -> None:
    _, kind, techniques = explain(exit_by("patched.pushf", "9c"))

    assert kind.startswith("Class: sensitive but unprivileged")
    assert "(Robin and Irvine: PUSHF)" in kind
    assert "trap: no fault at CPL 1: shows the real IF and IOPL" in techniques


def test_an_innocuous_instruction_says_so() -> None:
    assert "Class: innocuous" in explain(exit_by("mmio.read", "8b07"))[1]


def test_an_event_without_an_instruction_has_no_class() -> None:
    why, techniques = explain(exit_by("inject.interrupt"))

    assert "virtual interrupt flag" in why
    assert techniques.startswith("bare: delivered")


@pytest.mark.parametrize(
    "reason", ["io.out", "reflect.pf", "reflect.int", "shadow.fill", "cpuid", "interrupt"]
)
def test_what_each_technique_does_is_told_of_all_of_them(reason: str) -> None:
    assert tuple(what_techniques_do(exit_by(reason, "90"))) == TECHNIQUES


def test_each_row_of_robin_and_irvine_has_what_it_shows_at_cpl_1() -> None:
    assert _SHOWN_AT_CPL_1.keys() == ROBIN_IRVINE
    assert {*_RI_BY_OPCODE.values(), *_RI_BY_GROUP.values()} == ROBIN_IRVINE


def test_a_hypercall_of_xen_stands_beside_the_numbers_of_the_vendors() -> None:
    assert explain(exit_by("emulate.mov-to-cr3", "0f22d8"))[0].endswith(
        "[VT-x: exit reason 28; AMD-V: exit code 0x13; Xen: mmuext_op]"
    )
    assert "Xen: set_gdt" in find_reason("emulate.lgdt").elsewhere
    assert "Xen: stack_switch" in find_reason("emulate.ltr").elsewhere


def test_every_family_of_the_techniques_is_in_the_catalogue() -> None:
    families = {key.partition(".")[0] for key in CATALOGUE}

    assert families >= {
        "emulate", "patched", "cache", "scan", "shadow", "reflect", "inject", "vmexit", "hypercall", "switch",
    }  # fmt: skip


def test_an_instruction_the_catalogue_does_not_list_still_has_a_title() -> None:
    assert find_reason("emulate.xyz").title == "XYZ, emulated"


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("emulate.mov-to-cr3", "MOV to CR3, emulated"),
        ("patched.mov-from-cs", "MOV from CS, replaced"),
        ("emulate.pop-gs", "POP of GS, emulated"),
        ("patched.lss", "LSS, replaced"),
        ("emulate.int3", "INT3, emulated"),
        ("vmexit.cr3-write", "CR3 write (VM exit)"),
    ],
)
def test_an_instruction_about_one_register_names_it(key: str, title: str) -> None:
    assert find_reason(key).title == title


def test_every_name_of_the_decoder_is_in_the_catalogue() -> None:
    from vmm.cpu import decode

    names = {*decode._NAMES.values(), *(name for group in decode._GROUP_NAMES.values() for name in group)}
    ordinary = {"", "cpuid", "rdtsc", "rdpmc", "syscall", "sysenter"}

    assert not [name for name in names - ordinary if "It raised #GP" in find_reason(f"emulate.{name}").why]
