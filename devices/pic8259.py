"""Two Intel 8259A interrupt controllers, cascaded as in every PC, with the ELCR of the PIIX3.

Not modelled: MCS-80/85 mode (every acknowledge yields an 8086 vector), buffered mode, cascades other
than the slave on IR2 (ICW3 is taken and ignored, as is LTIM of ICW1: the ELCR decides), the three
clock ticks of an INTA cycle.

A request lives in IRR from the rising edge of its input until it is acknowledged or the input
falls: a request withdrawn before the acknowledge is the spurious IR7 of [8259A] "Interrupt triggering".

Sources:
  [8259A] Intel 8259A Programmable Interrupt Controller, 231468-003, December 1988.
  [PIIX]  Intel 82371FB/82371SB PIIX/PIIX3 data sheet, 290550-002, April 1997.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from devices.backplane import DeviceState, IrqLine, SharedIrqLine
from devices.isa import byte_bank

# ICW1 and ICW4, [8259A] figures 7 and 8
ICW1: Final = 0x10
ICW1_IC4: Final = 0x01
ICW1_SNGL: Final = 0x02
ICW4_AEOI: Final = 0x02
ICW4_SFNM: Final = 0x10
ICW2_BASE: Final = 0xF8

# OCW3, [8259A] figure 9
OCW3: Final = 0x08
OCW3_ESMM: Final = 0x40
OCW3_SMM: Final = 0x20
OCW3_POLL: Final = 0x04
OCW3_RR: Final = 0x02
OCW3_RIS: Final = 0x01
POLL_REQUEST: Final = 0x80

# What the next write to the odd address is, [8259A] figure 6
EXPECT_OCW1: Final = 0
EXPECT_ICW2: Final = 1
EXPECT_ICW3: Final = 2
EXPECT_ICW4: Final = 3

CASCADE_IR: Final = 2  # the slave's INT is wired to the master's IR2
CASCADE: Final = 1 << CASCADE_IR
SPURIOUS_IR: Final = 7
ELCR_MASTER: Final = 0xF8  # IRQ0-2 are always edge sensitive, [PIIX] "ELCR1"
ELCR_SLAVE: Final = 0xDE  # as are IRQ8 and IRQ13, [PIIX] "ELCR2"

NOTHING: Final = 8
LOWEST_BIT: Final = bytes(NOTHING if i == 0 else (i & -i).bit_length() - 1 for i in range(256))


class Pic8259State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The registers of one chip."""

    pins: int
    irr: int
    isr: int
    imr: int
    elcr: int
    vector_base: int
    top: int
    expect: int
    icw4_follows: bool
    single: bool
    aeoi: bool
    rotate_aeoi: bool
    nested: bool
    special_mask: bool
    poll: bool
    read_isr: bool


class PicPairState(DeviceState, frozen=True, kw_only=True):
    """Both chips."""

    master: Pic8259State
    slave: Pic8259State


