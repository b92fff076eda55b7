"""A small driver that does with the chip what Linux's does, and runs the firmware Linux downloads.

Initialization, the hardware SCB, the queues in host memory, the single stepping out of critical
sections and the restart after a bus reset follow aic7xxx_core.c; nothing is scheduled or retried.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from devices.aic7870 import registers as r
from devices.aic7870.chip import Aic7870
from devices.backplane import Tracer
from devices.scsi.disk import ScsiDisk
from devices.scsi.target import ScsiTarget
from disks.image import BlockImage
from tests.devices.aic7870.firmware import Firmware
from tests.devices.aic7870.rig import Events, Memory
from tests.devices.ide_rig import MemoryImage
from tests.devices.timed_rig import TimedRig

HSCB, HSCB_BYTES = 0x1_0000, 64
SHARED, QUEUE_BYTES = 0x8000, 256
SG, SG_BYTES = 0x2_0000, 2048
BUFFER = 0x10_0000

# Scratch RAM, as the firmware lays it out
BUSY_TARGETS, NEXT_QUEUED_SCB, MSG_OUT, SEQ_FLAGS = 0x20, 0x39, 0x3A, 0x3C
SAVED_SCSIID, SAVED_LUN, LASTPHASE = 0x3D, 0x3E, 0x3F
WAITING_SCBH, DISCONNECTED_SCBH, FREE_SCBH = 0x40, 0x41, 0x42
HSCB_ADDR, SHARED_DATA_ADDR = 0x44, 0x48
KERNEL_QINPOS, QINPOS, QOUTPOS = 0x4C, 0x4D, 0x4E
RETURN_1, SCSISEQ_TEMPLATE, SEQ_FLAGS2 = 0x51, 0x54, 0x57
NOTHING = 0xFF

SCBS = 16
DISCENB, TAG_ENB, MK_MESSAGE = 0x40, 0x20, 0x10
SG_LAST = 0x8000_0000
SG_FULL_RESIDUAL, SG_RESIDUAL_VALID, SG_NONE = 2, 4, 1

# SEQINT codes
BAD_STATUS = 0x71
HOST_MSG_LOOP = 0x61


class Scb(NamedTuple):
    """How a command of the driver's is to be sent."""

    cdb: bytes
    segments: list[tuple[int, int]] = []
    target: int = 0
    lun: int = 0
    control: int = DISCENB


