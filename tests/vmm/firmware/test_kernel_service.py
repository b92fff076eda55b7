"""What the kernel's stub and the services behind it do, and the option ROM they are in."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.pci.option_rom import BOOT_ROM
from tests.vmm.firmware.kernels import MIB, elf, header, request
from tests.vmm.firmware.rig import STACK, FakeView, Rig
from vmm.clock import MachineClock
from vmm.cpu import registers as r
from vmm.firmware import kernel_stub as k
from vmm.firmware.boot_state import AREA_BYTES
from vmm.firmware.host import FirmwareHost
from vmm.firmware.kernel import Kernel, Module
from vmm.firmware.kernel_service import FRAME_BYTES, KernelTrap, best_mode
from vmm.firmware.loaders import kernel_for
from vmm.firmware.option_rom import kernel_rom
from vmm.firmware.post_state import VideoWish
from vmm.memory import Memory
from vmm.pci_window import FIRST as PCI_FIRST

GRAPHICS = elf(header(4, video=(0, 800, 600, 32)))


class Trap:
    """The services over memory and a processor, with nothing of a board."""

    def __init__(self, kernel: Kernel) -> None:
        self.memory = Memory(16 * MIB)
        self.view = FakeView(self.memory)
        self.failures: list[str] = []
        rig = Rig(power_on=False)
        host = FirmwareHost(
            processor=self.view,
            memory=self.memory,
            bus=rig.bus,
            clock=MachineClock(rig.time),
            ram_bytes=16 * MIB,
            on_no_boot=self.failures.append,
        )
        self.trap = KernelTrap(host, kernel)
        self.memory.write(0x413, struct.pack("<H", 639))

    def call(self, number: int, **regs: int) -> int:
        """Call a service as the stub does; return the verdict that is in AH then."""
        names = {"bx": r.RBX, "di": r.RDI, "bp": r.RBP}
        for name, value in regs.items():
            self.view.regs[names[name]] = value
        self.view.regs[r.RSP] = STACK
        self.view.segs[r.SS].base = 0
        self.memory.write(STACK, bytes((number, 0)) + bytes(6))
        self.trap.write(0, 1, 0)
        at = self.view.segs[r.SS].base + self.view.regs[r.RSP]
        return self.memory.read(at + 1, 1)[0]

    def map(self, *regions: tuple[int, int, int]) -> int:
        """Put a memory map where the stub collects it; return its end, for BP."""
        table = b"".join(struct.pack("<QQI", *region) for region in regions)
        self.memory.write(k.MAP_TABLE, table)
        return k.MAP_TABLE + len(table)


def mode_block(number: int, width: int, height: int, bits: int, attributes: int = 0xBF) -> bytes:
    block = bytearray(k.MODE_BYTES)
    struct.pack_into("<H", block, 0, attributes)
    struct.pack_into("<HH", block, 0x12, width, height)
    block[0x19] = bits
    struct.pack_into("<H", block, k.MODE_NUMBER, number)
    return bytes(block)


@pytest.mark.parametrize(
    ("flags", "video", "verdict"),
    [(0, (), k.KEEP_SCREEN), (4, (1, 80, 25, 0), k.SET_TEXT), (4, (0, 0, 0, 0), k.SET_GRAPHICS)],
)
def test_screen_is_what_the_kernel_asks_for(flags: int, video: tuple[int, ...], verdict: int) -> None:
    trap = Trap(kernel_for(request(elf(header(flags, video=video)))))
    assert trap.call(k.KERNEL_VIDEO) == verdict


def test_mode_is_chosen_among_those_the_bios_has() -> None:
    trap = Trap(kernel_for(request(GRAPHICS)))
    blocks = mode_block(0x115, 800, 600, 24) + mode_block(0x143, 800, 600, 32)
    trap.memory.write((k.VBE_SEGMENT << 4) + k.MODE_BLOCKS, blocks)
    assert trap.call(k.KERNEL_MODE, di=k.MODE_BLOCKS + len(blocks)) == k.MODE_CHOSEN
    assert trap.view.regs[r.RBX] == 0x4143  # with the linear frame buffer
    assert trap.call(k.KERNEL_MODE, di=0) == k.NO_MODE


def test_nearest_mode_goes_by_depth_then_by_size() -> None:
    modes = {
        number: mode_block(number, *shape)
        for number, shape in {
            1: (640, 480, 32),
            2: (1024, 768, 32),
            3: (800, 600, 8),
            4: (1600, 1200, 24),
        }.items()
    }
    assert best_mode(modes, VideoWish(False, 800, 600, 8)) == 3
    assert best_mode(modes, VideoWish(False, 700, 500, 32)) == 1
    assert best_mode(modes, VideoWish(False)) == 2  # no preference
    assert best_mode(modes, VideoWish(False, 1600, 1200, 24)) == 4
    unusable = {5: mode_block(5, 800, 600, 32, attributes=0x1F), 6: mode_block(6, 80, 25, 4, attributes=0x8F)}
    assert best_mode(unusable, VideoWish(False, 800, 600, 32)) is None


def test_kernel_is_loaded_by_the_map_and_entered_with_interrupts_off() -> None:
    trap = Trap(kernel_for(request(elf(header(), memory_bytes=0x2000))))
    end = trap.map((0, 0x9FC00, 1), (MIB, 3 * MIB, 1))
    assert trap.call(k.KERNEL_LOAD, bp=end, bx=0) == k.ENTER
    stack = trap.view.segs[r.SS]
    ip, cs, flags = struct.unpack(
        "<3H", trap.memory.read(stack.base + (trap.view.regs[r.RSP] & 0xFFFF) + 2, 6)
    )
    assert (ip, cs, flags & r.IF) == (0, stack.selector, 0)
    assert trap.view.regs[r.RSP] & 0xFFFF == AREA_BYTES - FRAME_BYTES
    assert trap.memory.read(cs << 4, 1) == b"\xfa"  # the stub: cli
    assert trap.memory.read(MIB + 0x60, 4) == header()[:4]


def test_kernel_that_does_not_fit_the_bioss_map_halts_with_the_reason() -> None:
    trap = Trap(kernel_for(request(elf(header(), memory_bytes=4 * MIB))))
    end = trap.map((0, 0x9FC00, 1), (MIB, 3 * MIB, 1))
    assert trap.call(k.KERNEL_LOAD, bp=end) == k.HALT
    assert trap.failures == [
        "kernel: segment 0 of the kernel needs 100000h-4FFFFFh; free memory is 500h-9FBFFh, 100000h-3FFFFFh: "
        "give the machine more memory, or link the kernel elsewhere"
    ]


class CountingWindow:
    """A device that counts the accesses to it."""

    name = "window"

    def __init__(self) -> None:
        self.accesses = 0

    def read(self, offset: int, size: int) -> int:
        self.accesses += 1
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.accesses += 1


def test_map_that_a_guest_forged_sends_no_module_into_a_devices_window() -> None:
    """Written dword by dword there, a large module would stop the machine for seconds."""
    trap = Trap(kernel_for(request(elf(header()), modules=(Module("m", bytes(MIB)),))))
    window = CountingWindow()
    trap.memory.add_window(PCI_FIRST, 0x1000_0000, window)
    end = trap.map((0, 0x9FC00, 1), (MIB, 0x20000, 1), (PCI_FIRST, 0x1000_0000, 1))
    assert trap.call(k.KERNEL_LOAD, bp=end) == k.HALT
    assert window.accesses == 0
    assert trap.failures == [
        "kernel: no 1048576 bytes are free for module m above 101000h: give the machine more memory"
    ]


def test_bios_without_a_memory_map_is_taken_to_have_all() -> None:
    trap = Trap(kernel_for(request(elf(header()))))
    assert trap.call(k.KERNEL_LOAD, bp=k.MAP_TABLE) == k.ENTER


def test_other_numbers_on_the_port_are_nothing() -> None:
    trap = Trap(kernel_for(request(elf(header()))))
    before = bytes(trap.memory.ram)
    trap.call(0x10)
    trap.memory.write(STACK, before[STACK : STACK + 8])
    assert bytes(trap.memory.ram) == before
    assert trap.trap.read(0, 1) == 0xFF


@settings(max_examples=200, deadline=None)
@given(
    number=st.sampled_from((k.KERNEL_VIDEO, k.KERNEL_MODE, k.KERNEL_LOAD)),
    regs=st.lists(st.integers(0, (1 << 64) - 1), min_size=16, max_size=16),
    base=st.integers(0, 0xFFFFFFFF),
    junk=st.binary(min_size=1, max_size=400),
    data=st.binary(max_size=8),
)
def test_any_registers_and_memory_end_without_an_exception(
    number: int, regs: list[int], base: int, junk: bytes, data: bytes
) -> None:
    trap = Trap(kernel_for(request(GRAPHICS)))
    trap.memory.write(k.MAP_TABLE, junk * 8)
    trap.memory.write(k.VBE_SEGMENT << 4, junk * 20)
    trap.memory.write(0x400, data * 16)
    trap.view.regs[:] = regs
    trap.view.segs[r.SS].base = base
    sp = regs[r.RSP] & 0xFFFF
    trap.memory.write(base + sp, bytes((number, 0)))
    trap.trap.write(0, 1, 0)


def test_option_rom_has_its_headers_and_checksums() -> None:
    rom = kernel_rom(BOOT_ROM, "kernel vmlinuz")
    assert rom[:2] == b"\x55\xaa"
    assert len(rom) == 512 * rom[2]
    assert sum(rom) & 0xFF == 0
    pci, pnp = struct.unpack_from("<HH", rom, 0x18)
    assert rom[pci : pci + 8] == b"PCIR" + struct.pack("<HH", BOOT_ROM.vendor_id, BOOT_ROM.device_id)
    assert rom[pci + 0x14 : pci + 0x16] == bytes((0, 0x80))  # for a PC; the last image
    header_bytes = rom[pnp : pnp + 16 * rom[pnp + 5]]
    assert header_bytes[:5] == b"$PnP\x10"
    assert sum(header_bytes) & 0xFF == 0
    product, vector = (struct.unpack_from("<H", header_bytes, at)[0] for at in (0x10, 0x1A))
    assert rom[product:].split(b"\0")[0] == b"kernel vmlinuz"
    assert rom[vector : vector + len(k.kernel())] == k.kernel()


def test_name_of_any_kernel_fits_the_option_rom() -> None:
    rom = kernel_rom(BOOT_ROM, "kernel " + "ü" * 1000)
    assert sum(rom) & 0xFF == 0
    assert rom[0x100 : 0x100 + 8] == k.kernel()[:8]


def test_our_own_rom_enters_the_kernel_in_place_of_the_drives() -> None:
    kernel = kernel_for(request(elf(header())))
    rig = Rig(kernel=kernel)
    rig.call(0x19)
    segment, offset = rig.target
    assert segment == 0xF000
    assert rig.bios.rom[offset : offset + len(k.kernel())] == k.kernel()
    assert rig.line(1) == "Starting kernel"


def test_kernel_that_returns_by_int_18h_ends_the_boot() -> None:
    rig = Rig(kernel=kernel_for(request(elf(header()))))
    rig.call(0x18)
    assert rig.reasons == ["kernel: the kernel has returned by INT 18h"]
