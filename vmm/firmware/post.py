"""Power-on: the chips programmed, vectors and the data areas filled, the screen on.

What a BIOS must leave behind for a boot sector; the ROM then does INT 19h. PCI is the host's
`set_up_board`; there is no memory test, and option ROMs are not looked for.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, sections 2 and 3; [8259A], [8254],
[8042] Intel data sheets.
"""

from __future__ import annotations

from typing import Final

from vmm.bus import PortBus
from vmm.firmware import bda as b
from vmm.firmware import ebda
from vmm.firmware.bda import Bda
from vmm.firmware.cmos import read_cmos
from vmm.firmware.diskettes import Diskettes
from vmm.firmware.drives import DriveTable
from vmm.firmware.e820 import EBDA, LOW_END
from vmm.firmware.host import FirmwareHost
from vmm.firmware.int1a import Int1A
from vmm.firmware.int10 import Int10
from vmm.firmware.interrupts import MASTER, MASTER_FIRST, SLAVE, SLAVE_FIRST
from vmm.firmware.keyboard import ENHANCED
from vmm.firmware.rom import DISKETTE_TABLE, DUMMY_ENTRY, ROM_SEGMENT, VIDEO_TABLE

BANNER: Final = "Trapline BIOS"
VECTORS: Final = 0x78
USER_VECTORS: Final = range(0x60, 0x68)
# Vectors that point to tables, [PTL] §2
VIDEO_VECTOR, DISKETTE_VECTOR, FONT_VECTOR = 0x1D, 0x1E, 0x1F
DISKETTE_SERVICE: Final = 0x40  # where INT 13h went when hard disks came
DISK_SERVICE: Final = 0x13
DISK_TABLE_VECTORS: Final = (0x41, 0x46)
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
COM_TIMEOUT_S: Final = 1
LPT_CANDIDATES: Final = (0x3BC, 0x378, 0x278)
LPT_PATTERNS: Final = (0xAA, 0x55)
LPT_CONTROL: Final = 2
LPT_IDLE: Final = 0x0C
LPT_TIMEOUT_S: Final = 20
EQUIPMENT_FPU: Final = 0x0002
EQUIPMENT_MOUSE: Final = 0x0004
EQUIPMENT_COLOUR_80: Final = 0x0020
EQUIPMENT_COM_SHIFT: Final = 9
EQUIPMENT_LPT_SHIFT: Final = 14
CMOS_EQUIPMENT: Final = 0x14


class PowerOn:
    """The power-on sequence."""

    def __init__(
        self,
        host: FirmwareHost,
        screen: Int10,
        time: Int1A,
        disks: tuple[DriveTable, Diskettes],
        entries: dict[int, int],
    ) -> None:
        self._host = host
        self._screen = screen
        self._time = time
        self._drives, self._diskettes = disks
        self._entries = entries

    def run(self) -> None:
        """Bring the machine from reset to where a boot sector can start."""
        if self._host.set_up_board is not None:
            self._host.set_up_board()
        self._fill_vectors()
        self._fill_data_area()
        self._drives.power_on()
        self._diskettes.power_on()
        _program_pics(self._host.bus)
        _program_timer(self._host.bus)
        _enable_keyboard(self._host.bus)
        self._time.start()
        self._screen.set_text_mode()
        self._screen.put(f"{BANNER}, {self._host.ram_bytes // KIB} KiB of memory\r\n")

    def _fill_vectors(self) -> None:
        table = [(ROM_SEGMENT, self._entries.get(vector, DUMMY_ENTRY)) for vector in range(VECTORS)]
        table[DISKETTE_SERVICE] = table[DISK_SERVICE]
        table[VIDEO_VECTOR] = (ROM_SEGMENT, VIDEO_TABLE)
        table[DISKETTE_VECTOR] = (ROM_SEGMENT, DISKETTE_TABLE)
        table[FONT_VECTOR] = (0, 0)
        for index, vector in enumerate(DISK_TABLE_VECTORS):
            table[vector] = (EBDA >> 4, ebda.DISK_TABLES + index * ebda.DISK_TABLE_BYTES)
        for vector in USER_VECTORS:
            table[vector] = (0, 0)
        words = (word for segment, offset in table for word in (offset, segment))
        self._host.memory.write(0, b"".join(word.to_bytes(2, "little") for word in words))

    def _fill_data_area(self) -> None:
        memory, data, bus = self._host.memory, Bda(self._host.memory), self._host.bus
        memory.write(b.BASE, bytes(b.BYTES))
        memory.write(b.BASE + b.PRINT_SCREEN, bytes(1))
        memory.write(EBDA, bytes(LOW_END - EBDA))
        memory.write(EBDA, bytes(((LOW_END - EBDA) // KIB,)))
        data.set_word(b.EBDA_SEGMENT, EBDA >> 4)
        data.set_word(b.MEMORY_KIB, EBDA // KIB)
        serial = [port for port in COM_CANDIDATES if _uart_at(bus, port)]
        parallel = [port for port in LPT_CANDIDATES if _printer_port_at(bus, port)]
        for first, timeouts, seconds, ports in (
            (b.COM_PORTS, b.COM_TIMEOUTS, COM_TIMEOUT_S, serial),
            (b.LPT_PORTS, b.LPT_TIMEOUTS, LPT_TIMEOUT_S, parallel),
        ):
            for index, port in enumerate(ports):
                data.set_word(first + 2 * index, port)
                data.set_byte(timeouts + index, seconds)
        equipment = EQUIPMENT_FPU | EQUIPMENT_COLOUR_80 | read_cmos(bus, CMOS_EQUIPMENT) & EQUIPMENT_MOUSE
        equipment |= len(serial) << EQUIPMENT_COM_SHIFT | len(parallel) << EQUIPMENT_LPT_SHIFT
        data.set_word(b.EQUIPMENT, equipment)
        data.set_word(b.KEY_BUFFER_START, b.KEY_BUFFER)
        data.set_word(b.KEY_BUFFER_END, b.KEY_BUFFER_END_OFFSET)
        data.set_word(b.KEY_HEAD, b.KEY_BUFFER)
        data.set_word(b.KEY_TAIL, b.KEY_BUFFER)
        data.set_byte(b.KEY_FLAGS_3, ENHANCED)


def _uart_at(bus: PortBus, port: int) -> bool:
    return not bus.read(port + COM_INTERRUPT_ID, 1) & COM_IIR_ZEROS


def _printer_port_at(bus: PortBus, port: int) -> bool:
    """Whether the data register holds what is written; the port is left idle then."""
    for pattern in LPT_PATTERNS:
        bus.write(port, 1, pattern)
        if bus.read(port, 1) & 0xFF != pattern:
            return False
    bus.write(port + LPT_CONTROL, 1, LPT_IDLE)
    return True


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
