"""Registers 60h-6Fh as the sequencer and as the host read and write them.

The sequencer may set PAUSEDIS, the host may not; SINDIR and DINDIR move on the sequencer's
indices for the sequencer alone. SEQRAM is a window of a byte on the word at SEQADDR while LOADRAM
is set; after a word's fourth byte the address counts on. STACK gives a return address in two
reads, low byte first, and goes round: eight reads leave it as it was.

Sources:
    [AIC] Adaptec AIC-7870 data book, "Sequencer registers"; the drivers' dump of the card's state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.instruction import ADDRESS_BITS, BYTE, WORD_BYTES

if TYPE_CHECKING:
    from devices.aic7870.sequencer import Sequencer

ADDRESS_HIGH: Final = 0x01  # of SEQADDR1 and BRKADDR1
HIGH_BYTE_BITS: Final = 0x1F  # of a word's fourth byte: there are 29 bits
BREAK_BITS: Final = reg.BRKDIS | ADDRESS_HIGH
FUNCTION_SHIFT: Final = 4
FUNCTION_BITS: Final = 7


class SequencerPorts:
    """The functions behind the addresses; the state is the sequencer's."""

    __slots__ = ("_registers", "_sequencer")

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._registers = registers = sequencer.registers
        readers = {
            reg.SEQCTL: lambda: sequencer.seqctl,
            reg.SEQRAM: self._read_ram,
            reg.SEQADDR0: lambda: sequencer.pc & BYTE,
            reg.SEQADDR1: lambda: sequencer.pc >> 8,
            reg.BRKADDR0: lambda: sequencer.breakpoint & BYTE,
            reg.BRKADDR1: lambda: sequencer.breakpoint >> 8,
            reg.ALLONES: lambda: BYTE,
            reg.ALLZEROS: lambda: 0,
            reg.FLAGS: lambda: (reg.ZERO if sequencer.zero else 0) | sequencer.carry,
            reg.SINDIR: self._read_indirect,
            reg.DINDIR: lambda: 0,
            reg.FUNCTION1: lambda: 1 << (sequencer.function1 >> FUNCTION_SHIFT & FUNCTION_BITS),
            reg.STACK: self._read_stack,
        }
        for address, reader in readers.items():
            registers.readers[address] = reader
        for address in range(reg.FIRST, reg.LAST + 1):
            registers.writers[address] = self._ignore
        registers.writers[reg.SEQCTL] = self._write_control
        registers.writers[reg.SEQRAM] = self._write_ram
        registers.writers[reg.SEQADDR0] = self._write_address_low
        registers.writers[reg.SEQADDR1] = self._write_address_high
        registers.writers[reg.ACCUM] = lambda value: registers.plain.__setitem__(reg.ACCUM, value)
        registers.writers[reg.SINDEX] = lambda value: registers.plain.__setitem__(reg.SINDEX, value)
        registers.writers[reg.DINDEX] = lambda value: registers.plain.__setitem__(reg.DINDEX, value)
        registers.writers[reg.BRKADDR0] = self._write_break_low
        registers.writers[reg.BRKADDR1] = self._write_break_high
        registers.writers[reg.DINDIR] = self._write_indirect
        registers.writers[reg.FUNCTION1] = self._write_function

    def host_read(self, address: int) -> int:
        """Read one of the registers as the host does."""
        if address == reg.SINDIR:
            return 0
        return self._registers.read(address)

    def host_write(self, address: int, value: int) -> None:
        """Write one of the registers as the host does."""
        if address == reg.DINDIR:
            return
        if address == reg.SEQCTL:
            value &= ~reg.PAUSEDIS | self._sequencer.seqctl
        self._registers.epoch += 1
        self._registers.write(address, value)

    # -------------------------------------------------------------------- registers

    def _ignore(self, value: int) -> None:
        """Nothing can be written there."""

    def _write_control(self, value: int) -> None:
        sequencer = self._sequencer
        if (value ^ sequencer.seqctl) & reg.LOADRAM:
            sequencer.byte = 0
        if value & reg.SEQRESET:
            sequencer.pc = 0
        if sequencer.seqctl != value & ~reg.SEQRESET:
            sequencer.seqctl = value & ~reg.SEQRESET
            self._registers.epoch += 1

    def _read_ram(self) -> int:
        sequencer = self._sequencer
        if not sequencer.seqctl & reg.LOADRAM:
            return 0
        value = sequencer.program[sequencer.pc * WORD_BYTES + sequencer.byte]
        self._next_byte()
        return value

    def _write_ram(self, value: int) -> None:
        sequencer = self._sequencer
        if not sequencer.seqctl & reg.LOADRAM:
            return
        if sequencer.byte == WORD_BYTES - 1:
            value &= HIGH_BYTE_BITS
        sequencer.program[sequencer.pc * WORD_BYTES + sequencer.byte] = value
        sequencer.program_changed()
        self._next_byte()

    def _next_byte(self) -> None:
        sequencer = self._sequencer
        sequencer.byte = (sequencer.byte + 1) % WORD_BYTES
        if not sequencer.byte:
            sequencer.pc = sequencer.pc + 1 & ADDRESS_BITS
        self._registers.epoch += 1

    def _write_address_low(self, value: int) -> None:
        sequencer = self._sequencer
        sequencer.pc = sequencer.pc & ~BYTE | value
        sequencer.byte = 0

    def _write_address_high(self, value: int) -> None:
        sequencer = self._sequencer
        sequencer.pc = sequencer.pc & BYTE | (value & ADDRESS_HIGH) << 8
        sequencer.byte = 0

    def _write_break_low(self, value: int) -> None:
        self._set_breakpoint(self._sequencer.breakpoint & ~BYTE | value)

    def _write_break_high(self, value: int) -> None:
        self._set_breakpoint(self._sequencer.breakpoint & BYTE | (value & BREAK_BITS) << 8)

    def _set_breakpoint(self, value: int) -> None:
        if value != self._sequencer.breakpoint:
            self._sequencer.breakpoint = value
            self._registers.epoch += 1

    def _read_indirect(self) -> int:
        plain = self._registers.plain
        address = plain[reg.SINDEX]
        plain[reg.SINDEX] = address + 1 & BYTE
        return self._registers.read(address)

    def _write_indirect(self, value: int) -> None:
        plain = self._registers.plain
        address = plain[reg.DINDEX]
        plain[reg.DINDEX] = address + 1 & BYTE
        self._registers.write(address, value)

    def _write_function(self, value: int) -> None:
        self._sequencer.function1 = value

    def _read_stack(self) -> int:
        sequencer = self._sequencer
        self._registers.epoch += 1
        if not sequencer.stack_high:
            sequencer.stack_high = True
            return sequencer.return_stack & BYTE
        sequencer.stack_high = False
        return sequencer.pop() >> 8
