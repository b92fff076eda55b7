"""The instructions of the probe: every privileged one, and every sensitive unprivileged one.

Each is a few bytes of code for a level; what it leaves is seen in registers, flags, selectors and 32 bytes of
memory. Where bits of an instruction's result are nobody's business (a time stamp), they are not looked at.

Sources: [RI] Robin and Irvine, "Analysis of the Intel Pentium's Ability to Support a Secure Virtual
Machine Monitor", USENIX Security 2000, §3; [SDM2] Intel 64 and IA-32 Architectures Software Developer's
Manual, volume 2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from vmm.probe import layout
from vmm.probe.layout import CODE_0, DATA_0, GATE, OPERAND, OTHER_TASK, SELECTORS, Level, Registers

Build = Callable[[Level], bytes]
CR0: Final = 0x8001_0011  # PG, WP, ET, PE
IF_, IOPL = 0x200, 0x3000
MSR: Final = 0x174  # IA32_SYSENTER_CS
PORT: Final = 0x80
UNKNOWN_CALL: Final = 0xFFFF  # a hypercall that no monitor has


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction; `key` is unique. `volatile` names what need not be the same twice."""

    key: str
    build: Build
    registers: Registers = Registers()
    operand: bytes = b""
    volatile: frozenset[str] = frozenset()


def _plain(code: str) -> Build:
    data = bytes.fromhex(code)

    def build(level: Level) -> bytes:
        del level
        return data

    return build


def _memory(opcode: str, reg: int) -> Build:
    """An instruction on the operand in memory, with `reg` in its ModRM byte."""
    data = bytes.fromhex(opcode)

    def build(level: Level) -> bytes:
        if level == "VM86":
            return data + bytes((reg << 3 | 6,)) + struct.pack("<H", OPERAND)
        return data + bytes((reg << 3 | 5,)) + struct.pack("<I", OPERAND)

    return build


def _push(value: int, level: Level) -> bytes:
    """PUSH of an immediate, of the size that IRET, POPF and far returns expect."""
    if level == "VM86":
        return b"\x68" + struct.pack("<H", value & 0xFFFF)
    return b"\x68" + struct.pack("<I", value)


def _popf(flags: int) -> Build:
    return lambda level: _push(flags, level) + b"\x9d"


def _far(opcode: int) -> Build:
    """A far JMP or CALL to the byte behind it, in the same ring."""

    def build(level: Level) -> bytes:
        selector = SELECTORS[level][0]
        if level == "VM86":
            return bytes((opcode,)) + struct.pack("<HH", 5, selector)
        return bytes((opcode,)) + struct.pack("<IH", layout.CODE + 7, selector)

    return build


def _far_call(level: Level) -> bytes:
    """A far CALL in the same ring, and the selector that it pushed."""
    pops = b"\x58\x58"  # pop eax twice: EIP, then CS
    return _far(0x9A)(level) + pops


def _far_return(level: Level) -> bytes:
    selector = SELECTORS[level][0]
    head = _push(selector, level)
    end = len(head) * 2 + 1
    return head + _push(end if level == "VM86" else layout.CODE + end, level) + b"\xcb"


def _iret(flags: int) -> Build:
    """IRET within the ring, to the byte behind it."""

    def build(level: Level) -> bytes:
        selector = SELECTORS[level][0]
        end = 3 * len(_push(0, level)) + 1
        target = end if level == "VM86" else layout.CODE + end
        outer = flags | 2
        return _push(outer, level) + _push(selector, level) + _push(target, level) + b"\xcf"

    return build


def _iret_to_ring_3(level: Level) -> bytes:
    """IRET from ring 0 to ring 3, interrupts on from there."""
    pushes = [layout.DATA_3, layout.STACK_TEST, IF_ | 2, layout.CODE_3]
    head = b"".join(_push(value, level) for value in pushes)
    end = len(head) + len(_push(0, level)) + 1
    return head + _push(end if level == "VM86" else layout.CODE + end, level) + b"\xcf"


def _load_stack_segment(level: Level) -> bytes:
    selector = SELECTORS[level][1]
    return b"\xb8" + struct.pack("<H" if level == "VM86" else "<I", selector) + b"\x8e\xd0\x8c\xd0"


def _pop_stack_segment(level: Level) -> bytes:
    return _push(SELECTORS[level][1], level) + b"\x17\x8c\xd0"


