"""What an exit tells: VT-x's exit reason, qualification and interruption information, AMD-V's EXITINFO1.

Both vendors say the same in other words. The engine gives AMD-V's exit code, the instruction and an
error code; the rest is worked out from these when somebody looks. The numbers of reasons are those
of `vmm/trace/reasons.py`. Not modelled: VT-x's instruction information field, the linear address of an LMSW
operand, and, of a nested page fault, whether it came from the guest's own page walk: QEMU keeps 32 bits
of EXITINFO1, and that is told in its upper half.

Sources:
  [SDM3C] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3C, §27.2.
  [AMD-V] AMD64 Architecture Programmer's Manual, volume 2, §15.7, §15.8.
"""

from __future__ import annotations

from typing import Final

import msgspec

from vmm.cpu import registers as r
from vmm.cpu.encoding import Encoded, parse
from vmm.cpu.engine import INTERCEPT_VECTOR
from vmm.cpu.intercepts import name_of
from vmm.trace.reasons import find_reason

NPF: Final = 0x500
INTERRUPT: Final = 0x160
NMI: Final = 0x161
WINDOW: Final = 0x164
_EXCEPTIONS: Final = range(0x140, 0x160)
_CR_READ, _CR_WRITE = range(0x100, 0x110), range(0x110, 0x120)
_DR_READ, _DR_WRITE = range(0x120, 0x130), range(0x130, 0x140)
_MSR, _INVLPG = 0x17C, 0x179
_NAMES: Final = {NPF: "npf", INTERRUPT: "interrupt", NMI: "nmi", WINDOW: "interrupt-window"}
_VMX_REASONS: Final = {NPF: 48, INTERRUPT: 1, NMI: 0, WINDOW: 7}  # [SDM3C] appendix C
_CLTS, _LMSW = 0x0F06, 6
_MOV_CR, _MOV_FROM_CR = 0x0F22, 0x0F20

# Types of VT-x's interruption information, [SDM3C] table 24-15, where AMD-V's are others
_VTX_EXCEPTION, _VTX_SOFTWARE, _VTX_SOFTWARE_EXCEPTION = 3, 4, 6
_INTERRUPTION_VALID: Final = 1 << 31
_INTERRUPTION_ERROR: Final = 1 << 11


