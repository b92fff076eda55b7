"""One ATA channel: two device positions behind a command block and a control block.

Writes reach the task files of both devices; the Device register selects who executes commands
and whose interrupt is on the wire. A position without a device next to one that is there reads
Status 00h, its other registers are the neighbour's; a channel without devices floats.

Sources:
    [ATA-6] T13/1410D revision 3b, §7, §9.16 (single device configurations).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from devices.backplane import OPEN_BUS, DeviceState, IrqLine, PortBank, Tracer
from devices.ide.atapi import AtapiDrive, AtapiDriveState
from devices.ide.commands import DEVICE_RESET, EXECUTE_DEVICE_DIAGNOSTIC
from devices.ide.disk import AtaDisk, AtaDiskState
from devices.ide.drive import IdeDrive
from devices.ide.registers import (
    COMMAND,
    COMMAND_BLOCK_PORTS,
    DATA,
    DC_HOB,
    DC_NIEN,
    DC_SRST,
    DEV_SELECT,
    DEVICE,
    ERROR,
    SR_BSY,
    SR_DRQ,
    STATUS,
    TaskFile,
)

ABSENT_STATUS: Final = 0x00  # [ATA-6] §9.16.1
DriveState = AtaDiskState | AtapiDriveState | None


class IdeChannelState(DeviceState, frozen=True, kw_only=True):
    """The control register, the selection and both devices."""

    control: int
    selected: int
    drives: tuple[DriveState, DriveState]


class IdeChannel:
    """Attach devices, then put `command_bank` and `control_bank` on the bus."""

    def __init__(self, name: str, irq: IrqLine, tracer: Tracer | None = None) -> None:
        self.name = name
        self._irq = irq
        self._tracer = tracer
        self._drives: list[AtaDisk | AtapiDrive | None] = [None, None]
        self._task_files: list[TaskFile] = []
        self._selected_index = 0
        self._control = 0
        self.selected: IdeDrive | None = None
        self._answering: IdeDrive | None = None  # whose registers are read
        self.on_interrupt: Callable[[], None] = _nothing  # INTRQ has risen on the wire
        self.on_dma: Callable[[], None] = _nothing  # the selected device wants DMA
        self._reads: list[Callable[[int], int]] = [_floating] * COMMAND_BLOCK_PORTS
        self._tables = [self._reads, self._reads]  # `_reads` with device 0, device 1 selected
        self.command_bank = PortBank(
            f"{name} command block", self.read, self.write, self.read_block, self.write_block
        )
        self.control_bank = PortBank(f"{name} control block", self.read_control, self.write_control)

    def attach(self, index: int, drive: AtaDisk | AtapiDrive) -> None:
        """Plug a device in as device 0 or 1; raise ValueError where one already is."""
        taken = self._drives[index]
        if taken is not None:
            raise ValueError(f"{self.name}: device {index} is already {taken.name}")
        self._drives[index] = drive
        self._task_files.append(drive.registers)
        drive.connect(self.name, index, self._tracer, self._update_irq, self._dma_wanted)
        self._tables = [self._read_table(at) for at in range(2)]
        self._select(self._selected_index)

    def reset(self) -> None:
        """Hardware reset of the channel and its devices."""
        self._control = 0
        for drive in self._drives:
            if drive is not None:
                drive.power_on()
        self._select(0)

    # --- command block -----------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Guest IN. A wide access beside the data port is as many byte accesses."""
        if offset == DATA or (size == 1 and offset < COMMAND_BLOCK_PORTS):
            return self._reads[offset](size)
        value = OPEN_BUS[size]
        for at in range(min(size, COMMAND_BLOCK_PORTS - offset)):
            value ^= (0xFF ^ self._reads[offset + at](1)) << 8 * at
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest OUT. A wide access beside the data port is as many byte accesses."""
        if offset == DATA:
            if self.selected is not None:
                self.selected.write_data(size, value)
        elif size == 1 and offset < COMMAND_BLOCK_PORTS:
            self._write_register(offset, value)
        else:
            for at in range(offset, min(offset + size, COMMAND_BLOCK_PORTS)):
                self._write_register(at, value & 0xFF)
                value >>= 8

    def read_block(self, size: int, count: int) -> bytes:
        """REP INS from the data port."""
        return self.selected.read_block(size, count) if self.selected is not None else b""

    def write_block(self, size: int, data: bytes) -> int:
        """REP OUTS to the data port."""
        return self.selected.write_block(size, data) if self.selected is not None else 0

    def _write_register(self, offset: int, value: int) -> None:
        self._control &= ~DC_HOB  # [ATA-6] §7.8: any write of the command block clears it
        selected = self.selected
        if selected is not None and selected.status & (SR_BSY | SR_DRQ):
            if offset == COMMAND and value == DEVICE_RESET and selected.is_packet:
                self._execute(value)
        elif offset == COMMAND:
            self._execute(value)
        else:
            for registers in self._task_files:
                registers.write(offset, value)
            if offset == DEVICE:
                index = 1 if value & DEV_SELECT else 0
                if index != self._selected_index:
                    self._select(index)

    def _execute(self, opcode: int) -> None:
        if opcode == EXECUTE_DEVICE_DIAGNOSTIC:
            self._diagnose()
        elif self.selected is not None:
            self.selected.command(opcode)

    def _diagnose(self) -> None:
        """EXECUTE DEVICE DIAGNOSTIC: both devices run it, device 0 reports, [ATA-6] §9.10."""
        for drive in self._drives:
            if drive is not None:
                drive.end_reset()
        self._deselect()
        if self.selected is not None:
            self.selected.interrupt = True
        self._update_irq()

    def _read_table(self, index: int) -> list[Callable[[int], int]]:
        """Return who answers reads of the command block with device `index` selected."""
        selected = self._drives[index]
        table = [partial(self._read_register, offset) for offset in range(COMMAND_BLOCK_PORTS)]
        reads: list[Callable[[int], int]] = [*table]
        reads[ERROR] = self._read_error
        reads[DATA] = _floating if selected is None else selected.read_data
        reads[STATUS] = _absent_status if selected is None else selected.read_status
        return reads

    def _read_register(self, offset: int, size: int) -> int:
        if self._answering is None:
            return OPEN_BUS[size]
        registers = self._answering.registers
        older = self._control & DC_HOB and offset != DEVICE
        return registers.previous[offset] if older else registers.current[offset]

    def _read_error(self, size: int) -> int:
        return self._answering.error if self._answering is not None else OPEN_BUS[size]

    # --- control block -----------------------------------------------------------------------

    def read_control(self, offset: int, size: int) -> int:
        """Alternate Status: like Status, but acknowledges nothing."""
        if self._answering is None or offset:
            return OPEN_BUS[size]
        status = ABSENT_STATUS if self.selected is None else self.selected.status
        return OPEN_BUS[size] & ~0xFF | status

    def write_control(self, offset: int, size: int, value: int) -> None:
        """Device Control: HOB, SRST and nIEN reach both devices."""
        if offset:
            return
        before, self._control = self._control, value & (DC_HOB | DC_SRST | DC_NIEN)
        if value & ~before & DC_SRST:
            for drive in self._drives:
                if drive is not None:
                    drive.begin_reset()
        elif before & ~value & DC_SRST:
            for drive in self._drives:
                if drive is not None:
                    drive.soft_reset()
            self._deselect()
        self._update_irq()

    # --- selection and interrupt -------------------------------------------------------------

    def _deselect(self) -> None:
        """Select device 0, as resets do."""
        for drive in self._drives:
            if drive is not None:
                drive.registers.write(DEVICE, 0)
        self._select(0)

    def _select(self, index: int) -> None:
        self._bind(index)
        self._update_irq()

    def _bind(self, index: int) -> None:
        self._selected_index = index
        self.selected = selected = self._drives[index]
        self._answering = selected if selected is not None else self._drives[1 - index]
        self._reads = self._tables[index]

    def _wire(self) -> bool:
        """Return the level of INTRQ: the selected device's, unless nIEN holds it back."""
        selected = self.selected
        return selected is not None and selected.interrupt and not self._control & DC_NIEN

    def _update_irq(self) -> None:
        level = self._wire()
        risen = level and not self._irq.level
        self._irq.set_level(level)
        if risen:
            self.on_interrupt()

    def _dma_wanted(self) -> None:
        self.on_dma()

    # --- state -------------------------------------------------------------------------------

    def save(self) -> IdeChannelState:
        """Return the state of the channel and its devices."""
        first, second = (drive.save() if drive is not None else None for drive in self._drives)
        return IdeChannelState(control=self._control, selected=self._selected_index, drives=(first, second))

    def load(self, state: IdeChannelState) -> None:
        """Become `state`; raise ValueError if it was saved from other devices."""
        for drive, saved in zip(self._drives, state.drives, strict=True):
            match drive, saved:
                case AtaDisk(), AtaDiskState():
                    drive.load(saved)
                case AtapiDrive(), AtapiDriveState():
                    drive.load(saved)
                case None, None:
                    pass
                case _:
                    raise ValueError(f"{self.name}: the saved channel has other devices")
        self._control = state.control
        self._bind(state.selected & 1)
        self._irq.set_level(self._wire())  # the bus master restores its own interrupt bit


def _floating(size: int) -> int:
    return OPEN_BUS[size]


def _absent_status(size: int) -> int:
    return OPEN_BUS[size] & ~0xFF | ABSENT_STATUS


def _nothing() -> None:
    return None