def _smsw(level: Level) -> bytes:
    """SMSW AX: of EAX the upper half would be undefined, [SDM2] volume 2B."""
    return bytes.fromhex("0f01e0" if level == "VM86" else "660f01e0")


def _gate_call(level: Level) -> bytes:
    if level == "VM86":
        return b"\x9a" + struct.pack("<HH", 5, SELECTORS[level][0])
    return b"\x9a" + struct.pack("<IH", 0, GATE)


def _case(key: str, build: Build | str, volatile: str = "", operand: bytes = b"", **values: int) -> Case:
    built = _plain(build) if isinstance(build, str) else build
    return Case(
        key=key,
        build=built,
        registers=Registers(**values),
        operand=operand,
        volatile=frozenset(volatile.split()),
    )


PRIVILEGED: Final = (
    _case("CLI", "fa"),
    _case("STI", "fb"),
    _case("HLT, interrupts off", "f4"),
    _case("LGDT", _memory("0f01", 2), operand=layout.pseudo_descriptor("gdt")),
    _case("LIDT", _memory("0f01", 3), operand=layout.pseudo_descriptor("idt")),
    _case("LLDT", "0f00d0"),
    _case("LTR", "0f00d8", eax=OTHER_TASK),
    _case("MOV from CR0", "0f20c0"),
    _case("MOV to CR0", "0f22c0", eax=CR0),
    _case("MOV from CR2", "0f20d0", volatile="eax"),
    _case("MOV from CR3", "0f20d8"),
    _case("MOV to CR3", "0f22d8", eax=layout.DIRECTORY),
    _case("MOV from CR4", "0f20e0"),
    _case("MOV to CR4", "0f22e0"),
    _case("MOV from DR7", "0f21f8"),
    _case("MOV to DR7", "0f23f8", eax=0x400),
    _case("LMSW", "0f01f0", eax=CR0 & 0xFFFF),
    _case("CLTS", "0f06"),
    _case("INVLPG", _memory("0f01", 7)),
    _case("INVD", "0f08"),
    _case("WBINVD", "0f09"),
    _case("RDMSR", "0f32", ecx=MSR),
    _case("WRMSR", "0f30", ecx=MSR),
    _case("RDPMC", "0f33"),
    _case("SYSEXIT", "0f35"),
    _case("IN", "e480"),
    _case("OUT", "e680", eax=0x55),
    _case("INS", "6c", edx=PORT),
    _case("OUTS", "6e", edx=PORT),
)
SENSITIVE: Final = (
    _case("SGDT", _memory("0f01", 0)),
    _case("SIDT", _memory("0f01", 1)),
    _case("SLDT", "0f00c0"),
    _case("STR", "0f00c8"),
    _case("SMSW", _smsw),
    _case("PUSHF", "9c58"),
    _case("POPF, setting IF", _popf(IF_ | 2)),
    _case("POPF, setting IOPL", _popf(IOPL | 2)),
    _case("LAR", "0f02c3", ebx=CODE_0),
    _case("LSL", "0f03c3", ebx=CODE_0),
    _case("VERR", "0f00e3", ebx=DATA_0),
    _case("VERW", "0f00eb", ebx=DATA_0),
    _case("MOV from CS", "8cc8"),
    _case("MOV from SS", "8cd0"),
    _case("MOV to SS", _load_stack_segment),
    _case("PUSH CS", "0e58"),
    _case("PUSH SS", "1658"),
    _case("POP SS", _pop_stack_segment),
    _case("CALL far", _far_call),
    _case("CALL through a gate", _gate_call),
    _case("JMP far", _far(0xEA)),
    _case("RET far", _far_return),
    _case("IRET, setting IF", _iret(IF_)),
    _case("IRET to ring 3, IF set", _iret_to_ring_3),
    _case("INT n", "cd82"),
)
OTHERS: Final = (
    _case("CPUID", "0fa2", volatile="ebx"),
    _case("RDTSC", "0f31", volatile="eax edx"),
    _case("INT3", "cc"),
    _case("UD2", "0f0b"),
    _case("VMCALL", "0f01c1", eax=UNKNOWN_CALL),
    _case("VMMCALL", "0f01d9", eax=UNKNOWN_CALL),
)
CASES: Final = (*PRIVILEGED, *SENSITIVE, *OTHERS)
NOTHING: Final = _case("NOP", "90")
"""What every run does besides the instruction."""