class Pic8259:
    """One chip: requests in, the number of the one to serve out. It drives no wire itself.

    `top` is the IR of highest priority; the others follow in a ring, [8259A] "Automatic rotation".
    """

    def __init__(self, elcr_mask: int) -> None:
        self._elcr_mask = elcr_mask
        self.pins = 0
        self._ocw2 = (
            self._rotate_in_aeoi_off, self._eoi, self._nothing, self._specific_eoi,
            self._rotate_in_aeoi_on, self._rotate_eoi, self._set_priority, self._rotate_specific_eoi,
        )  # fmt: skip
        self._odd_writes = (self._write_ocw1, self._write_icw2, self._write_icw3, self._write_icw4)
        self.reset()

    def reset(self) -> None:
        """Power-on. The data sheet leaves it open; here everything is masked. `pins` are outside."""
        self.irr = self.isr = self.elcr = 0
        self.imr = 0xFF
        self.vector_base = self.top = 0
        self.expect = EXPECT_OCW1
        self.icw4_follows = self.single = False
        self.aeoi = self.rotate_aeoi = self.nested = False
        self.special_mask = self.poll = self.read_isr = False

    def save(self) -> Pic8259State:
        """Return the registers."""
        return Pic8259State(**{field: getattr(self, field) for field in Pic8259State.__struct_fields__})

    def load(self, state: Pic8259State) -> None:
        """Become `state`."""
        for field in Pic8259State.__struct_fields__:
            setattr(self, field, getattr(state, field))

    def drive(self, bit: int, level: bool) -> None:
        """Move one input pin. A rising edge asks; a fall withdraws what nobody acknowledged."""
        if not level:
            self.pins &= ~bit
            self.irr &= ~bit
        elif not self.pins & bit:
            self.pins |= bit
            self.irr |= bit

    def pending(self) -> int:
        """Return the IR to be served next, or NOTHING: the one rule behind the INT output."""
        requests = self.irr & ~self.imr
        if not requests:
            return NOTHING
        served = self.isr
        if self.special_mask:  # levels masked while in service block nobody, [8259A] "Special mask mode"
            served &= ~self.imr
        if self.nested:  # the slave may interrupt itself, [8259A] "Special fully nested mode"
            served &= ~CASCADE
        top = self.top
        if top:
            asking = LOWEST_BIT[(requests << 8 | requests) >> top & 0xFF]
            blocking = LOWEST_BIT[(served << 8 | served) >> top & 0xFF]
            return (asking + top) & 7 if asking < blocking else NOTHING
        asking = LOWEST_BIT[requests]
        return asking if asking < LOWEST_BIT[served] else NOTHING

    def acknowledge(self, ir: int) -> None:
        """Take IR `ir` into service; a level-sensitive request stands as long as its pin."""
        bit = 1 << ir
        if not self.elcr & bit:
            self.irr &= ~bit
        if not self.aeoi:
            self.isr |= bit
        elif self.rotate_aeoi:
            self.top = (ir + 1) & 7

    def read_even(self) -> int:
        """Read IRR or ISR, whichever OCW3 chose; after a poll command, the poll word."""
        if self.poll:
            return self._poll_word()
        return self.isr if self.read_isr else self.irr

    def read_odd(self) -> int:
        """Read IMR; after a poll command, the poll word."""
        return self._poll_word() if self.poll else self.imr

    def write_even(self, value: int) -> None:
        """Take ICW1, OCW2 or OCW3."""
        if value & ICW1:
            self._write_icw1(value)
        elif value & OCW3:
            self._write_ocw3(value)
        else:
            self._ocw2[value >> 5](value & 7)

    def write_odd(self, value: int) -> None:
        """Take OCW1, or the next of ICW2 to ICW4 while the chip is being initialized."""
        self._odd_writes[self.expect](value)

    def read_elcr(self) -> int:
        """Read which inputs are level sensitive."""
        return self.elcr

    def write_elcr(self, value: int) -> None:
        """Choose which inputs are level sensitive; one that is already high asks at once."""
        self.elcr = value & self._elcr_mask
        self.irr |= self.pins & self.elcr

    def _poll_word(self) -> int:
        self.poll = False
        ir = self.pending()
        if ir == NOTHING:
            return 0
        self.acknowledge(ir)
        return POLL_REQUEST | ir

    def _write_icw1(self, value: int) -> None:
        """Start initialization, [8259A] "Initialization command words 1 and 2": edges are forgotten."""
        self.irr = self.pins & self.elcr
        self.isr = self.imr = self.top = 0
        self.special_mask = self.poll = self.read_isr = False
        self.aeoi = self.rotate_aeoi = self.nested = False
        self.icw4_follows = bool(value & ICW1_IC4)
        self.single = bool(value & ICW1_SNGL)
        self.expect = EXPECT_ICW2

    def _write_icw2(self, value: int) -> None:
        self.vector_base = value & ICW2_BASE
        self.expect = EXPECT_ICW3
        if self.single:
            self._write_icw3(0)

    def _write_icw3(self, value: int) -> None:
        self.expect = EXPECT_ICW4 if self.icw4_follows else EXPECT_OCW1

    def _write_icw4(self, value: int) -> None:
        self.aeoi = bool(value & ICW4_AEOI)
        self.nested = bool(value & ICW4_SFNM)
        self.expect = EXPECT_OCW1

    def _write_ocw1(self, value: int) -> None:
        self.imr = value

    def _write_ocw3(self, value: int) -> None:
        if value & OCW3_ESMM:
            self.special_mask = bool(value & OCW3_SMM)
        if value & OCW3_RR:
            self.read_isr = bool(value & OCW3_RIS)
        self.poll = bool(value & OCW3_POLL)

    def _highest_in_service(self) -> int:
        """Return the IR a non-specific EOI ends; in special mask mode never a masked one."""
        served = self.isr & ~self.imr if self.special_mask else self.isr
        first = LOWEST_BIT[(served << 8 | served) >> self.top & 0xFF]
        return NOTHING if first == NOTHING else (first + self.top) & 7

    # OCW2 by its R, SL and EOI bits, [8259A] figure 9. `level` is L2-L0.

    def _rotate_in_aeoi_off(self, level: int) -> None:
        self.rotate_aeoi = False

    def _rotate_in_aeoi_on(self, level: int) -> None:
        self.rotate_aeoi = True

    def _nothing(self, level: int) -> None:
        return None

    def _eoi(self, level: int) -> None:
        self.isr &= ~(1 << self._highest_in_service())

    def _specific_eoi(self, level: int) -> None:
        self.isr &= ~(1 << level)

    def _rotate_eoi(self, level: int) -> None:
        ir = self._highest_in_service()
        if ir != NOTHING:
            self._rotate_specific_eoi(ir)

    def _rotate_specific_eoi(self, level: int) -> None:
        self.isr &= ~(1 << level)
        self._set_priority(level)

    def _set_priority(self, level: int) -> None:
        self.top = (level + 1) & 7


