"""Instructions as text and operands, by capstone, and what virtualization makes of each by its opcode.

`decode` is for traces, debuggers and translation: capstone costs 6 to 30 µs an instruction, so
results are cached by (bytes, mode), and operands are worked out only where asked for. `classify`
reads opcode bytes alone: which instructions trap outside ring 0, and which touch privileged state
*without* trapping, the ones that make this architecture hard to virtualize. `instruction_name` is
what the reasons of exits call an instruction.

Addresses are offsets in the code segment, as RIP is.

Sources: [RI] Robin and Irvine, "Analysis of the Intel Pentium's Ability to Support a Secure Virtual
Machine Monitor", USENIX Security 2000, §3; [SDM2] Intel 64 and IA-32 Architectures Software
Developer's Manual, volume 2D, appendix A.
"""

from __future__ import annotations

import enum
from functools import cache, lru_cache
from typing import Any, Final

import msgspec

from vmm.cpu import registers as r
from vmm.cpu.encoding import GONE_IN_64_BIT, MAX_LENGTH, PREFIXES, TWO_BYTE
from vmm.cpu.paging import MASK_32, MASK_64

_MASKS: Final = {16: 0xFFFF, 32: MASK_32, 64: MASK_64}
_CACHE_SIZE: Final = 65536


class InstructionClass(enum.Enum):
    """How an instruction behaves when a guest kernel runs outside ring 0."""

    PRIVILEGED = "privileged: traps outside ring 0 (or above IOPL)"
    SENSITIVE = "sensitive but unprivileged: reads or changes privileged state without a trap"
    INNOCUOUS = "innocuous: runs alike in every ring"


class Operand(msgspec.Struct, frozen=True, gc=False):
    """An operand; `kind` says which fields count. `size` is in bytes."""

    kind: str  # "reg", "imm" or "mem"
    size: int
    register: str = ""
    immediate: int = 0
    segment: str = ""
    base: str = ""
    index: str = ""
    scale: int = 1
    displacement: int = 0


class Instruction(msgspec.Struct, frozen=True):
    """A decoded instruction. Bytes that are none decode as the one-byte mnemonic `(bad)`."""

    address: int
    length: int
    mnemonic: str
    op_str: str
    code: bytes
    operands: tuple[Operand, ...] = ()

    @property
    def text(self) -> str:
        """Assembler text, Intel syntax."""
        return f"{self.mnemonic} {self.op_str}" if self.op_str else self.mnemonic


def decode(code: bytes, mode_bits: int, address: int, *, detail: bool = False) -> Instruction:
    """Decode the instruction at the start of `code`, for a code size of 16, 32 or 64.

    `operands` is filled only with `detail`.
    """
    found = (_decode_detail if detail else _decode_lite)(bytes(code[:MAX_LENGTH]), mode_bits)
    if not _is_relative(found):
        return msgspec.structs.replace(found, address=address) if address else found
    target = int(found.op_str, 0) + address & _MASKS[mode_bits]
    operands = found.operands and (msgspec.structs.replace(found.operands[0], immediate=target),)
    return msgspec.structs.replace(found, address=address, op_str=f"{target:#x}", operands=operands)


def _is_relative(instruction: Instruction) -> bool:
    """A branch whose operand is a target: the only text that depends on the address."""
    name = instruction.mnemonic
    if not (name.startswith(("j", "loop")) or name in ("call", "xbegin")):
        return False
    return instruction.op_str[:1].isdigit()


@cache
def _disassembler(mode_bits: int, detail: bool) -> Any:  # noqa: ANN401 - capstone has no types
    import capstone  # late: a tenth of the start of a machine, and most runs decode nothing

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    engine = capstone.Cs(capstone.CS_ARCH_X86, modes[mode_bits])
    engine.detail = detail
    return engine


@lru_cache(maxsize=_CACHE_SIZE)
def _decode_lite(code: bytes, mode_bits: int) -> Instruction:
    for _, length, mnemonic, op_str in _disassembler(mode_bits, False).disasm_lite(code, 0, 1):
        return Instruction(0, length, mnemonic, op_str, code[:length])
    return _bad(code)


