"""The services behind `kernel_stub`: choose the kernel's screen, then load the kernel.

Nothing is remembered from one to the next but what is in the guest's registers and memory.

Sources: [BBS] BIOS Boot Specification 1.01 §6.5.1; [VBE3] VESA BIOS Extension core functions 3.0, 4F01h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from vmm.errors import ConfigError
from vmm.firmware import bda as b
from vmm.firmware import kernel_stub as k
from vmm.firmware.bda import Bda
from vmm.firmware.boot_state import AREA_BYTES
from vmm.firmware.caller import Caller
from vmm.firmware.e820 import ENTRY_BYTES, LOW_END, RAM, Region
from vmm.firmware.host import FirmwareHost
from vmm.firmware.kernel import Kernel
from vmm.firmware.multiboot_info import BITS, HEIGHT, WIDTH
from vmm.firmware.post_state import FIRST_HARD_DISK, PostState, VbeMode, VideoWish

LINEAR_FLAG: Final = 0x4000
MODE_NUMBER_MASK: Final = 0x1FF
USABLE: Final = 0x0091  # of ModeAttributes: supported, graphics, linear frame buffer
PREFERRED: Final = (1024, 768, 32)  # where the kernel has no preference
FRAME_BYTES: Final = 16  # the service word and what IRET takes, at the end of the area
KIB: Final = 1024
FLOATING: Final = 0xFF


class KernelService:
    """Serves `KERNEL_VIDEO`, `KERNEL_MODE` and `KERNEL_LOAD`."""

    def __init__(self, host: FirmwareHost, kernel: Kernel) -> None:
        self._host = host
        self._kernel = kernel
        self._data = Bda(host.memory)
        self.services: dict[int, Callable[[Caller], None]] = {
            k.KERNEL_VIDEO: self._video,
            k.KERNEL_MODE: self._mode,
            k.KERNEL_LOAD: self._load,
        }

    def _video(self, caller: Caller) -> None:
        """Say which kind of screen the kernel asks for."""
        wish = self._kernel.video
        caller.conclude(k.KEEP_SCREEN if wish is None else k.SET_TEXT if wish.text else k.SET_GRAPHICS)

    def _mode(self, caller: Caller) -> None:
        """Choose among the modes whose blocks end at DI; BX is for INT 10h 4F02h."""
        wish = self._kernel.video
        number = None if wish is None else best_mode(_modes(caller), wish)
        caller.bx = 0 if number is None else number | LINEAR_FLAG
        caller.conclude(k.NO_MODE if number is None else k.MODE_CHOSEN)

    def _load(self, caller: Caller) -> None:
        """Load the kernel, and let the stub go on at its entry; BX is the graphics mode in force."""
        try:
            state = self._kernel.boot(self._post_state(caller))
        except ConfigError as error:
            if self._host.on_no_boot is not None:
                self._host.on_no_boot(str(error))
            caller.conclude(k.HALT)
            return
        state.fill(self._host.memory)
        caller.move_stack(state.area >> 4, AREA_BYTES - FRAME_BYTES)
        caller.conclude(k.ENTER)
        caller.return_to(state.area >> 4, 0, interrupts=False)

    def _post_state(self, caller: Caller) -> PostState:
        end = min(caller.bp, k.MAP_TABLE + k.MAP_ENTRIES * ENTRY_BYTES)
        table = caller.read(k.MAP_TABLE, max(end - k.MAP_TABLE, 0) // ENTRY_BYTES * ENTRY_BYTES)
        regions = [self._real(Region(*entry)) for entry in struct.iter_unpack("<QQI", table)]
        usual = PostState.expected(self._host.ram_bytes)
        return PostState(
            regions or usual.regions,  # a BIOS that does not know E820h
            min(self._data.word(b.MEMORY_KIB) * KIB, LOW_END),
            FIRST_HARD_DISK if self._data.byte(b.DISK_COUNT) else 0,
            self._vbe(caller),
        )

    def _real(self, region: Region) -> Region:
        """Return a region without the RAM that the machine has not: the guest can have written the map."""
        if region.kind != RAM:
            return region
        return region._replace(length=max(min(region.length, self._host.ram_bytes - region.address), 0))

    def _vbe(self, caller: Caller) -> VbeMode | None:
        """Return the graphics mode that the stub has set."""
        wish, number = self._kernel.video, caller.bx & MODE_NUMBER_MASK
        if wish is None or wish.text or not number:
            return None
        controller = caller.read(k.VBE_SEGMENT << 4, k.CONTROLLER_BYTES)
        return VbeMode(caller.bx, controller, _modes(caller).get(number, bytes(k.MODE_BYTES)))


def _modes(caller: Caller) -> dict[int, bytes]:
    """Return the modes that the stub has listed: information blocks by number."""
    end = min(caller.di, k.MODE_BLOCKS_END)
    data = caller.read(k.VBE_SEGMENT << 4, end)
    blocks = (data[at : at + k.MODE_BYTES] for at in range(k.MODE_BLOCKS, end, k.MODE_BYTES))
    return {
        struct.unpack_from("<H", block, k.MODE_NUMBER)[0] & MODE_NUMBER_MASK: block
        for block in blocks
        if len(block) == k.MODE_BYTES
    }


def best_mode(modes: dict[int, bytes], wish: VideoWish) -> int | None:
    """Return the number of the mode nearest to the wish: first by depth, then by size."""
    width, height, depth = (
        asked or usual for asked, usual in zip((wish.width, wish.height, wish.depth), PREFERRED, strict=True)
    )
    costs = []
    for number, block in modes.items():
        (attributes,) = struct.unpack_from("<H", block)
        if attributes & USABLE != USABLE:
            continue
        found = struct.unpack_from("<H", block, WIDTH)[0], struct.unpack_from("<H", block, HEIGHT)[0]
        size = abs(found[0] - width) + abs(found[1] - height)
        costs.append((abs(block[BITS] - depth), size, number))
    return min(costs)[2] if costs else None


class KernelTrap:
    """The trap port behind an option ROM: a port device that serves nothing but a kernel's start."""

    name = "kernel loader"

    def __init__(self, host: FirmwareHost, kernel: Kernel) -> None:
        self._host = host
        self._services = KernelService(host, kernel).services

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - a port device
        """The port answers nothing."""
        return FLOATING

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002 - a port device
        """Serve the call that the stub announces; `value` means nothing."""
        caller = Caller(self._host, self._host.processor.fetch())
        service = self._services.get(caller.vector)
        if service is not None:
            service(caller)
            self._host.processor.commit()