class MiniDriver(TimedRig):
    """A chip with two disks, and the driver."""

    def __init__(
        self,
        firmware: Firmware,
        wide: bool = False,
        image_sectors: int = 4096,
        tracer: Tracer | None = None,
        image: BlockImage | None = None,
    ) -> None:
        super().__init__()
        self.firmware = firmware
        self.memory = Memory()
        self.images = {0: MemoryImage(image_sectors), 2: MemoryImage(image_sectors)}
        images: dict[int, BlockImage] = {**self.images, **({0: image} if image is not None else {})}
        self.disks = {number: ScsiDisk(f"disk{number}", image) for number, image in images.items()}
        self.targets = {number: ScsiTarget({0: disk}) for number, disk in self.disks.items()}
        self.events = Events()
        self.chip = Aic7870(
            "scsi0", self.memory, self.clock, self.line, self.targets, tracer or self.events, wide=wide
        )
        self.chip.set_master(True)
        self.queued = self.taken = 0
        self.next_tag = 0
        self.free = list(range(1, 64))
        self.done: list[int] = []
        self.steps = 0

    # --- registers -----------------------------------------------------------------------------

    def read(self, address: int, size: int = 1) -> int:
        return self.chip.read(address, size)

    def write(self, address: int, value: int, size: int = 1) -> None:
        self.chip.write(address, size, value)

    def start(self) -> None:
        """Reset the chip, download the firmware, reset the bus, let the sequencer go."""
        self.write(r.HCNTRL, r.PAUSE)
        self.write(r.HCNTRL, r.PAUSE | r.CHIPRST)
        assert self.read(r.HCNTRL) & r.CHIPRST
        self.write(r.HCNTRL, r.PAUSE)
        self._set_up()
        self._download()
        self.restart()
        self.reset_bus()
        self.write(r.HCNTRL, r.INTEN)

    def _set_up(self) -> None:
        self.write(r.SCSIID, 7)
        self.write(r.SXFRCTL1, 0x26)
        self.write(r.SIMODE1, r.SELTO | r.SCSIRSTI | 0x04)
        self.write(r.SXFRCTL0, 0x88)
        for target in range(16):
            self.write(BUSY_TARGETS + target, NOTHING)
        self.write(HSCB_ADDR, HSCB, 4)
        self.write(SHARED_DATA_ADDR, SHARED, 4)
        self.memory.data[SHARED : SHARED + 2 * QUEUE_BYTES] = bytes([NOTHING]) * 2 * QUEUE_BYTES
        for address in (SEQ_FLAGS, SEQ_FLAGS2, KERNEL_QINPOS, QINPOS, QOUTPOS, NEXT_QUEUED_SCB):
            self.write(address, 0)
        self.write(WAITING_SCBH, NOTHING)
        self.write(DISCONNECTED_SCBH, NOTHING)
        self.write(MSG_OUT, 0x08)
        self.write(SCSISEQ_TEMPLATE, r.ENSELO | r.ENAUTOATNO | 0x02 | r.ENRSELI)
        for number in range(SCBS):
            self.write(r.SCBPTR, number)
            scb = bytearray([NOTHING]) * 32
            scb[24] = 0
            scb[31] = number + 1 if number < SCBS - 1 else NOTHING
            for at, byte in enumerate(scb):
                self.write(r.SCB + at, byte)
        self.write(FREE_SCBH, 0)

    def _download(self) -> None:
        self.write(r.SEQCTL, 0xB1)
        self.write(r.SEQADDR, 0, 2)
        for word in self.firmware.words:
            for at in range(4):
                self.write(r.SEQRAM, word >> 8 * at & 0xFF)
        self.write(r.SEQCTL, 0xB0)

    def restart(self) -> None:
        """Start the paused sequencer anew, as after a bus free."""
        self.write(r.HCNTRL, r.PAUSE)
        self.write(r.SCSISIGO, 0)
        self.write(MSG_OUT, 0x08)
        self.write(r.SXFRCTL1, self.read(r.SXFRCTL1) & ~r.BITBUCKET)
        self.write(LASTPHASE, 0x01)
        self.write(SAVED_SCSIID, NOTHING)
        self.write(SAVED_LUN, NOTHING)
        self.write(r.SCSISEQ, self.read(SCSISEQ_TEMPLATE) & 0x32)
        self.write(r.CLRINT, r.SEQINT)
        self.write(SEQ_FLAGS, 0)
        self.write(r.SEQCTL, 0x90)
        self.write(r.SEQADDR, 0, 2)

    def reset_bus(self) -> None:
        """Reset the SCSI bus; the sequencer is paused."""
        mode = self.read(r.SIMODE1)
        self.write(r.SIMODE1, mode & ~r.SCSIRSTI)
        self.write(r.SCSISEQ, self.read(r.SCSISEQ) | r.SCSIRSTO)
        self.write(r.SCSISEQ, self.read(r.SCSISEQ) & ~r.SCSIRSTO)
        self.write(r.CLRSINT1, 0xEF)
        self.write(r.CLRSINT0, 0x70)
        self.write(r.CLRINT, r.SCSIINT)
        self.write(r.SIMODE1, mode)
        self.write(r.SCSISEQ, self.read(SCSISEQ_TEMPLATE) & 0x32)

    def unpause(self) -> None:
        """Let the sequencer go on."""
        self.write(r.HCNTRL, r.INTEN)

    def leave_critical_section(self) -> None:
        """Pause, and step until the program counter is where the lists are whole."""
        self.write(r.HCNTRL, r.PAUSE | r.INTEN)
        for _ in range(100):
            pc = self.read(r.SEQADDR, 2)
            if not any(pc in section for section in self.firmware.critical):
                break
            self.write(r.SEQCTL, self.read(r.SEQCTL) | 0x04)
            self.unpause()
            assert self.read(r.HCNTRL) & r.PAUSE
            self.steps += 1
        self.write(r.SEQCTL, self.read(r.SEQCTL) & ~0x04)

    # --- commands ------------------------------------------------------------------------------

    def queue(self, scb: Scb) -> int:
        """Hand a command to the firmware; return its tag."""
        tag, following = self.next_tag, self.free.pop(0)
        block = bytearray(HSCB_BYTES)
        block[: len(scb.cdb)] = scb.cdb
        list_at = SG + tag * SG_BYTES
        last = len(scb.segments) - 1
        for number, (address, length) in enumerate(scb.segments):
            element = struct.pack("<II", address, length | (SG_LAST if number == last else 0))
            self.memory.write(list_at + 8 * number, element)
        if scb.segments:
            block[12:20] = self.memory.read(list_at, 8)
            struct.pack_into("<I", block, 20, list_at + 8 | SG_FULL_RESIDUAL)
        else:
            struct.pack_into("<I", block, 20, SG_NONE)
        block[24:29] = bytes((scb.control, scb.target << 4 | 7, scb.lun, tag, len(scb.cdb)))
        block[31] = following
        self.memory.write(HSCB + HSCB_BYTES * tag, block)
        self.next_tag = following
        self.queued = self.queued + 1 & 0xFF
        self.write(KERNEL_QINPOS, self.queued)
        return tag

    def interrupt(self) -> int:
        """Take the commands that are done off the queue; return INTSTAT as it was."""
        status = self.read(r.INTSTAT)
        if status & r.CMDCMPLT:
            self.write(r.CLRINT, r.CMDCMPLT)
            while (tag := self.memory.data[SHARED + self.taken]) != NOTHING:
                self.memory.data[SHARED + self.taken] = NOTHING
                self.taken = self.taken + 1 & 0xFF
                self.free.append(tag)
                self.done.append(tag)
        return status

    def run(self, scb: Scb, patience: int = 50) -> bytes:
        """Run a command to its end; return its hardware SCB."""
        tag = self.queue(scb)
        for _ in range(patience):
            status = self.interrupt()
            if status & (r.SEQINT | r.SCSIINT | r.BRKADRINT):
                raise AssertionError(f"INTSTAT {status:02X} SSTAT1 {self.read(r.SSTAT1):02X}")
            if tag in self.done:
                self.done.remove(tag)
                return self.hardware_scb(tag)
            self.advance(200_000)
        raise AssertionError("the command did not end")

    def hardware_scb(self, tag: int) -> bytes:
        return self.memory.read(HSCB + HSCB_BYTES * tag, HSCB_BYTES)

    def ready(self) -> None:
        """Take the unit attention of every disk."""
        for disk in self.disks.values():
            disk.start(bytes(6))
            disk.sense_data()


def read10(lba: int, sectors: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, sectors, 0)


def write10(lba: int, sectors: int) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, sectors, 0)
