"""A small x86 assembler for random guests: the forms the generator needs, in 16, 32 and 64 bits.

It writes bytes, resolves nothing and checks little: nonsense is welcome. Addresses are absolute and
below 4 GiB; in 16-bit code they are reached by 32-bit addressing.
"""

from __future__ import annotations

AX, CX, DX, BX, SP, BP, SI, DI = range(8)
ES, CS, SS, DS, FS, GS = range(6)

OPERAND = 0x66
ADDRESS = 0x67


class Assembler:
    """Code for `origin`, in the operand size `bits`."""

    def __init__(self, origin: int, bits: int) -> None:
        self.origin = origin
        self.bits = bits
        self.code = bytearray()

    @property
    def here(self) -> int:
        """The address of the next byte."""
        return self.origin + len(self.code)

    def db(self, *values: int) -> None:
        """Bytes as they are."""
        self.code += bytes(value & 0xFF for value in values)

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.code += data

    def number(self, value: int, size: int) -> None:
        """A little-endian number, cut to `size` bytes."""
        self.code += (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def wide(self) -> None:
        """Make the next instruction one of 32-bit operands."""
        if self.bits == 16:
            self.db(OPERAND)

    def narrow(self) -> None:
        """Make the next instruction one of 16-bit operands."""
        if self.bits != 16:
            self.db(OPERAND)

    # -- registers

    def mov(self, register: int, value: int) -> None:
        """MOV r32, imm32."""
        self.wide()
        self.db(0xB8 + register)
        self.number(value, 4)

    def mov64(self, register: int, value: int) -> None:
        """MOV r64, imm64; below 64 bits only the low half."""
        if self.bits != 64:
            self.mov(register, value)
            return
        self.db(0x48, 0xB8 + register)
        self.number(value, 8)

    def mov_segment(self, segment: int, selector: int) -> None:
        """MOV AX, imm16; MOV Sreg, AX."""
        self.mov(AX, selector)
        self.db(0x8E, 0xC0 | segment << 3)

    # -- memory at a fixed address

    def at(self, address: int, field: int) -> None:
        """The ModRM of [address], `field` in its middle; the caller has written the opcode."""
        if self.bits == 64:
            self.db(0x04 | field << 3, 0x25)
        else:
            self.db(0x05 | field << 3)
        self.number(address, 4)

    def address_32(self) -> None:
        """The prefix that `at` needs in 16-bit code."""
        if self.bits == 16:
            self.db(ADDRESS)

    def store(self, address: int, value: int, size: int = 4) -> None:
        """MOV [address], imm of 1, 2 or 4 bytes."""
        self.address_32()
        if size == 2:
            self.narrow()
        elif size == 4:
            self.wide()
        self.db(0xC6 if size == 1 else 0xC7)
        self.at(address, 0)
        self.number(value, size)

    def memory(self, *opcode: int, field: int, address: int) -> None:
        """Any instruction whose operand is [address]."""
        self.address_32()
        self.db(*opcode)
        self.at(address, field)

    # -- stack and jumps

    def push(self, value: int) -> None:
        """PUSH imm32 (64 bits: sign-extended)."""
        self.wide()
        self.db(0x68)
        self.number(value, 4)

    def far_jump(self, selector: int, offset: int) -> None:
        """JMP selector:offset; 64-bit code has none and returns there instead."""
        if self.bits == 64:
            self.push(selector)
            self.push(offset)
            self.db(0x48, 0xCB)
            return
        self.wide()
        self.db(0xEA)
        self.number(offset, 4)
        self.number(selector, 2)

    def far_call(self, selector: int, offset: int, scratch: int) -> None:
        """CALL selector:offset; through the far pointer at `scratch` in 64-bit code."""
        if self.bits == 64:
            self.store(scratch, offset)
            self.store(scratch + 4, selector)
            self.memory(0xFF, field=3, address=scratch)
            return
        self.wide()
        self.db(0x9A)
        self.number(offset, 4)
        self.number(selector, 2)

    def jump(self, target: int) -> None:
        """JMP near, relative."""
        self.wide()
        self.db(0xE9)
        self.number(target - (self.here + 4), 4)

    # -- ports and system registers

    def out(self, port: int, value: int, size: int = 1) -> None:
        """MOV DX, port; MOV EAX, value; OUT."""
        self.mov(DX, port)
        self.mov(AX, value)
        self._port(size, 0xEE)

    def read_port(self, port: int, size: int = 1) -> None:
        """MOV DX, port; IN."""
        self.mov(DX, port)
        self._port(size, 0xEC)

    def _port(self, size: int, opcode: int) -> None:
        if size == 2:
            self.narrow()
        elif size == 4:
            self.wide()
        self.db(opcode | (size > 1))

    def write_cr(self, index: int, value: int) -> None:
        """MOV RAX, value; MOV CRn, RAX."""
        self.mov64(AX, value)
        self.db(0x0F, 0x22, 0xC0 | index << 3)

    def wrmsr(self, msr: int, value: int) -> None:
        """MOV ECX, msr; MOV EDX:EAX, value; WRMSR."""
        self.mov(CX, msr)
        self.mov(AX, value)
        self.mov(DX, value >> 32)
        self.db(0x0F, 0x30)
