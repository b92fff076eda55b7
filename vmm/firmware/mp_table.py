"""The MP table: which processor, buses and I/O APIC there are, and which wire is on which pin.

The interrupts are wired as `vmm/board.py` says. There is no IMCR: from power-on the 8259s reach the
processor by LINT0, in the specification's virtual wire mode, which `virtual_wire` sets up.

Sources: [MPS] Intel MultiProcessor Specification 1.4, 242016-006, May 1997, chapters 3 and 4.
"""

from __future__ import annotations

import struct
from typing import Final

from devices.apic import io, messages
from devices.apic import registers as local
from devices.backplane import GuestMemory
from devices.pci.interrupts import PIRQS, pirq_of
from vmm.board import EXTINT_PIN, IO_APIC, IRQS, PIRQ_PINS, PIT_PIN
from vmm.firmware.tables import DEVICES, Table, with_checksum

LOCAL_APIC: Final = local.BASE_ADDRESS
IO_APIC_ID: Final = local.BSP_ID + 1  # IDs are of local and I/O APICs together, [MPS] §3.6.6

FLOATING_POINTER: Final = struct.Struct("<4sIBBB5s")  # [MPS] §4.1
HEADER: Final = struct.Struct("<4sHBB8s12sIHHIHBB")  # [MPS] §4.2
SPECIFICATION: Final = 4  # 1.4
CHECKSUM_AT: Final = 7
POINTER_CHECKSUM_AT: Final = 10

# Entries, [MPS] §4.3
PROCESSOR: Final = struct.Struct("<BBBBIIII")
BUS: Final = struct.Struct("<BB6s")
IO_UNIT: Final = struct.Struct("<BBBBI")
INTERRUPT: Final = struct.Struct("<BBHBBBB")
PROCESSOR_TYPE, BUS_TYPE, IO_UNIT_TYPE, IO_INTERRUPT_TYPE, LOCAL_INTERRUPT_TYPE = range(5)
ENABLED: Final = 1
BOOTS: Final = 2
INT, NMI, _SMI, EXTINT = range(4)
CONFORMS: Final = 0  # polarity and trigger mode are those of the bus
PCI_BUS, ISA_BUS = range(2)

CASCADE: Final = 2


def _interrupts() -> list[bytes]:
    def entry(kind: int, bus: int, irq: int, pin: int) -> bytes:
        return INTERRUPT.pack(IO_INTERRUPT_TYPE, kind, CONFORMS, bus, irq, IO_APIC_ID, pin)

    entries = [entry(EXTINT, ISA_BUS, 0, EXTINT_PIN)]
    entries += [entry(INT, ISA_BUS, irq, irq or PIT_PIN) for irq in range(IRQS) if irq != CASCADE]
    entries += [  # the source is the device's number and its pin from 0, [MPS] §D.3
        entry(INT, PCI_BUS, device << 2 | pin - 1, PIRQ_PINS[pirq_of(device, pin)])
        for device in DEVICES
        for pin in range(1, PIRQS + 1)
    ]
    entries += [
        INTERRUPT.pack(LOCAL_INTERRUPT_TYPE, kind, CONFORMS, ISA_BUS, 0, messages.EVERYBODY, lint)
        for lint, kind in enumerate((EXTINT, NMI))
    ]
    return entries


def mp_table(processor_id: tuple[int, int]) -> Table:
    """Return the floating pointer with the table behind it; `processor_id` is CPUID 1's EAX and EDX."""
    signature, features = processor_id
    version = local.VERSION_VALUE & 0xFF
    entries = [
        PROCESSOR.pack(
            PROCESSOR_TYPE, local.BSP_ID, version, ENABLED | BOOTS, signature & 0xFFF, features, 0, 0
        ),
        BUS.pack(BUS_TYPE, PCI_BUS, b"PCI   "),
        BUS.pack(BUS_TYPE, ISA_BUS, b"ISA   "),
        IO_UNIT.pack(IO_UNIT_TYPE, IO_APIC_ID, io.VERSION_VALUE & 0xFF, ENABLED, IO_APIC),
        *_interrupts(),
    ]
    body = b"".join(entries)
    header = HEADER.pack(
        b"PCMP", HEADER.size + len(body), SPECIFICATION, 0, b"TRAPLINE", b"PC          ",
        0, 0, len(entries), LOCAL_APIC, 0, 0, 0,
    )  # fmt: skip
    table = with_checksum(header + body, CHECKSUM_AT)

    def placed(address: int) -> bytes:
        size = FLOATING_POINTER.size
        pointer = FLOATING_POINTER.pack(b"_MP_", address + size, size // 16, SPECIFICATION, 0, bytes(5))
        return with_checksum(pointer, POINTER_CHECKSUM_AT) + table

    return placed


def virtual_wire(memory: GuestMemory) -> None:
    """Do what a BIOS does to APICs, through their registers: 8259 by LINT0, NMI by LINT1, [MPS] §3.6.2.2."""
    for address, value in (
        (LOCAL_APIC + local.SVR, local.SVR_ENABLE | local.SVR_RESET),
        (LOCAL_APIC + local.LVT_LINT0, messages.EXTINT << messages.MODE_SHIFT),
        (LOCAL_APIC + local.LVT_LINT1, messages.NMI << messages.MODE_SHIFT),
        (IO_APIC + io.IOREGSEL, io.IOAPICID),
        (IO_APIC + io.IOWIN, IO_APIC_ID << io.ID_SHIFT),
    ):
        memory.write(address, value.to_bytes(4, "little"))