class ExitRecord(msgspec.Struct, frozen=True, gc=False):
    """One exit as the engine told it. `address` is EXITINFO2 of a page fault, or INVLPG's operand."""

    vector: int
    code: bytes
    bits: int
    rip: int
    error_code: int
    address: int = 0
    gpr: int = 0  # the source of LMSW, or the port of DX

    @property
    def name(self) -> str:
        """The exit's name, as in `vmexit.NAME`."""
        return name_of_exit(self.vector)

    @property
    def svm_code(self) -> int:
        """AMD-V's exit code."""
        return self.vector - INTERCEPT_VECTOR

    @property
    def vmx_reason(self) -> int | None:
        """VT-x's basic exit reason, or None where VT-x has no such exit."""
        if self.vector == _MSR:
            return 32 if self._instruction_key() == 0x0F30 else 31
        if self.vector in _EXCEPTIONS:
            return 0
        if self.vector in _VMX_REASONS:
            return _VMX_REASONS[self.vector]
        return find_reason(f"intercept.{self.name}").vtx

    def _instruction(self) -> Encoded | None:
        try:
            return parse(self.code, self.bits)
        except IndexError:
            return None

    def _instruction_key(self) -> int:
        instruction = self._instruction()
        return -1 if instruction is None else instruction.key

    @property
    def length(self) -> int:
        """The length of the instruction, [SDM3C] §27.2.5; 0 where none caused the exit."""
        if self.vector in _NAMES or self.vector in _EXCEPTIONS:
            return 0
        instruction = self._instruction()
        return 0 if instruction is None else instruction.length

    @property
    def qualification(self) -> int:
        """VT-x's exit qualification, [SDM3C] §27.2.1."""
        vector = self.vector
        if vector in _CR_READ or vector in _CR_WRITE:
            return self._control_register()
        if vector in _DR_READ or vector in _DR_WRITE:
            return self._debug_register()
        if vector == NPF:
            return self._ept_violation()
        if vector == 0x100 + 0x40 + r.PF_FAULT or vector == _INVLPG:
            return self.address
        return 0

    def _control_register(self) -> int:
        """[SDM3C] table 27-3."""
        instruction = self._instruction()
        number = self.vector & 0xF
        if instruction is None:
            return number
        if instruction.key == _CLTS:
            return 2 << 4
        if instruction.key in (_MOV_CR, _MOV_FROM_CR):
            return number | (instruction.key == _MOV_FROM_CR) << 4 | instruction.rm << 8
        if instruction.reg == _LMSW:
            memory = instruction.memory is not None
            return 3 << 4 | memory << 6 | (self.gpr & 0xFFFF) << 16
        return 1 << 4 | instruction.rm << 8  # SMSW, which VT-x lets pass

    def _debug_register(self) -> int:
        """[SDM3C] table 27-4."""
        instruction = self._instruction()
        gpr = 0 if instruction is None else instruction.rm
        return self.vector & 7 | (self.vector in _DR_READ) << 4 | gpr << 8

    def _ept_violation(self) -> int:
        """[SDM3C] table 27-7: what was tried, and (all or nothing) what the entry allowed."""
        write, fetch = bool(self.error_code & 2), bool(self.error_code & 0x10)
        tried = fetch << 2 | write << 1 | (not write and not fetch)
        return tried | (7 << 3 if self.error_code & 1 else 0)

    @property
    def interruption(self) -> int:
        """VT-x's interruption information, of exceptions and acknowledged interrupts."""
        if self.vector not in _EXCEPTIONS:
            return _INTERRUPTION_VALID | 2 << 8 | r.NMI if self.vector == NMI else 0
        vector = self.vector & 0x1F
        kind = _VTX_SOFTWARE_EXCEPTION if vector in (r.BP, r.OF_TRAP) else _VTX_EXCEPTION
        error = _INTERRUPTION_ERROR if vector in r.VECTORS_WITH_ERROR_CODE else 0
        return _INTERRUPTION_VALID | kind << 8 | error | vector

    @property
    def exitinfo1(self) -> int:
        """AMD-V's EXITINFO1, with the decode assists of [AMD-V] §15.8.1."""
        if self.vector in _EXCEPTIONS or self.vector == NPF:
            return self.error_code & 0xFFFF_FFFF
        if self.vector == _MSR:
            return int(self._instruction_key() == 0x0F30)
        instruction = self._instruction()
        if instruction is None:
            return 0
        if self.vector < 0x120:
            mov = instruction.key in (_MOV_CR, _MOV_FROM_CR)
            return 1 << 63 | instruction.rm if mov else 0
        if self.vector < 0x140:
            return instruction.rm
        return self.address if self.vector == _INVLPG else 0

    @property
    def line(self) -> str:
        """One line for a reader."""
        vmx = "none" if self.vmx_reason is None else str(self.vmx_reason)
        return (
            f"{self.name}: VT-x reason {vmx}, qualification {self.qualification:x}h; "
            f"AMD-V code {self.svm_code:x}h, EXITINFO1 {self.exitinfo1:x}h, EXITINFO2 {self.address:x}h"
        )


def name_of_exit(vector: int) -> str:
    """Return the exit's name, as in `vmexit.NAME`."""
    return _NAMES.get(vector) or name_of(vector)


def io_qualification(port: int, size: int, code: bytes, *, is_in: bool) -> int:
    """VT-x's qualification of a port access, [SDM3C] table 27-5; `code` is the instruction."""
    rest = code.lstrip(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3")
    opcode = rest[0] if rest else 0
    prefixes = code[: len(code) - len(rest)]
    string = 0x6C <= opcode <= 0x6F
    repeated = string and (0xF2 in prefixes or 0xF3 in prefixes)
    immediate = 0xE4 <= opcode <= 0xE7
    return size - 1 | is_in << 3 | string << 4 | repeated << 5 | immediate << 6 | port << 16


def io_exitinfo1(port: int, size: int, code: bytes, *, is_in: bool) -> int:
    """AMD-V's EXITINFO1 of a port access, [AMD-V] §15.10.2, without the size of addresses."""
    qualification = io_qualification(port, size, code, is_in=is_in)
    string, repeated = qualification >> 4 & 1, qualification >> 5 & 1
    return port << 16 | size << 4 | repeated << 3 | string << 2 | is_in
