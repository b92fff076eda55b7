"""What the translator makes of single instructions."""

from __future__ import annotations

import capstone
import pytest

from tests.vmm.cpu.engine_rig import assemble
from tests.vmm.cpu.fake_services import FakeServices
from tests.vmm.cpu.fake_view import protected_view
from vmm.cpu import registers as r
from vmm.cpu.emulate import emulate
from vmm.cpu.paging import GuestFault
from vmm.techniques.translation.emit import TRAP, Emitter
from vmm.techniques.translation.translate import Context, Draft, Kind

DATA = 0x6000_0000
EIP = 0x1000
COPIED = ("mov eax, [ebx + 4]", "lock inc dword [edi]", "mov ds, ax", "in al, dx", "rep movsb")
TRAPPING = (
    "hlt", "iret", "lgdt [eax]", "mov cr3, eax", "mov eax, cr0", "mov ss, ax", "pop ss", "lar eax, ebx",
    "verr ax", "sgdt [eax]", "smsw ax", "jmp 8:0", "retf", "rdmsr", "invlpg [eax]", "wbinvd",
    "lss eax, [ebx]",
    "call far [eax]", "sysenter", "str ax",
)  # fmt: skip
SELECTORS = (
    ("push cs", "push 0x60"), ("push ss", "push 0x68"), ("mov eax, cs", "mov eax, 0x60"),
    ("mov bx, ss", "mov bx, 0x68"),
)  # fmt: skip
SIXTEEN = (
    "add ax, bx", "add eax, ebx", "mov [bx + si + 4], cx", "mov [ebx], ecx", "push ax",
    "movzx eax, byte [bx]",
    "rep stosw", "lea ax, [di - 3]", "mov eax, 0x12345678", "movq mm0, mm1", "imul ax, [si], 300",
)  # fmt: skip


def context(*, bits: int = 32, plain: bool = True) -> Context:
    return Context(0, 0, bits, True, plain, 0x60, 0x68, Emitter(DATA, 0))


def translated(source: str, *, bits: int = 32, plain: bool = True, single: bool = False) -> Draft:
    code = assemble(f"bits {bits}\norg {EIP:#x}\n{source}")
    draft = Draft(context(bits=bits, plain=plain), EIP, code, single=single)
    draft.translate()
    return draft


def text(draft: Draft) -> list[str]:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    return [f"{name} {operands}".strip() for _, _, name, operands in decoder.disasm_lite(bytes(draft.out), 0)]


@pytest.mark.parametrize("line", COPIED)
def test_harmless_instructions_are_copied(line: str) -> None:
    code = assemble(f"bits 32\n{line}")
    assert bytes(translated(line).out).startswith(code)


def test_a_block_goes_on_to_the_next_instruction_through_a_trap() -> None:
    draft = translated("nop")
    assert text(draft) == ["nop", "jmp 6", "hlt"]
    (at, site) = draft.sites[0]
    assert (at, site.kind, site.eip) == (6, Kind.CHAIN, EIP + 1)


def test_both_ways_of_a_branch_have_traps_of_their_own() -> None:
    draft = translated("jz target\nnop\ntarget:")
    assert text(draft)[:2] == ["je 0xb", "jmp 0xc"]
    assert [site.eip for _, site in draft.sites] == [EIP + 3, EIP + 2]


def test_a_call_pushes_the_guests_address() -> None:
    draft = translated("call target\nnop\ntarget:")
    assert text(draft)[0] == f"push {EIP + 5:#x}"
    assert draft.sites[0][1].eip == EIP + 6


def test_loop_jumps_over_the_way_out() -> None:
    draft = translated("target: loop target")
    assert text(draft)[:3] == ["loop 7", "jmp 0xc", "jmp 0xd"]
    assert [site.eip for _, site in draft.sites] == [EIP + 2, EIP]


def test_ret_pops_its_target_and_looks_it_up() -> None:
    draft = translated("ret")
    assert text(draft)[0] == f"pop dword ptr cs:[{DATA + 16:#x}]"
    assert draft.lookups == [len(draft.out) - 4]


@pytest.mark.parametrize("line", TRAPPING)
def test_privileged_and_sensitive_instructions_become_traps(line: str) -> None:
    code = assemble(f"bits 32\n{line}")
    draft = translated(line)
    assert bytes(draft.out[:1]) == TRAP
    assert (draft.sites[0][1].kind, draft.sites[0][1].code) == (Kind.EMULATE, code)


@pytest.mark.parametrize(
    "line", ["cli", "sti", "pushf", "popf", "push cs", "push ss", "mov eax, cs", "lgdt [eax]"]
)
def test_a_lock_prefix_is_left_to_the_emulator_which_refuses_it(line: str) -> None:
    """[SDM2A] LOCK: #UD with anything but some read-modify-write instructions."""
    draft = translated(f"db 0xf0\n{line}")
    assert bytes(draft.out[:1]) == TRAP
    view = protected_view()
    with pytest.raises(GuestFault) as raised:
        emulate(view, FakeServices(), draft.sites[0][1].code)
    assert raised.value.vector == r.UD


@pytest.mark.parametrize("line", ["cli", "sti", "pushf", "popf"])
def test_flags_are_left_to_the_emulator_where_iopl_counts(line: str) -> None:
    assert bytes(translated(line, plain=False).out[:1]) == TRAP
    assert bytes(translated(line).out[:1]) != TRAP


@pytest.mark.parametrize(("line", "becomes"), SELECTORS)
def test_selectors_are_the_guests(line: str, becomes: str) -> None:
    assert text(translated(line))[0] == becomes


@pytest.mark.parametrize("line", SIXTEEN)
def test_code_of_16_bits_means_the_same_as_code_of_32(line: str) -> None:
    assert text(translated(line, bits=16))[0] == first_16(line)


def first_16(line: str) -> str:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_16)
    _, _, name, operands = next(decoder.disasm_lite(assemble(f"bits 16\n{line}"), 0, 1))
    return f"{name} {operands}".strip()


def test_one_instruction_alone_ends_in_a_trap_and_looks_nothing_up() -> None:
    assert translated("ret", single=True).lookups == []
    draft = translated("mov [eax], ebx\nnop", single=True)
    assert [(site.kind, site.eip) for _, site in draft.sites] == [(Kind.GO_ON, EIP + 2)]


def test_an_instruction_that_goes_on_in_the_next_page_is_not_translated_without_it() -> None:
    code = assemble("bits 32\nmov eax, 0x12345678")
    with pytest.raises(IndexError):
        Draft(context(), EIP, code[:3]).translate()
    draft = Draft(context(), EIP, b"\x90" + code[:3])
    draft.translate()
    assert draft.length == 1