@lru_cache(maxsize=_CACHE_SIZE // 4)
def _decode_detail(code: bytes, mode_bits: int) -> Instruction:
    for found in _disassembler(mode_bits, True).disasm(code, 0, 1):
        operands = tuple(_operand(found, operand) for operand in found.operands)
        return Instruction(0, found.size, found.mnemonic, found.op_str, code[: found.size], operands)
    return _bad(code)


def _bad(code: bytes) -> Instruction:
    return Instruction(0, min(1, len(code)), "(bad)", "", code[:1])


def _operand(found: Any, operand: Any) -> Operand:  # noqa: ANN401 - capstone has no types
    def name(register: int) -> str:
        return found.reg_name(register) if register else ""

    from capstone.x86 import X86_OP_IMM, X86_OP_REG

    if operand.type == X86_OP_REG:
        return Operand("reg", operand.size, register=name(operand.reg))
    if operand.type == X86_OP_IMM:
        return Operand("imm", operand.size, immediate=operand.imm)
    memory = operand.mem
    return Operand(
        "mem",
        operand.size,
        segment=name(memory.segment),
        base=name(memory.base),
        index=name(memory.index),
        scale=memory.scale,
        displacement=memory.disp,
    )


# The sensitive unprivileged instructions of [RI] §3, which counts them as seventeen; by opcode
_RI_BY_OPCODE: Final = {
    0x9C: "PUSHF", 0x9D: "POPF", 0x9A: "CALL", 0xEA: "JMP",
    0xCC: "INT n", 0xCD: "INT n", 0xCE: "INT n", 0xF1: "INT n",
    0xCA: "RET", 0xCB: "RET", 0xCF: "RET",  # far returns and IRET
    0x8C: "MOV", 0x8E: "MOV",  # from and to segment registers
    0x06: "PUSH", 0x0E: "PUSH", 0x16: "PUSH", 0x1E: "PUSH", 0x0FA0: "PUSH", 0x0FA8: "PUSH",
    0x07: "POP", 0x17: "POP", 0x1F: "POP", 0x0FA1: "POP", 0x0FA9: "POP",
    0x0F02: "LAR", 0x0F03: "LSL",
}  # fmt: skip
_RI_BY_GROUP: Final = {
    (0x0F00, 0): "SLDT", (0x0F00, 1): "STR", (0x0F00, 4): "VERR", (0x0F00, 5): "VERW",
    (0x0F01, 0): "SGDT", (0x0F01, 1): "SIDT", (0x0F01, 4): "SMSW",
    (0xFF, 3): "CALL", (0xFF, 5): "JMP",
}  # fmt: skip
_MEMORY_ONLY: Final = frozenset({(0x0F01, 0), (0x0F01, 1), (0x0F01, 2), (0x0F01, 3), (0xFF, 3), (0xFF, 5)})

_PRIVILEGED_OPCODES: Final = frozenset({
    0x6C, 0x6D, 0x6E, 0x6F, 0xE4, 0xE5, 0xE6, 0xE7, 0xEC, 0xED, 0xEE, 0xEF,  # I/O, guarded by IOPL
    0xFA, 0xFB, 0xF4,  # CLI, STI (IOPL), HLT
    0x0F06, 0x0F07, 0x0F08, 0x0F09,  # CLTS, SYSRET, INVD, WBINVD
    0x0F20, 0x0F21, 0x0F22, 0x0F23,  # MOV CRn, DRn
    0x0F30, 0x0F32, 0x0F33, 0x0F35,  # WRMSR, RDMSR, RDPMC, SYSEXIT
})  # fmt: skip
# LLDT, LTR, LGDT, LIDT, LMSW, INVLPG (and SWAPGS)
_PRIVILEGED_GROUPS: Final = frozenset(
    {(0x0F00, 2), (0x0F00, 3), (0x0F01, 2), (0x0F01, 3), (0x0F01, 6), (0x0F01, 7)}
)
_SWAPGS: Final = 0xF8  # 0F 01 F8; the others of its group, as RDTSCP, are innocuous or none
_GROUP_OF_SWAPGS: Final = (0x0F01, 7)
# VMX, MONITOR and MWAIT (0F 01 C1-C4, C8, C9), SVM (D8-DF): in ring 0 only
_PRIVILEGED_0F01: Final = frozenset({0xC1, 0xC2, 0xC3, 0xC4, 0xC8, 0xC9, *range(0xD8, 0xE0)})


def classify(code: bytes, mode_bits: int = 32) -> InstructionClass:
    """Say whether an instruction is privileged, sensitive but unprivileged, or innocuous."""
    opcode, modrm = _opcode(code, mode_bits)
    group = (opcode, modrm >> 3 & 7)
    if opcode in _PRIVILEGED_OPCODES or (opcode == 0x0F01 and modrm in _PRIVILEGED_0F01):
        return InstructionClass.PRIVILEGED
    register_form = modrm >= 0xC0
    if group in _PRIVILEGED_GROUPS and not (register_form and group in _MEMORY_ONLY):
        if not register_form or group != _GROUP_OF_SWAPGS or (modrm == _SWAPGS and mode_bits == 64):
            return InstructionClass.PRIVILEGED
        return InstructionClass.INNOCUOUS
    if robin_irvine(code, mode_bits) is not None:
        return InstructionClass.SENSITIVE
    return InstructionClass.INNOCUOUS


def robin_irvine(code: bytes, mode_bits: int = 32) -> str | None:
    """The name under which [RI] lists an instruction as sensitive and unprivileged, if it does."""
    opcode, modrm = _opcode(code, mode_bits)
    if mode_bits == 64 and opcode in GONE_IN_64_BIT:
        return None
    group = (opcode, modrm >> 3 & 7)
    if modrm >= 0xC0 and group in _MEMORY_ONLY:
        return None
    return _RI_BY_OPCODE.get(opcode) or _RI_BY_GROUP.get(group)


# What the reasons of exits call an instruction
_NAMES: Final = {
    0x06: "push-es", 0x0E: "push-cs", 0x16: "push-ss", 0x1E: "push-ds", 0x0FA0: "push-fs", 0x0FA8: "push-gs",
    0x07: "pop-es", 0x17: "pop-ss", 0x1F: "pop-ds", 0x0FA1: "pop-fs", 0x0FA9: "pop-gs",
    0x6C: "ins", 0x6D: "ins", 0x6E: "outs", 0x6F: "outs",
    0x9A: "far-call", 0xEA: "far-jmp", 0xCA: "far-ret", 0xCB: "far-ret", 0xCF: "iret",
    0x9C: "pushf", 0x9D: "popf", 0xFA: "cli", 0xFB: "sti", 0xF4: "hlt",
    0xC4: "les", 0xC5: "lds", 0x0FB2: "lss", 0x0FB4: "lfs", 0x0FB5: "lgs",
    0xCC: "int3", 0xCD: "int", 0xCE: "into", 0xF1: "int1",
    0xE4: "in", 0xE5: "in", 0xEC: "in", 0xED: "in", 0xE6: "out", 0xE7: "out", 0xEE: "out", 0xEF: "out",
    0x0F02: "lar", 0x0F03: "lsl", 0x0F05: "syscall", 0x0F06: "clts", 0x0F07: "sysret", 0x0F08: "invd",
    0x0F09: "wbinvd", 0x0F30: "wrmsr", 0x0F31: "rdtsc", 0x0F32: "rdmsr", 0x0F33: "rdpmc",
    0x0F34: "sysenter", 0x0F35: "sysexit", 0x0FA2: "cpuid",
}  # fmt: skip
_GROUP_NAMES: Final = {
    0x0F00: ("sldt", "str", "lldt", "ltr", "verr", "verw"),
    0x0F01: ("sgdt", "sidt", "lgdt", "lidt", "smsw", "", "lmsw", "invlpg"),
    0xFF: ("", "", "", "far-call", "", "far-jmp"),
}
_REGISTER_MOVES: Final = {  # opcode: name, and the registers that ModRM.reg numbers
    0x8C: ("mov-from-", r.SEGMENT_NAMES), 0x8E: ("mov-to-", r.SEGMENT_NAMES),
    0x0F20: ("mov-from-cr", "0123456789"), 0x0F22: ("mov-to-cr", "0123456789"),
    0x0F21: ("mov-from-dr", "01234567"), 0x0F23: ("mov-to-dr", "01234567"),
}  # fmt: skip
_HYPERCALLS: Final = frozenset({"vmcall", "vmmcall"})
_REX_R: Final = 4


@lru_cache(maxsize=_CACHE_SIZE)
def instruction_name(code: bytes, mode_bits: int) -> str:
    """The short name of an instruction in the reasons of exits: `cli`, `mov-to-cr3`, `far-jmp`.

    Instructions that virtualization has nothing to do with have capstone's mnemonic.
    """
    opcode, modrm = _opcode(code, mode_bits)
    reg = modrm >> 3 & 7
    name = _NAMES.get(opcode, "")
    if opcode in _GROUP_NAMES and (modrm < 0xC0 or (opcode, reg) not in _MEMORY_ONLY):
        names = _GROUP_NAMES[opcode]
        special = opcode == TWO_BYTE + 1 and modrm >= 0xC0 and reg == _GROUP_OF_SWAPGS[1]
        name = names[reg] if reg < len(names) and not special else ""
    elif opcode in _REGISTER_MOVES:
        move, registers = _REGISTER_MOVES[opcode]
        if registers != r.SEGMENT_NAMES and mode_bits == 64 and _rex(code) & _REX_R:
            reg += 8
        name = move + registers[reg] if reg < len(registers) else ""
    elif opcode in (0xC4, 0xC5) and modrm >= 0xC0:  # VEX
        name = ""
    if not name or (mode_bits == 64 and opcode in GONE_IN_64_BIT):
        return decode(code, mode_bits, 0).mnemonic
    return name


def is_hypercall(code: bytes, mode_bits: int) -> bool:
    """Whether the instruction is VMCALL or VMMCALL, which `emulate` leaves to whoever offers hypercalls."""
    return instruction_name(code, mode_bits) in _HYPERCALLS


def _rex(code: bytes) -> int:
    """The REX prefix of 64-bit code, or 0."""
    at = 0
    while at < len(code) and code[at] in PREFIXES:
        at += 1
    return code[at] if at < len(code) and code[at] & 0xF0 == 0x40 else 0


def _opcode(code: bytes, mode_bits: int) -> tuple[int, int]:
    """The opcode (after 0Fh, from `TWO_BYTE` on) and the byte after it; -1 and 0 where there is none."""
    at = 0
    while at < len(code) and (code[at] in PREFIXES or (mode_bits == 64 and code[at] & 0xF0 == 0x40)):
        at += 1
    rest = code[at : at + 3]
    if rest[:1] == b"\x0f" and len(rest) > 1:
        return TWO_BYTE | rest[1], rest[2] if len(rest) > 2 else 0
    if not rest:
        return -1, 0
    return rest[0], rest[1] if len(rest) > 1 else 0
