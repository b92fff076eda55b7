"""Intel 82371SB (PIIX3): the PCI-ISA bridge 00:01.0 and the IDE function 00:01.1.

Modelled: identification, PIRQ steering, IDE decode enables and the bus-master base. Its port CF9h is
`devices.system_control`'s. Kept but without effect: ISA timing, X-bus chip selects, memory
hole, motherboard DMA, SMI, IDE timing. Not modelled: the USB function.

Sources:
    [PIIX3] Intel 82371FB (PIIX) and 82371SB (PIIX3) data sheet (290550-002), §2.2, §2.3, §2.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from devices.pci.config import (
    BAR4,
    CACHE_LINE_SIZE,
    COMMAND,
    COMMAND_IO,
    COMMAND_MASTER,
    HEADER_MULTI_FUNCTION,
    LATENCY_TIMER,
    STATUS,
    Bar,
    ConfigSpace,
    FunctionIdentity,
    MoveBar,
    PciFunction,
    Register,
)
from devices.pci.interrupts import PIRQS, PciInterruptRouter

PIRQRCA: Final = 0x60  # PIRQ route control, four registers, [PIIX3] §2.2.13
IDETIM_PRIMARY: Final = 0x40  # IDE timing, [PIIX3] §2.3.9
IDETIM_SECONDARY: Final = 0x42
IDETIM_DECODE: Final = 0x8000  # the channel's ports are claimed
SIDETIM: Final = 0x44
BUS_MASTER_PORTS: Final = 16
CHANNELS: Final = 2

_ISA_IDENTITY: Final = FunctionIdentity(
    vendor_id=0x8086, device_id=0x7000, class_code=0x060100, header_type=HEADER_MULTI_FUNCTION
)
_ISA_REGISTERS: Final = (
    Register(COMMAND, 2, 0x0007, 0x0108),
    Register(STATUS, 2, 0x0200, 0, 0x7800),
    Register(CACHE_LINE_SIZE, 1, 0, 0),
    Register(LATENCY_TIMER, 1, 0, 0),
    Register(0x4C, 1, 0x4D, 0xFF),  # IORT
    Register(0x4E, 2, 0x0003, 0x01FF),  # XBCS
    Register(PIRQRCA, 4, 0x8080_8080, 0x8F8F_8F8F),
    Register(0x69, 1, 0x02, 0xFF),  # TOM
    Register(0x6A, 2, 0x0000, 0x8096),  # MSTAT
    Register(0x70, 1, 0x80, 0xEF),  # MBIRQ0
    Register(0x76, 2, 0x0C0C, 0x8F8F),  # MBDMA[0:1]
    Register(0x78, 2, 0x0002, 0xFFFF),  # PCSC
    Register(0x80, 1, 0x00, 0x7F),  # APICBASE
    Register(0x82, 1, 0x00, 0x0F),  # DLC
    Register(0xA0, 1, 0x08, 0x1F),  # SMICNTL
    Register(0xA2, 2, 0x0000, 0x00FF),  # SMIEN
    Register(0xA4, 4, 0x0000_0000, 0xA000_FFFF),  # SEE
    Register(0xA8, 1, 0x0F, 0xFF),  # FTMR
    Register(0xAA, 2, 0x0000, 0, 0x00FF),  # SMIREQ
    Register(0xAC, 1, 0x00, 0xFF),  # CTLTMR
    Register(0xAE, 1, 0x00, 0xFF),  # CTHTMR
)

# Interface 80h: both channels in legacy mode, bus master capable, [PIIX3] §2.3.5
_IDE_IDENTITY: Final = FunctionIdentity(vendor_id=0x8086, device_id=0x7010, class_code=0x010180)
_IDE_REGISTERS: Final = (
    Register(COMMAND, 2, 0x0000, COMMAND_IO | COMMAND_MASTER),
    Register(STATUS, 2, 0x0280, 0, 0x3800),
    Register(CACHE_LINE_SIZE, 1, 0, 0),
    Register(LATENCY_TIMER, 1, 0, 0xF0),
    Register(IDETIM_PRIMARY, 2, 0x0000, 0xF3FF),
    Register(IDETIM_SECONDARY, 2, 0x0000, 0xF3FF),
    Register(SIDETIM, 1, 0x00, 0xFF),
)


class Piix3Isa(PciFunction):
    """The ISA bridge: it tells `router` where PIRQA#..PIRQD# go."""

    def __init__(self, name: str, router: PciInterruptRouter) -> None:
        config = ConfigSpace(_ISA_IDENTITY, _ISA_REGISTERS)
        config.watch(PIRQRCA, PIRQS, self._routes_written)
        self._router = router
        super().__init__(name, config)

    def _routes_written(self) -> None:
        self._router.route(self.config.snapshot()[PIRQRCA : PIRQRCA + PIRQS])


class Piix3Ide(PciFunction):
    """The IDE function: who decodes what, and who may master the bus.

    `on_decode(channel, decoded)` hears when a channel's fixed ports (1F0h/3F6h, 170h/376h) begin
    and cease to be claimed; `on_master(enabled)` whether DMA may run; `on_move` where the sixteen
    bus-master ports are.
    """

    def __init__(
        self,
        name: str,
        on_decode: Callable[[int, bool], None],
        on_master: Callable[[bool], None],
        on_move: MoveBar,
    ) -> None:
        config = ConfigSpace(_IDE_IDENTITY, _IDE_REGISTERS, [Bar(BAR4, BUS_MASTER_PORTS, True, on_move)])
        config.watch(COMMAND, 2, self._enables_written)
        config.watch(IDETIM_PRIMARY, 4, self._enables_written)
        self._on_decode, self._on_master = on_decode, on_master
        self._decoded = [False] * CHANNELS
        self._master = False
        super().__init__(name, config)

    def _enables_written(self) -> None:
        command = self.config.read(COMMAND, 2)
        for channel in range(CHANNELS):
            timing = self.config.read(IDETIM_PRIMARY + 2 * channel, 2)
            decoded = bool(command & COMMAND_IO and timing & IDETIM_DECODE)
            if decoded != self._decoded[channel]:
                self._decoded[channel] = decoded
                self._on_decode(channel, decoded)
        master = bool(command & COMMAND_MASTER)
        if master != self._master:
            self._master = master
            self._on_master(master)
