"""The Adaptec AIC-7870 SCSI host adapter chip: 256 registers, a sequencer, a bus with targets.

The sequencer runs inside a host access, a deadline or an event of a target, until it only waits or is
paused. A program that does not come to rest is left after a while and goes on later, so that a guest
gets on whatever it has downloaded. On the real chip a host access pauses the sequencer for a moment;
here it comes between two instructions.

Not modelled: target mode, SCAM, parity errors, the odd byte of 16-bit transfers, external SCB RAM,
39-bit host addresses, the time-out of a selection (see `bus.py`).

Sources:
    [AIC] Adaptec AIC-7870 data book; the names are those of the BSD and Linux drivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from devices.aic7870 import registers as r
from devices.aic7870.bus import BusState, ScsiBus
from devices.aic7870.cell import CellState, ScsiCell
from devices.aic7870.fifo import DataPath, DataPathState
from devices.aic7870.interrupts import Interrupts, InterruptState
from devices.aic7870.nexus import COMPLETE, Nexus
from devices.aic7870.peripheral import Peripheral, Target
from devices.aic7870.register_file import REGISTERS, SCB_WINDOW, SCRATCH, Keeping, RegisterFile
from devices.aic7870.registers import BITBUCKET, SXFRCTL1
from devices.aic7870.scb import ScbMemory, ScbState
from devices.aic7870.sequencer import Sequencer, SequencerState
from devices.aic7870.straps import Straps, StrapsState
from devices.backplane import (
    OPEN_BUS,
    Clock,
    DeviceState,
    GuestMemory,
    IrqLine,
    PortBank,
    Timer,
    Tracer,
)
from devices.saved import Natural, fitting
from devices.scsi.events import ScsiStatus, command_event
from devices.scsi.task import CHECK_CONDITION

VENDOR_ID: Final = 0x9004
DEVICE_ID: Final = 0x7078

BLOCK_ENDS: Final = frozenset(
    (
        r.SCSISEQ, r.SXFRCTL0, r.SXFRCTL1, r.SCSISIGO, r.SCSIDATL, *range(r.STCNT, r.STCNT + 3),
        r.CLRSINT0, r.CLRSINT1, r.SIMODE0, r.SIMODE1, *range(r.SEQCTL, r.SEQADDR + 2), r.HCNTRL,
        *range(r.HCNT, r.HCNT + 3), r.INTSTAT, r.CLRINT, r.DFCNTRL, r.DFDAT,
    )
)  # fmt: skip
"""Where an access of the sequencer may pause or interrupt it or move its program counter."""

INERT: Final = (*range(0x0D, 0x0F), *range(0x70, 0x84), *range(0xC0, 0x100))
READ_ONLY: Final = (
    r.SCSIBUSL,
    r.SCSIBUSL + 1,
    *range(r.SHADDR, r.SELID + 1),
    r.DFSTATUS,
    r.QINCNT,
    r.QOUTCNT,
)
MASKED: Final = {r.DSPCISTATUS: 0xC0, r.DSCOMMAND1: 0x03}
SEQUENCER: Final = range(0x60, 0x70)

RUN_LIMIT: Final = 50_000  # instructions: 5 ms of a sequencer of 10 MHz
GO_ON_NS: Final = 1_000_000
PATIENCE: Final = 8  # so often a long run goes on after GO_ON_NS; then the pauses double
LONGEST_PAUSE: Final = 10  # doublings: a second


class Aic7870State(DeviceState, frozen=True, kw_only=True):
    """The whole chip and its bus."""

    registers: Annotated[bytes, msgspec.Meta(min_length=REGISTERS, max_length=REGISTERS)]
    sequencer: SequencerState
    interrupts: InterruptState
    cell: CellState
    data: DataPathState
    scb: ScbState
    straps: StrapsState
    bus: BusState
    instructions: Natural
    long_runs: Natural
    goes_on_ns: Natural | None


class Aic7870:
    """The chip. `read` and `write` are its 256 registers; `window` is the memory BAR's view of them."""

    def __init__(
        self,
        name: str,
        memory: GuestMemory,
        clock: Clock,
        irq: IrqLine,
        targets: Mapping[int, Target],
        tracer: Tracer | None = None,
        wide: bool = False,
    ) -> None:
        self.name = name
        self.registers = RegisterFile()
        self.instructions = 0  # executed since power-on
        self._clock = clock
        self._tracer = tracer
        self.bus = ScsiBus(name, clock, self.settle)
        self.bus.peripherals = {
            number: Peripheral(number, target, wide, self._on_command)
            for number, target in sorted(targets.items())
        }
        self.bus.on_end = self._on_end
        self.interrupts = Interrupts(self.registers, irq, self._pause_refused, self._chip_reset)
        self.cell = ScsiCell(self.registers, self.bus, self.interrupts, wide)
        self.data = DataPath(self.registers, memory, self.bus, self.cell)
        self.scb = ScbMemory(self.registers)
        self.straps = Straps(self.registers, wide)
        self.sequencer = Sequencer(self.registers, self.interrupts, BLOCK_ENDS, name, tracer)
        self.window = PortBank(name, self._read_mirrored, self._write_mirrored)
        self._ended: list[tuple[Nexus, bytes]] = []
        self._settling = False
        self._long_runs = 0
        self._goes_on_ns: int | None = None
        self._timer: Timer | None = None
        self._install()
        self.reset()

    def _install(self) -> None:
        writers = self.registers.writers
        for address in (*INERT, *READ_ONLY):
            writers[address] = _ignore
        for address, mask in MASKED.items():
            self.registers.keep(address, Keeping(mask))

    # --- resets --------------------------------------------------------------------------------

    def reset(self) -> None:
        """RST# of PCI: the chip, and with it the devices on its bus."""
        self.bus.reset()
        self._chip_reset()

    def _chip_reset(self) -> None:
        """CHIPRST: registers take their first values; scratch RAM, SCBs and SEQRAM keep theirs."""
        plain = self.registers.plain
        self.registers.epoch += 1
        self.scb.reset()
        for address in (*range(SCRATCH.start), *range(SCRATCH.stop, SCB_WINDOW.start)):
            plain[address] = 0
        plain[r.PCI_IDS : r.PCI_IDS + 2] = VENDOR_ID.to_bytes(2, "little")
        plain[r.PCI_IDS + 2 : r.PCI_IDS + 4] = DEVICE_ID.to_bytes(2, "little")
        self.straps.reset()
        self.data.reset()
        self.interrupts.reset()
        self.cell.reset()
        self.sequencer.reset()
        self._rest()

    def set_master(self, enabled: bool) -> None:
        """Follow the bus master enable of the PCI function's COMMAND register."""
        self.data.set_master(enabled)
        self.settle()

    def now_ns(self) -> int:
        """Return the machine's time."""
        return self._clock.now_ns()

    # --- host accesses -------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Guest read: bytes in order."""
        if size == 1 and self._only_shows(offset):
            return self.registers.plain[offset]
        value = 0
        for at in range(size):
            value |= self._read_byte(offset + at) << 8 * at
        self.settle()
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest write: bytes in order, then the sequencer goes on."""
        for at in range(size):
            self._write_byte(offset + at, value >> 8 * at & 0xFF)
        self.settle()

    def _only_shows(self, address: int) -> bool:
        """Tell whether nothing follows from reading a register, for nobody holds the sequencer."""
        registers = self.registers
        if address >= REGISTERS or registers.readers[address] is not None or address in SCB_WINDOW:
            return False
        return self.sequencer.watcher is None and not registers.plain[SXFRCTL1] & BITBUCKET

    def _read_byte(self, address: int) -> int:
        if address in SEQUENCER:
            return self.sequencer.ports.host_read(address)
        if address in SCB_WINDOW:
            return self.registers.plain[self.scb.host_address(address)]
        return self.registers.read(address) if address < REGISTERS else OPEN_BUS[1]

    def _write_byte(self, address: int, value: int) -> None:
        if address in SEQUENCER:
            self.sequencer.ports.host_write(address, value)
        elif address in SCB_WINDOW:
            self.registers.write(self.scb.host_address(address), value)
        elif address < REGISTERS:
            self.registers.write(address, value)

    def _read_mirrored(self, offset: int, size: int) -> int:
        return self.read(offset % REGISTERS, size)

    def _write_mirrored(self, offset: int, size: int, value: int) -> None:
        self.write(offset % REGISTERS, size, value)

    # --- running -------------------------------------------------------------------------------

    def _pause_refused(self) -> bool:
        return bool(self.sequencer.seqctl & r.PAUSEDIS)

    def settle(self) -> None:
        """Let everything happen that follows from the last access or event."""
        if self._settling:
            return
        self._settling = True
        if self.registers.plain[SXFRCTL1] & BITBUCKET:
            self.cell.discard()
            self.cell.update()
        if self.interrupts.paused():
            self._rest()
        elif self._goes_on_ns is None:
            executed = self.sequencer.run(RUN_LIMIT)
            self.instructions += executed
            if executed < RUN_LIMIT:
                self._rest()
            else:
                self._go_on_later()
        if self._ended and self._tracer is not None:
            self._report(self._tracer)
        self._settling = False

    def _rest(self) -> None:
        """The sequencer waits or is paused: the next run is a new one."""
        self._long_runs = 0
        if self._goes_on_ns is not None:
            self._wait_until(None)

    def _go_on_later(self) -> None:
        self._long_runs += 1
        doublings = min(max(self._long_runs - PATIENCE, 0), LONGEST_PAUSE)
        self._wait_until(self._clock.now_ns() + (GO_ON_NS << doublings))

    def _wait_until(self, deadline_ns: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._goes_on_ns, self._timer = deadline_ns, None
        if deadline_ns is not None:
            self._timer = self._clock.at(deadline_ns, self._go_on, f"{self.name} sequencer")

    def _go_on(self) -> None:
        self._goes_on_ns, self._timer = None, None
        self.settle()

    # --- traces --------------------------------------------------------------------------------

    def _on_command(self, nexus: Nexus) -> tuple[int, int]:
        if self._tracer is not None:
            target = nexus.peripheral.number
            self._tracer.emit(command_event(self.name, target, nexus.lun, bytes(nexus.cdb)))
        return self._clock.now_ns(), self.instructions

    def _on_end(self, nexus: Nexus) -> None:
        """Keep a command that has ended until the sequencer's part in it can be told."""
        if self._tracer is not None and nexus.stage == COMPLETE:
            failed = nexus.status == CHECK_CONDITION
            sense = nexus.peripheral.target.pending_sense(nexus.lun) if failed else b""
            self._ended.append((nexus, sense))

    def _report(self, tracer: Tracer) -> None:
        ended, self._ended = self._ended, []
        for nexus, sense in ended:
            began_ns, began = nexus.started
            tracer.emit(
                ScsiStatus(
                    adapter=self.name,
                    target=nexus.peripheral.number,
                    lun=nexus.lun,
                    status=nexus.status,
                    sense=sense,
                    data_bytes=nexus.moved,
                    instructions=self.instructions - began,
                    ns=self._clock.now_ns() - began_ns,
                )
            )

    # --- snapshots -----------------------------------------------------------------------------

    def save(self) -> Aic7870State:
        """Return the whole chip, its bus and the commands under way."""
        return Aic7870State(
            registers=bytes(self.registers.plain),
            sequencer=self.sequencer.save(),
            interrupts=self.interrupts.save(),
            cell=self.cell.save(),
            data=self.data.save(),
            scb=self.scb.save(),
            straps=self.straps.save(),
            bus=self.bus.save(),
            instructions=self.instructions,
            long_runs=self._long_runs,
            goes_on_ns=self._goes_on_ns,
        )

    def load(self, state: Aic7870State) -> None:
        """Become `state`, drive the interrupt, set the deadlines; nothing runs yet. Or raise StateError."""
        state = fitting(self.name, state)
        self.bus.check(state.bus)
        self.straps.seeprom.check(state.straps.seeprom)
        self.registers.plain[:] = state.registers
        self.registers.epoch += 1
        self.scb.load(state.scb)
        self.straps.load(state.straps)
        self.data.load(state.data)
        self.bus.load(state.bus)
        self.cell.load(state.cell)
        self.sequencer.load(state.sequencer)
        self.interrupts.load(state.interrupts)
        self.instructions, self._long_runs = state.instructions, state.long_runs
        self._wait_until(state.goes_on_ns)


def _ignore(value: int) -> None:
    """Nothing can be written there."""
