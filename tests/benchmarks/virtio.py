"""virtio-scsi without a guest: what a notification and a command cost by themselves.

The host has a machine's memory and no engine behind it. Floors are the disk alone, which gives the same
sectors to the same pages, and a write to the same window where no register is.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from devices.backplane import IrqLine
from devices.scsi.disk import ScsiDisk
from devices.scsi.target import ScsiTarget
from devices.scsi.tasks import ReadTask
from devices.virtio import registers as r
from devices.virtio.ring import DESC_INDIRECT, DESC_NEXT, DESC_WRITE, DESCRIPTOR_BYTES
from devices.virtio.scsi import HEADER_BYTES, VirtioScsi
from disks.image import BlockImage
from disks.open import open_image
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Row
from tests.devices.aic7870.mini_driver import read10
from vmm.clock import MachineClock, ManualTime
from vmm.dma import BusMasterMemory
from vmm.memory import MIB, Memory

SECTOR_BYTES: Final = 512
PAGE: Final = 4096
LARGE: Final = 64 << 10
DISK_BYTES: Final = 1 << 20
RAM_BYTES: Final = 4 * MIB

# Where the driver has everything, above the first mebibyte as Linux has
DESC: Final = 0x10_0000
AVAIL: Final = 0x10_8000
USED: Final = 0x11_0000
REQUEST: Final = 0x11_8000
RESPONSE: Final = 0x11_9000
TABLE: Final = 0x11_A000
BUFFER: Final = 0x20_0000

REQUESTS: Final = 2  # the queue
RESPONSE_BYTES: Final = 108
NOTHING_THERE: Final = r.COMMON_BYTES + 8
FEATURES: Final = r.VIRTIO_F_VERSION_1 | r.VIRTIO_F_INDIRECT_DESC | r.VIRTIO_F_EVENT_IDX


class Driver:
    """Keeps one READ by pages in an indirect table, and offers it again and again."""

    def __init__(self, image: BlockImage) -> None:
        memory = Memory(RAM_BYTES)
        self.ram, self.memory = memory.ram, BusMasterMemory(memory)
        self.target = ScsiTarget({0: ScsiDisk("disk", image)})
        clock, irq = MachineClock(ManualTime()), IrqLine(lambda level: None)
        self.host = VirtioScsi("virtio", self.memory, clock, irq, {0: self.target})
        self.write = self.host.transport.memory_bank.write
        self.read = self.host.transport.memory_bank.read
        self._notify = r.NOTIFY_AT + r.NOTIFY_MULTIPLIER * REQUESTS
        self._index = 0
        self._start()

    def _start(self) -> None:
        """Initialize the device, [VIRTIO-1.1] §3.1.1, and take the unit attention."""
        self.host.transport.set_master(True)
        for half in range(2):
            self.write(r.DRIVER_FEATURE_SELECT, 4, half)
            self.write(r.DRIVER_FEATURE, 4, FEATURES >> 32 * half & 0xFFFF_FFFF)
        self.write(r.DEVICE_STATUS, 1, r.ACKNOWLEDGE | r.DRIVER | r.FEATURES_OK)
        self.write(r.QUEUE_SELECT, 2, REQUESTS)
        for register, address in ((r.QUEUE_DESC, DESC), (r.QUEUE_DRIVER, AVAIL), (r.QUEUE_DEVICE, USED)):
            self.write(register, 4, address)
        self.write(r.QUEUE_ENABLE, 2, 1)
        self.write(r.DEVICE_STATUS, 1, r.ACKNOWLEDGE | r.DRIVER | r.FEATURES_OK | r.DRIVER_OK)
        self.prepare(PAGE)
        self.command()

    def prepare(self, length: int) -> None:
        """Make the next commands READs of `length` bytes."""
        request = bytes((1, 0)).ljust(HEADER_BYTES, b"\0") + read10(0, length // SECTOR_BYTES).ljust(
            32, b"\0"
        )
        self.ram[REQUEST : REQUEST + len(request)] = request
        runs = [(REQUEST, len(request), DESC_NEXT), (RESPONSE, RESPONSE_BYTES, DESC_NEXT | DESC_WRITE)]
        runs += [(at, PAGE, DESC_NEXT | DESC_WRITE) for at, _ in pages(length)]
        table = b"".join(struct.pack("<QIHH", *run, at + 1) for at, run in enumerate(runs))
        table = table[:-4] + struct.pack("<HH", DESC_WRITE, 0)
        self.ram[TABLE : TABLE + len(table)] = table
        indirect = struct.pack("<QIHH", TABLE, len(table), DESC_INDIRECT, 0)
        self.ram[DESC : DESC + DESCRIPTOR_BYTES] = indirect

    def command(self) -> None:
        """Offer the command, and take the interrupt."""
        self._index = self._index + 1 & 0xFFFF
        self.ram[AVAIL + 2 : AVAIL + 4] = self._index.to_bytes(2, "little")
        self.kick()
        self.read(r.ISR_AT, 1)

    def kick(self) -> None:
        """Notify the device."""
        self.write(self._notify, 2, REQUESTS)

    @property
    def is_good(self) -> bool:
        """Whether the last command ended well, with all its data."""
        return bytes(self.ram[RESPONSE : RESPONSE + 12]) == bytes(12)


def pages(length: int) -> list[tuple[int, int]]:
    """Return where the data goes: pages of which no two adjoin."""
    return [(BUFFER + 2 * at, PAGE) for at in range(0, length, PAGE)]


def device(lab: Lab) -> Iterator[Row]:
    """Measure commands and notifications of the host."""
    path = lab.folder / "virtio.img"
    path.write_bytes(bytes(range(256)) * (DISK_BYTES // 256))
    image = open_image(path, read_only=True)
    driver = Driver(image)
    count = lab.loops(2000)
    for name, length in (("4 KiB", PAGE), ("64 KiB", LARGE)):
        driver.prepare(length)
        driver.command()
        assert driver.is_good
        ours, alone = lab.medians(
            partial(_seconds, driver.command, count),
            partial(_seconds, partial(_disk_alone, driver, length), count),
        )
        note = f"{length / ours / 1e6:.0f} MB/s"
        yield Row(
            f"virtio-scsi alone, READ of {name}", ours * 1e3, "the disk alone", alone * 1e3, "ms", note=note
        )
    nothing = partial(driver.write, NOTHING_THERE, 2, 0)
    kick, floor = lab.medians(
        partial(_seconds, driver.kick, 10 * count), partial(_seconds, nothing, 10 * count)
    )
    yield Row(
        "virtio-scsi alone, notified of nothing",
        kick * 1e6,
        "a write where no register is",
        floor * 1e6,
        "us",
    )
    image.close()


def _seconds(work: Callable[[], None], count: int) -> float:
    """Return the processor seconds of one turn."""
    began = time.thread_time()
    for _ in range(count):
        work()
    return (time.thread_time() - began) / count


def _disk_alone(driver: Driver, length: int) -> None:
    """Do the same READ at the target."""
    task = driver.target.start(0, read10(0, length // SECTOR_BYTES))
    views = driver.memory.views(pages(length))
    assert isinstance(task, ReadTask)
    assert views is not None
    assert task.fill(views)
