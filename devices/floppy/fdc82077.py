"""82077AA floppy disk controller in AT mode: registers, command phases and interrupts.

The data commands are in `transfer.py`, drives and formats in `drive.py`. Seeks take the step rate's
time; a data command takes a fixed moment, whatever the disk's angle and however many sectors.

Not modelled: SCAN, the FIFO's threshold (programmed I/O waits for the guest for ever), PS/2 and
Model 30 registers (3F0h and 3F1h float), motor spin-up, perpendicular timing, power-down. Without a
disk there are no index pulses: READ ID and data commands then wait for a reset, as on the chip.

Source: [82077AA] Intel 82077AA CHMOS Single-Chip Floppy Disk Controller, 290166.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from devices.backplane import Clock, DeviceState, IrqLine, Timer
from devices.dma8237 import DmaChannel
from devices.floppy import registers as r
from devices.floppy import transfer as t
from devices.floppy.drive import FloppyDrive, FloppyDriveState
from devices.floppy.transfer import Transfer, TransferState
from devices.isa import FLOATING, byte_bank, floating, ignored


class Fdc82077State(DeviceState, frozen=True, kw_only=True):
    """Registers, the command being given or under way, results not yet read, and what is due when."""

    dor: int
    tdr: int
    rate: int
    specify: bytes
    configure: bytes
    perpendicular: int
    locked: bool
    command: bytes
    results: bytes
    interrupt: bool
    ready_changes: int
    seeks: tuple[int, ...]
    due: dict[str, int]
    transfer: TransferState | None
    buffer: bytes
    by_fifo: bool
    drives: tuple[FloppyDriveState, ...]


class Fdc82077:
    """The controller. `ports` are 3F0h-3F5h, `dir_port` is 3F7h."""

    def __init__(
        self,
        clock: Clock,
        irq: IrqLine,
        dma: DmaChannel,
        drives: Sequence[FloppyDrive] = (),
        name: str = "fdc",
    ) -> None:
        self.name = name
        self._clock, self._irq, self._dma = clock, irq, dma
        self.drives = list(drives)[: r.DRIVES]
        self._timer: Timer | None = None
        self._transfer: Transfer | None = None
        self._dor = self._tdr = self._rate = 0
        self._controls: dict[int, Callable[[bytes], bytes]] = {
            r.SPECIFY: self._set, r.SENSE_DRIVE: self._sense_drive,
            r.RECALIBRATE: self._recalibrate, r.SENSE_INTERRUPT: self._sense_interrupt,
            r.DUMPREG: self._dump, r.SEEK: self._seek,
            r.VERSION: lambda _: bytes([r.VERSION_82077]), r.PERPENDICULAR: self._set,
            r.CONFIGURE: self._set, r.LOCK: self._lock,
        }  # fmt: skip
        self.ports = byte_bank(
            name,
            (floating, floating, lambda: self._dor, lambda: self._tdr, self._read_msr, self._read_fifo),
            (ignored, ignored, self._write_dor, self._write_tdr, self._write_dsr, self._write_fifo),
        )
        self.dir_port = byte_bank(f"{name} dir", (self._read_dir,), (self._write_ccr,))
        self.reset()

    # -- reset and state

    def reset(self) -> None:
        """Assert the reset pin: the controller stays in reset until DOR releases it."""
        self._dor = self._tdr = self._rate = 0
        self._specify, self._perpendicular, self._locked = bytes(2), 0, False
        self._configure = bytes([0, r.FIFO_OFF, 0])
        self._reset_logic()

    def _reset_logic(self) -> None:
        """Reset by DOR or DSR; LOCK saves what CONFIGURE set."""
        if not self._locked:
            self._configure = bytes([0, r.FIFO_OFF, 0])
        self._command, self._results, self._buffer = b"", b"", b""
        self._transfer, self._by_fifo = None, False
        self._ready_changes = 0
        self._seeks: list[int] = []  # ST0 of seeks that ended, to be asked for
        self._due: dict[str, int] = {}
        self._interrupt = False
        self._update_irq()
        self._reschedule()

    def save(self) -> Fdc82077State:
        """Return the state; the disks are not part of it."""
        return Fdc82077State(
            dor=self._dor, tdr=self._tdr, rate=self._rate, specify=self._specify,
            configure=self._configure, perpendicular=self._perpendicular, locked=self._locked,
            command=self._command, results=self._results, interrupt=self._interrupt,
            ready_changes=self._ready_changes, seeks=tuple(self._seeks), due=dict(self._due),
            transfer=None if self._transfer is None else self._transfer.save(), buffer=self._buffer,
            by_fifo=self._by_fifo, drives=tuple(drive.save() for drive in self.drives),
        )  # fmt: skip

    def load(self, state: DeviceState) -> None:
        """Become `state`, drive the line and go on with what is due."""
        saved = msgspec.convert(state, Fdc82077State)
        self._dor, self._tdr, self._rate = saved.dor, saved.tdr, saved.rate
        self._specify, self._configure = saved.specify, saved.configure
        self._perpendicular, self._locked = saved.perpendicular, saved.locked
        self._command, self._results, self._buffer = saved.command, saved.results, saved.buffer
        self._ready_changes, self._seeks = saved.ready_changes, list(saved.seeks)
        for drive, its in zip(self.drives, saved.drives, strict=False):
            drive.load(its)
        self._transfer = None
        if saved.transfer is not None:
            self._transfer = Transfer(saved.transfer, self._drive(saved.transfer.drive), self._rate)
        self._by_fifo = saved.by_fifo
        self._due, self._interrupt = dict(saved.due), saved.interrupt
        self._update_irq()
        self._reschedule()

    def _drive(self, number: int) -> FloppyDrive:
        """Return a drive; one that is not there is like one without a disk."""
        return self.drives[number] if number < len(self.drives) else FloppyDrive()

    # -- what is due

    def _after(self, what: str, time_ns: int) -> None:
        self._due[what] = self._clock.now_ns() + time_ns
        self._reschedule()

    def _reschedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._timer = self._clock.at(min(self._due.values()), self._on_due, self.name)

    def _on_due(self) -> None:
        self._timer = None
        now = self._clock.now_ns()
        for what in sorted(self._due, key=lambda name: (self._due[name], name)):
            if self._due[what] <= now:
                del self._due[what]
                self._happen(what)
                break
        self._reschedule()

    def _happen(self, what: str) -> None:
        if what == "reset":
            self._ready_changes = 0 if self._configure[1] & r.POLLING_OFF else r.DRIVES
            self._interrupt = bool(self._ready_changes)
        elif what == "read id":
            self._finish_read_id(self._command)
        elif what == "data":
            self._run_transfer()
        else:
            self._end_seek(int(what[-1]))
        self._update_irq()

    def _update_irq(self) -> None:
        gate = bool(self._dor & r.DOR_DMA_GATE)
        self._irq.set_level(gate and (self._interrupt or self._by_fifo))

    # -- registers

    def _write_dor(self, value: int) -> None:
        old, self._dor = self._dor, value
        if not value & r.DOR_NOT_RESET:
            self._reset_logic()
        elif not old & r.DOR_NOT_RESET:
            self._after("reset", r.RESET_NS)
        self._update_irq()

    def _write_tdr(self, value: int) -> None:
        self._tdr = value & r.DOR_SELECT

    def _write_dsr(self, value: int) -> None:
        self._rate = value & r.RATE
        if value & r.DSR_RESET and self._dor & r.DOR_NOT_RESET:
            self._reset_logic()
            self._after("reset", r.RESET_NS)

    def _write_ccr(self, value: int) -> None:
        self._rate = value & r.RATE

    def _read_dir(self) -> int:
        """Read the change line of the selected drive, if its motor is on; the rest is the hard disk's."""
        number = self._dor & r.DOR_SELECT
        changed = bool(self._dor & r.DOR_MOTOR << number) and self._drive(number).changed
        return FLOATING if changed else FLOATING & ~r.DIR_CHANGED

    def _read_msr(self) -> int:
        """Read who may move a byte, and which way."""
        if not self._dor & r.DOR_NOT_RESET or "reset" in self._due:
            return 0
        status = sum(1 << int(what[-1]) for what in self._due if what.startswith("seek"))
        if self._transfer is not None:
            status |= r.MSR_BUSY
            if self._by_fifo:
                status |= r.MSR_RQM | r.MSR_NON_DMA | (0 if self._transfer.wants else r.MSR_DIO)
        elif "read id" in self._due or self._waits_for_disk():
            status |= r.MSR_BUSY
        elif self._results:
            status |= r.MSR_RQM | r.MSR_DIO | r.MSR_BUSY
        else:
            status |= r.MSR_RQM | (r.MSR_BUSY if self._command else 0)
        return status

    def _waits_for_disk(self) -> bool:
        """Whether a command is complete and waits for index pulses that do not come."""
        return bool(self._command) and len(self._command) > r.PARAMETERS.get(self._command[0] & 0x1F, 0)

    def _read_fifo(self) -> int:
        if self._transfer is not None and self._buffer and not self._transfer.wants:
            byte, self._buffer = self._buffer[0], self._buffer[1:]
            if not self._buffer:
                self._next_by_fifo()
            return byte
        if not self._results:
            return FLOATING
        byte, self._results = self._results[0], self._results[1:]
        self._interrupt = bool(self._seeks)
        self._update_irq()
        return byte

    def _write_fifo(self, value: int) -> None:
        if not self._dor & r.DOR_NOT_RESET or self._results or "read id" in self._due:
            return
        if self._transfer is not None:
            if self._by_fifo and self._transfer.wants:
                self._take_by_fifo(value)
        elif not self._waits_for_disk():
            self._command += bytes([value])
            if len(self._command) > r.PARAMETERS.get(self._command[0] & 0x1F, 0):
                self._execute()

    # -- commands

    def _execute(self) -> None:
        command = self._command
        code = command[0] & 0x1F
        if code == r.READ_ID or code in r.DATA_COMMANDS:
            self._begin_data(command)
            return
        self._command = b""
        control = self._controls.get(code)
        self._results = bytes([r.ST0_INVALID]) if control is None else control(command)
        self._update_irq()

    def _begin_data(self, command: bytes) -> None:
        drive = self._drive(command[1] & r.DOR_SELECT)
        if drive.format is None:
            return  # no index pulses: until a reset
        if self._configure[1] & r.IMPLIED_SEEK and command[0] & 0x1F not in (r.READ_ID, r.FORMAT_TRACK):
            drive.step_to(command[2])
        if command[0] & 0x1F == r.READ_ID:
            self._after("read id", r.COMMAND_NS)
            return
        self._command = b""
        self._transfer = Transfer.begin(command, drive, self._rate)
        self._after("data", r.COMMAND_NS)

    def _finish_read_id(self, command: bytes) -> None:
        """The first ID that comes by: that of sector 1."""
        self._command = b""
        drive = self._drive(command[1] & r.DOR_SELECT)
        head = command[1] >> 2 & 1
        found = Transfer.begin(
            bytes([r.READ_DATA, command[1], drive.cylinder, head, 1, 2, 1, 0, 0]), drive, self._rate
        )
        if found.readable() and not drive.has_sector(head, 1):
            found.st1 |= t.ST1_MISSING_ADDRESS
        self._end_data(found.result(short=False))

    def _end_data(self, results: bytes) -> None:
        self._transfer, self._by_fifo = None, False
        self._buffer, self._results = b"", results
        self._interrupt = True
        self._update_irq()

    # -- moving data

    def _run_transfer(self) -> None:
        """Move all of a command by DMA; without, have the first sector at the FIFO."""
        transfer = self._transfer
        assert transfer is not None
        if transfer.operation == r.VERIFY:
            while transfer.find() and transfer.read() and not transfer.advance():
                pass
            self._end_data(transfer.result(short=True))
        elif self._specify[1] & r.NON_DMA:
            self._next_by_fifo(first=True)
        else:
            self._end_data(transfer.result(short=not t.move_by_dma(transfer, self._dma)))

    def _next_by_fifo(self, *, first: bool = False) -> None:
        """Have the next sector at the FIFO, or end the command."""
        transfer = self._transfer
        assert transfer is not None
        ended = not first and transfer.advance()
        self._by_fifo = False
        if ended or not transfer.begin_step():
            self._end_data(transfer.result(short=True))
            return
        self._buffer = b"" if transfer.wants else transfer.read()
        if transfer.failed:
            self._end_data(transfer.result(short=True))
            return
        self._by_fifo = True
        self._update_irq()

    def _take_by_fifo(self, value: int) -> None:
        transfer = self._transfer
        assert transfer is not None
        self._buffer += bytes([value])
        if len(self._buffer) == transfer.wants:
            transfer.store(self._buffer)
            self._next_by_fifo()

    # -- commands that move no data

    def _sense_drive(self, command: bytes) -> bytes:
        drive = self._drive(command[1] & r.DOR_SELECT)
        status = r.ST3_FIXED | command[1] & 0x07 | (0 if drive.cylinder else r.ST3_TRACK_0)
        return bytes([status | (r.ST3_PROTECTED if drive.write_protected else 0)])

    def _sense_interrupt(self, _command: bytes) -> bytes:
        """Tell why the line is high: four times after a reset, once after each seek."""
        if self._ready_changes:
            number = r.DRIVES - self._ready_changes
            self._ready_changes -= 1
            result = bytes([r.ST0_READY_CHANGED | number, self._drive(number).cylinder])
        elif self._seeks:
            st0 = self._seeks.pop(0)
            result = bytes([st0, self._drive(st0 & r.DOR_SELECT).cylinder])
        else:
            return bytes([r.ST0_INVALID])
        self._interrupt = bool(self._seeks)
        return result

    def _recalibrate(self, command: bytes) -> bytes:
        self._move_head(command[1] & r.DOR_SELECT, 0)
        return b""

    def _seek(self, command: bytes) -> bytes:
        """SEEK to a cylinder, or by so many with the relative bit."""
        number, cylinder = command[1] & r.DOR_SELECT, command[2]
        if command[0] & r.RELATIVE:
            here = self._drive(number).cylinder
            cylinder = here + cylinder if command[0] & r.RELATIVE_UP else here - cylinder
        self._move_head(number, cylinder)
        return b""

    def _move_head(self, number: int, cylinder: int) -> None:
        drive = self._drive(number)
        steps = abs(cylinder - drive.cylinder)
        drive.step_to(cylinder)
        step_ns = (r.SLOWEST_STEP - (self._specify[0] >> 4)) * r.STEP_NS
        self._after(f"seek {number}", max(steps, 1) * step_ns)

    def _end_seek(self, number: int) -> None:
        """Have an end to be asked for: one a drive, its latest, however many a guest never asks for."""
        missing = number >= len(self.drives)
        self._seeks = [st0 for st0 in self._seeks if st0 & r.DOR_SELECT != number]
        self._seeks.append(r.ST0_SEEK_END | number | (t.ST0_ABNORMAL | r.ST0_EQUIPMENT if missing else 0))
        self._interrupt = True

    def _dump(self, _command: bytes) -> bytes:
        cylinders = bytes(self._drive(number).cylinder for number in range(r.DRIVES))
        lock = r.LOCK_BIT if self._locked else 0
        return cylinders + self._specify + bytes([0, lock | self._perpendicular & 0x3F, *self._configure[1:]])

    def _set(self, command: bytes) -> bytes:
        """SPECIFY, PERPENDICULAR MODE and CONFIGURE only set registers."""
        code = command[0] & 0x1F
        if code == r.SPECIFY:
            self._specify = command[1:]
        elif code == r.CONFIGURE:
            self._configure = command[1:]
        else:
            self._perpendicular = command[1]
        return b""

    def _lock(self, command: bytes) -> bytes:
        self._locked = bool(command[0] & r.LOCK_BIT)
        return bytes([0x10 if self._locked else 0])
