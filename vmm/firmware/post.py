"""Power-on: the chips programmed, vectors and the BIOS data area filled, the screen on.

What a BIOS must leave behind for a boot sector; the ROM then does INT 19h. PCI is the host's
`set_up_board`; there is no memory test.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, sections 2 and 3; [8259A], [8254],
[8042] Intel data sheets.
"""

from __future__ import annotations

from typing import Final

from vmm.bus import PortBus
from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.e820 import EBDA, LOW_END
from vmm.firmware.host import FirmwareHost
from vmm.firmware.int1a import Int1A
from vmm.firmware.int10 import Int10
from vmm.firmware.interrupts import MASTER, MASTER_FIRST, SLAVE, SLAVE_FIRST
from vmm.firmware.keyboard import ENHANCED
from vmm.firmware.rom import DUMMY_ENTRY, ROM_SEGMENT

BANNER: Final = "Trapline BIOS"
VECTORS: Final = 0x78
KIB: Final = 1024

PIC_ICW1: Final = 0x11  # edge triggered, cascaded, ICW4 follows
PIC_ICW4: Final = 0x01  # 8086 mode
MASTER_MASK: Final = 0xB8  # timer, keyboard, cascade and floppy may interrupt
SLAVE_MASK: Final = 0x3E  # clock chip and both disk channels
PIT_CONTROL: Final = 0x43
PIT_CHANNEL_0: Final = 0x40
PIT_RATE_GENERATOR: Final = 0x34  # channel 0, both bytes, mode 2
KBD_DATA, KBD_STATUS = 0x60, 0x64
KBD_OUTPUT_FULL: Final = 0x01
KBD_WRITE_COMMAND: Final = 0x60
KBD_ENABLE: Final = 0xAE
KBD_COMMAND_BYTE: Final = 0x65  # interrupt on, system flag, auxiliary port off, translated
KBD_DRAIN: Final = 16  # bytes its buffers can hold at most
COM_CANDIDATES: Final = (0x3F8, 0x2F8, 0x3E8, 0x2E8)
COM_INTERRUPT_ID: Final = 2
COM_IIR_ZEROS: Final = 0x30  # bits a 16450 or 16550 reads as 0
EQUIPMENT_FPU: Final = 0x0002
EQUIPMENT_COLOUR_80: Final = 0x0020
EQUIPMENT_COM_SHIFT: Final = 9


class PowerOn:
    """The power-on sequence."""

    def __init__(self, host: FirmwareHost, screen: Int10, time: Int1A, entries: dict[int, int]) -> None:
        self._host = host
        self._screen = screen
        self._time = time
        self._entries = entries

    def run(self) -> None:
        """Bring the machine from reset to where a boot sector can start."""
        if self._host.set_up_board is not None:
            self._host.set_up_board()
        self._fill_vectors()
        self._fill_data_area()
        _program_pics(self._host.bus)
        _program_timer(self._host.bus)
        _enable_keyboard(self._host.bus)
        self._time.start()
        self._screen.set_text_mode()
        self._screen.put(f"{BANNER}, {self._host.ram_bytes // KIB} KiB of memory\r\n")

    def _fill_vectors(self) -> None:
        table = bytearray()
        for vector in range(VECTORS):
            entry = self._entries.get(vector, DUMMY_ENTRY)
            table += entry.to_bytes(2, "little") + ROM_SEGMENT.to_bytes(2, "little")
        for vector in range(0x60, 0x68):  # for users
            table[vector * 4 : vector * 4 + 4] = bytes(4)
        self._host.memory.write(0, table)

    def _fill_data_area(self) -> None:
        memory, data = self._host.memory, Bda(self._host.memory)
        memory.write(b.BASE, bytes(b.BYTES))
        memory.write(EBDA, bytes(LOW_END - EBDA))
        memory.write(EBDA, bytes(((LOW_END - EBDA) // KIB,)))
        data.set_word(b.EBDA_SEGMENT, EBDA >> 4)
        data.set_word(b.MEMORY_KIB, EBDA // KIB)
        ports = [port for port in COM_CANDIDATES if _uart_at(self._host.bus, port)]
        for index, port in enumerate(ports):
            data.set_word(b.COM_PORTS + 2 * index, port)
        data.set_word(b.EQUIPMENT, EQUIPMENT_FPU | EQUIPMENT_COLOUR_80 | len(ports) << EQUIPMENT_COM_SHIFT)
        data.set_word(b.KEY_BUFFER_START, b.KEY_BUFFER)
        data.set_word(b.KEY_BUFFER_END, b.KEY_BUFFER_END_OFFSET)
        data.set_word(b.KEY_HEAD, b.KEY_BUFFER)
        data.set_word(b.KEY_TAIL, b.KEY_BUFFER)
        data.set_byte(b.KEY_FLAGS_3, ENHANCED)
        data.set_byte(b.DISK_COUNT, len(self._host.numbers("hd")))


def _uart_at(bus: PortBus, port: int) -> bool:
    return not bus.read(port + COM_INTERRUPT_ID, 1) & COM_IIR_ZEROS


def _program_pics(bus: PortBus) -> None:
    for chip, first, cascade, mask in (
        (MASTER, MASTER_FIRST, 1 << 2, MASTER_MASK),
        (SLAVE, SLAVE_FIRST, 2, SLAVE_MASK),
    ):
        bus.write(chip, 1, PIC_ICW1)
        for word in (first, cascade, PIC_ICW4, mask):
            bus.write(chip + 1, 1, word)


def _program_timer(bus: PortBus) -> None:
    bus.write(PIT_CONTROL, 1, PIT_RATE_GENERATOR)
    bus.write(PIT_CHANNEL_0, 1, 0)  # 65536: 18.2 Hz
    bus.write(PIT_CHANNEL_0, 1, 0)


def _enable_keyboard(bus: PortBus) -> None:
    bus.write(KBD_STATUS, 1, KBD_WRITE_COMMAND)
    bus.write(KBD_DATA, 1, KBD_COMMAND_BYTE)
    bus.write(KBD_STATUS, 1, KBD_ENABLE)
    for _ in range(KBD_DRAIN):
        if not bus.read(KBD_STATUS, 1) & KBD_OUTPUT_FULL:
            return
        bus.read(KBD_DATA, 1)