class Pic8259Pair:
    """Sixteen inputs, IRQ 0-15, and one INTR output.

    Banks: `master_ports` and `slave_ports` (command, data), `elcr_ports` (master, slave).
    """

    def __init__(self, output: IrqLine, name: str = "pic") -> None:
        self.name = name
        self.output = output
        self.master = Pic8259(ELCR_MASTER)
        self.slave = Pic8259(ELCR_SLAVE)
        master, slave = self.master, self.slave
        self.master_ports = byte_bank(
            f"{name} master",
            (partial(self._read, master.read_even), partial(self._read, master.read_odd)),
            (partial(self._write, master.write_even), partial(self._write, master.write_odd)),
        )
        self.slave_ports = byte_bank(
            f"{name} slave",
            (partial(self._read, slave.read_even), partial(self._read, slave.read_odd)),
            (partial(self._write, slave.write_even), partial(self._write, slave.write_odd)),
        )
        self.elcr_ports = byte_bank(
            f"{name} elcr",
            (master.read_elcr, slave.read_elcr),
            (partial(self._write, master.write_elcr), partial(self._write, slave.write_elcr)),
        )

    def reset(self) -> None:
        """Reset both chips; the inputs are driven from outside and keep their level."""
        self.master.reset()
        self.slave.reset()
        self._update()

    def save(self) -> PicPairState:
        """Return the state of both chips."""
        return PicPairState(master=self.master.save(), slave=self.slave.save())

    def load(self, state: DeviceState) -> None:
        """Become `state` and drive INTR to match."""
        pair = msgspec.convert(state, PicPairState)
        self.master.load(pair.master)
        self.slave.load(pair.slave)
        self._update()

    def set_irq(self, irq: int, level: bool) -> None:
        """Drive input `irq`, 0 to 15; IRQ2 is the cascade and belongs to the slave."""
        chip = self.slave if irq & 8 else self.master
        chip.drive(1 << (irq & 7), level)
        self._update()

    def input(self, irq: int) -> IrqLine:
        """Return a wire that drives input `irq` alone."""
        return IrqLine(partial(self.set_irq, irq))

    def shared_input(self, irq: int) -> SharedIrqLine:
        """Return a wired-OR onto input `irq`, for several level-triggered sources."""
        return SharedIrqLine(partial(self.set_irq, irq))

    def acknowledge(self) -> int:
        """Run an INTA cycle: take the most urgent request into service and return its vector.

        With no request standing any more, the vector is that of IR7 and nothing is in service;
        if only the slave's request is gone, it is the slave's IR7 with the master's IR2 in service.
        """
        master = self.master
        ir = master.pending()
        if ir == NOTHING:
            return master.vector_base + SPURIOUS_IR
        master.acknowledge(ir)
        if ir != CASCADE_IR:
            self._update()
            return master.vector_base + ir
        slave = self.slave
        ir = slave.pending()
        if ir == NOTHING:
            ir = SPURIOUS_IR
        else:
            slave.acknowledge(ir)
        master.drive(CASCADE, False)  # INT falls in every INTA cycle, so another request is an edge
        self._update()
        return slave.vector_base + ir

    def _read(self, register: Callable[[], int]) -> int:
        value = register()
        self._update()  # the read may have been a poll
        return value

    def _write(self, register: Callable[[int], None], value: int) -> None:
        register(value)
        self._update()

    def _update(self) -> None:
        """Carry the slave's INT to the master and the master's to the processor."""
        self.master.drive(CASCADE, self.slave.pending() != NOTHING)
        self.output.set_level(self.master.pending() != NOTHING)
