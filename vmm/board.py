"""The mainboard: which chips a machine has, and at which ports, interrupts and addresses.

This is the only place that knows these numbers. It models an i440FX/PIIX3 PC:

    ports   20h A0h 4D0h PIC · 40h PIT · 60h 64h keyboard · 61h 92h CF9h system control · 70h RTC
            00h C0h 81h DMA · 80h POST · 1CEh 3B0h-3DFh VGA · 3F8h 2F8h serial · 378h parallel
            3F0h 3F7h floppy · 1F0h 3F6h 170h 376h IDE · CF8h PCI · E9h 402h debug output · F4h exit
    IRQ     0 PIT · 1 keyboard · 3 4 serial · 6 floppy · 7 parallel · 8 RTC · 12 mouse · 14 15 IDE
    DMA     2 floppy
    PCI     0 host bridge · 1 PIIX3 · 2 display · 3-6 SCSI adapters (vmm/scsi_board.py) · 31 boot ROM
    memory  A0000h VGA · C0000h-FFFFFh shadowed by PAM · E0000000h-FEBFFFFFh PCI · ROM below 4 GiB

With APICs there are the I/O APIC at FEC00000h and the local APIC at FEE00000h, wired as on the PIIX3 boards
that had them: the INTR of the 8259 to LINT0 and to pin 0 of the I/O APIC, NMI to LINT1; beside the 8259, the
interrupt of the PIT to pin 2 and any other to the pin of its number; PIRQ[A:D]# to pins 16-19 whatever their
steering, low when asserted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from devices.apic.io import REGISTER_BYTES as IO_APIC_BYTES
from devices.apic.io import IoApic
from devices.apic.local import LocalApic
from devices.apic.registers import BASE_ADDRESS as LOCAL_APIC
from devices.apic.registers import REGISTER_BYTES as LOCAL_APIC_BYTES
from devices.backplane import Clock, Device, IrqLine, PortDevice, PortRange, SharedIrqLine, Tracer
from devices.debug_ports import DebugConsole, ExitPort, PostPort
from devices.dma8237 import Dma8237Pair
from devices.floppy.drive import FloppyDrive
from devices.floppy.fdc82077 import Fdc82077
from devices.i8042 import I8042
from devices.ide.atapi import AtapiDrive
from devices.ide.busmaster import BusMasterIde
from devices.ide.channel import IdeChannel
from devices.ide.disk import AtaDisk
from devices.keyboard import Keyboard
from devices.mouse import Mouse
from devices.parallel import ParallelPort
from devices.pci.bus import ConfigMechanism1, PciBus
from devices.pci.display import PciDisplay
from devices.pci.host_i440fx import I440fx, pam_segments
from devices.pci.interrupts import PciInterruptRouter, pirq_of
from devices.pci.option_rom import BOOT_ROM, OptionRom, PciRomCard
from devices.pci.piix3 import BUS_MASTER_PORTS, Piix3Ide, Piix3Isa
from devices.pic8259 import Pic8259Pair
from devices.pit8254 import Pit8254
from devices.rtc146818 import Rtc146818
from devices.system_control import SystemControl
from devices.uart16550 import Uart16550
from devices.vga.adapter import Vga
from devices.vga.dispi import VRAM_BYTES
from vmm.bus import PortBus
from vmm.dma import BusMasterMemory
from vmm.memory import Memory
from vmm.pci_window import FIRST as PCI_WINDOW
from vmm.pci_window import LAST as PCI_WINDOW_LAST
from vmm.pci_window import PciWindow
from vmm.scsi_board import INTA, SCSI_SLOTS, AdapterFitting, Backplane, adapter_name, plug_in

COM_PORTS: Final = ((0x3F8, 4), (0x2F8, 3))
FLOPPY_IRQ: Final = 6
FLOPPY_DMA: Final = 2
PARALLEL_IRQ: Final = 7
IDE_CHANNELS: Final = ((0x1F0, 0x3F6, 14), (0x170, 0x376, 15))
VGA_MEMORY: Final = (0xA0000, 0x20000)
FRAME_BUFFER: Final = 0xFD00_0000  # where firmware puts it: there it is mapped into the guest
SLOT_HOST: Final = 0
SLOT_PIIX3: Final = 1
SLOT_DISPLAY: Final = 2
SLOT_BOOT_ROM: Final = 31  # out of the way of cards to come
FUNCTION_ISA: Final = 0
FUNCTION_IDE: Final = 1
IRQS: Final = 16
IO_APIC: Final = 0xFEC0_0000
EXTINT_PIN: Final = 0  # of the I/O APIC
PIT_PIN: Final = 2
PIRQ_PINS: Final = range(16, 20)


@dataclass
class Outside:
    """What the board reports to the machine around it."""

    set_interrupt: Callable[[bool], None]
    set_a20: Callable[[bool], None]
    request_reset: Callable[[str], None]
    on_exit: Callable[[int], None]
    on_serial: Callable[[int, int], None]  # port number, byte
    on_debug: Callable[[int], None]
    tracer: Tracer | None = None
    raise_nmi: Callable[[], None] = lambda: None


@dataclass
class Fittings:
    """What varies from machine to machine."""

    rtc_base_s: int
    cmos: Mapping[int, int]
    drives: Mapping[int, AtaDisk | AtapiDrive] = field(default_factory=dict)  # by place 0-3
    floppies: Sequence[FloppyDrive] = ()
    vga_rom: bytes | None = None
    printer: Callable[[int], None] | None = None  # what the parallel port prints on
    boot_rom: bytes | None = None  # of a card that boots the machine
    apic: bool = False
    adapters: Sequence[AdapterFitting] = ()


class Board:
    """All chips of one machine, plugged in. `devices` lists them for reset, save and load."""

    def __init__(
        self, memory: Memory, bus: PortBus, clock: Clock, outside: Outside, fittings: Fittings
    ) -> None:
        self.memory, self.bus, self.clock, self.outside = memory, bus, clock, outside
        self.intr = IrqLine(outside.set_interrupt)
        self.apics: tuple[LocalApic, IoApic] | None = None
        self._pirqs: list[IrqLine] = []
        self._irqs = self._with_apics() if fittings.apic else self._with_pic()
        self._add_timers(fittings)
        self._add_keyboard()
        self.serial = [
            Uart16550(clock, self._irq(irq), partial(outside.on_serial, number), f"com{number + 1}")
            for number, (_, irq) in enumerate(COM_PORTS)
        ]
        self.parallel = ParallelPort(clock, self._irq(PARALLEL_IRQ), fittings.printer)
        self._add_display()
        self._add_floppies(fittings)
        self._add_ide(fittings)
        self._add_pci(fittings)
        self._add_adapters(fittings)
        self.post = PostPort()
        self.exit_port = ExitPort(outside.on_exit)
        self.consoles = [DebugConsole(outside.on_debug, name) for name in ("debug E9h", "debug 402h")]
        self._attach()
        self.devices: list[Device[Any]] = [
            self.pic, self.pit, self.rtc, self.keyboard, self.mouse, self.i8042, self.control, *self.serial,
            self.parallel, self.vga, self.dma, self.fdc, *self.ide, self.bus_master, self.host, self.isa,
            self.ide_function, self.display, self.config, self.post, self.exit_port, *self.consoles,
            *self.cards,
        ]  # fmt: skip
        self.devices += self.apics or ()

    def _with_pic(self) -> list[SharedIrqLine]:
        self.pic = Pic8259Pair(self.intr)
        self.acknowledge, self.nmi = self.pic.acknowledge, self.outside.raise_nmi
        return [self.pic.shared_input(irq) for irq in range(IRQS)]

    def _with_apics(self) -> list[SharedIrqLine]:
        outside = self.outside
        reset = partial(outside.request_reset, "INIT to the processor")
        local = LocalApic(self.clock, self.intr, lambda: self.pic.acknowledge(), outside.raise_nmi, reset)
        io = IoApic(local)
        local.on_eoi = io.end_of_interrupt
        self.apics = (local, io)
        self.memory.add_window(LOCAL_APIC, LOCAL_APIC_BYTES, local)
        self.memory.add_window(IO_APIC, IO_APIC_BYTES, io)

        def on_pic(level: bool) -> None:
            local.lint0.set_level(level)
            io.set_pin(EXTINT_PIN, level)

        def on_irq(irq: int, level: bool) -> None:
            self.pic.set_irq(irq, level)
            io.set_pin(irq or PIT_PIN, level)

        def on_pirq(pin: int, asserted: bool) -> None:
            io.set_pin(pin, not asserted)

        def pulse_nmi() -> None:
            local.lint1.set_level(True)
            local.lint1.set_level(False)

        self.pic = Pic8259Pair(IrqLine(on_pic))
        self.acknowledge, self.nmi = local.acknowledge, pulse_nmi
        self._pirqs = [IrqLine(partial(on_pirq, pin)) for pin in PIRQ_PINS]
        for pin in PIRQ_PINS:
            on_pirq(pin, False)
        return [SharedIrqLine(partial(on_irq, irq)) for irq in range(IRQS)]

    def _irq(self, irq: int) -> IrqLine:
        return self._irqs[irq].connect()

    def _add_timers(self, fittings: Fittings) -> None:
        self.pit = Pit8254(self.clock, self._irq(0))
        self.rtc = Rtc146818(self.clock, self._irq(8), fittings.rtc_base_s, fittings.cmos)
        self.control = SystemControl(
            self.clock,
            gate2=partial(self.pit.set_gate, 2),
            out2=partial(self.pit.output, 2),
            set_a20=self.outside.set_a20,
            request_reset=self.outside.request_reset,
        )

    def _add_keyboard(self) -> None:
        self.keyboard = Keyboard(self.clock)
        self.mouse = Mouse(self.clock)
        self.i8042 = I8042(
            self.clock,
            self.keyboard,
            self._irq(1),
            self._irq(12),
            self.control.set_a20,
            self.outside.request_reset,
            self.mouse,
        )

    def _add_display(self) -> None:
        self.pci_window = PciWindow()
        self.frame_buffer = self.memory.add_aperture(
            FRAME_BUFFER, VRAM_BYTES, self.pci_window.piece(FRAME_BUFFER)
        )
        self.vga = Vga(self.clock, frame_buffer=memoryview(self.frame_buffer.buffer))

    def _add_floppies(self, fittings: Fittings) -> None:
        self.dma = Dma8237Pair(BusMasterMemory(self.memory))
        channel = self.dma.channel(FLOPPY_DMA)
        self.fdc = Fdc82077(self.clock, self._irq(FLOPPY_IRQ), channel, fittings.floppies)

    def _add_ide(self, fittings: Fittings) -> None:
        self.ide = [
            IdeChannel(f"ide{number}", self._irq(irq), self.outside.tracer)
            for number, (_, _, irq) in enumerate(IDE_CHANNELS)
        ]
        for place, drive in fittings.drives.items():
            self.ide[place >> 1].attach(place & 1, drive)
        self.bus_master = BusMasterIde("ide bus master", BusMasterMemory(self.memory), self.ide)

    def _add_pci(self, fittings: Fittings) -> None:
        self.pci = PciBus()
        self.pci_router = PciInterruptRouter([self._irq(irq) for irq in range(IRQS)], self._pirqs)
        self.host = I440fx("i440fx", self._on_pam)
        self.isa = Piix3Isa("piix3", self.pci_router)
        self.ide_function = Piix3Ide(
            "piix3 ide", self._on_ide_decode, self.bus_master.set_master,
            partial(self._move_ports, self.bus_master.bank, BUS_MASTER_PORTS),
        )  # fmt: skip
        rom = None if fittings.vga_rom is None else OptionRom("vga bios", fittings.vga_rom)
        self.display = PciDisplay(
            "display", VRAM_BYTES, self._on_frame_buffer_move, rom, self.pci_window.move
        )
        self.pci.attach(SLOT_HOST, 0, self.host)
        self.pci.attach(SLOT_PIIX3, FUNCTION_ISA, self.isa)
        self.pci.attach(SLOT_PIIX3, FUNCTION_IDE, self.ide_function)
        self.pci.attach(SLOT_DISPLAY, 0, self.display)
        self.cards: list[Device[Any]] = []
        if fittings.boot_rom is not None:
            card = OptionRom("boot rom", fittings.boot_rom)
            boot_rom = PciRomCard("boot rom card", BOOT_ROM, card, self.pci_window.move)
            self.pci.attach(SLOT_BOOT_ROM, 0, boot_rom)
            self.cards.append(boot_rom)
        self.config = ConfigMechanism1("pci", self.pci, self.control.reset_port)

    def _add_adapters(self, fittings: Fittings) -> None:
        into = Backplane(
            self.pci, self.pci_router, BusMasterMemory(self.memory), self.clock, self._move_ports,
            self.pci_window.move, self.outside.tracer,
        )  # fmt: skip
        self.adapters = tuple(fittings.adapters)
        for number, fitting in enumerate(self.adapters):
            self.cards += plug_in(number, fitting, into)

    def _attach(self) -> None:
        plug = self.bus.attach
        pic, control, i8042, vga = self.pic, self.control, self.i8042, self.vga
        for first, length, bank in (
            (0x20, 2, pic.master_ports), (0xA0, 2, pic.slave_ports), (0x4D0, 2, pic.elcr_ports),
            (0x40, 4, self.pit.ports), (0x60, 1, i8042.data_port), (0x64, 1, i8042.command_port),
            (0x61, 1, control.port61), (0x92, 1, control.port92), (0x70, 2, self.rtc.ports),
            (0x00, 16, self.dma.byte_ports), (0xC0, 32, self.dma.word_ports),
            (0x80, 1, self.post.ports), (0x81, 15, self.dma.page_ports), (0x378, 3, self.parallel.ports),
            (0x3F0, 6, self.fdc.ports), (0x3F7, 1, self.fdc.dir_port),
            (0x1CE, 2, vga.dispi.bank), (0x3B0, 12, vga.mono),
            (0x3C0, 16, vga.common), (0x3D0, 16, vga.colour),
            (0xE9, 1, self.consoles[0].ports), (0x402, 1, self.consoles[1].ports),
        ):  # fmt: skip
            plug(bank, PortRange(first, length))
        plug(self.exit_port, PortRange(0xF4, 4))
        plug(self.config, PortRange(0xCF8, 8))
        for uart, (first, _) in zip(self.serial, COM_PORTS, strict=True):
            plug(uart.ports, PortRange(first, 8))
        self.memory.add_window(*VGA_MEMORY, vga)
        for first, end in ((PCI_WINDOW, FRAME_BUFFER), (FRAME_BUFFER + VRAM_BYTES, PCI_WINDOW_LAST + 1)):
            self.memory.add_window(first, end - first, self.pci_window.piece(first))

    # -- what PCI registers move about

    def _on_ide_decode(self, channel: int, decoded: bool) -> None:
        command, control, _ = IDE_CHANNELS[channel]
        for bank, ports in (
            (self.ide[channel].command_bank, PortRange(command, 8)),
            (self.ide[channel].control_bank, PortRange(control, 1)),
        ):
            self._claim(bank, ports, decoded)

    def _move_ports(self, bank: PortDevice, length: int, old: int | None, new: int | None) -> None:
        if old is not None:
            self._claim(bank, PortRange(old, length), False)
        if new is not None:
            self._claim(bank, PortRange(new, length), True)

    def _on_frame_buffer_move(self, old: int | None, new: int | None) -> None:
        """At its usual place the frame buffer is memory of the guest; elsewhere each access is a call."""
        self.pci_window.move(self.vga.dispi, VRAM_BYTES, old, new)
        self.frame_buffer.show(new == FRAME_BUFFER)

    def _claim(self, bank: PortDevice, ports: PortRange, wanted: bool) -> None:
        """Attach or detach; ports that a guest puts over another device's stay with their owner."""
        owners = {self.bus.owner(port) for port in range(ports.first, ports.first + ports.length)}
        if wanted and owners == {None}:
            self.bus.attach(bank, ports)
        elif not wanted and owners == {bank.name}:
            self.bus.detach(ports)

    def _on_pam(self, registers: bytes) -> None:
        """Write-protect or open the shadow segments. Reads always come from the shadow."""
        for segment in pam_segments(registers):
            self.memory.protect_shadow(segment.address, segment.length, writable=segment.write_ram)

    def reset(self) -> None:
        """Pulse the reset line of every chip."""
        for device in self.devices:
            device.reset()

    def irq_numbers(self) -> dict[str, tuple[int, ...]]:
        """Return the interrupts of the devices that have some, by name."""
        wired = {self.pit.name: (0,), self.rtc.name: (8,), self.i8042.name: (1, 12)}
        wired |= {uart.name: (irq,) for uart, (_, irq) in zip(self.serial, COM_PORTS, strict=True)}
        wired |= {channel.name: (irq,) for channel, (_, _, irq) in zip(self.ide, IDE_CHANNELS, strict=True)}
        wired |= {self.parallel.name: (PARALLEL_IRQ,), self.fdc.name: (FLOPPY_IRQ,)}
        return wired | {name: self.pci_router.interrupts(slot, INTA) for name, slot in self._adapter_slots()}

    def _adapter_slots(self) -> list[tuple[str, int]]:
        return [(adapter_name(number), SCSI_SLOTS[number]) for number in range(len(self.adapters))]

    def pin_numbers(self) -> dict[str, tuple[int, ...]]:
        """Return the pins of the I/O APIC that devices drive, by name; none without APICs."""
        if self.apics is None:
            return {}
        pins = {name: tuple(irq or PIT_PIN for irq in irqs) for name, irqs in self.irq_numbers().items()}
        pins |= {name: (PIRQ_PINS[pirq_of(slot, INTA)],) for name, slot in self._adapter_slots()}
        return pins | {self.pic.name: (EXTINT_PIN,), self.isa.name: tuple(PIRQ_PINS)}
