"""Multiboot 1 kernels: ELF files, and any file whose header says where it goes.

The kernel is entered in 32-bit protected mode, paging off, with what `multiboot_info` tells. The
command line and each module's string begin with the file's name, as those of GRUB 0.97 do. Modules go behind
the kernel, on page borders.

Not modelled: symbols (bits 4 and 5 of the information), drives, the ROM configuration table, APM.

Sources: [MB1] Multiboot Specification 0.6.96 §3.1 to §3.3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vmm.cpu import registers as r
from vmm.errors import ConfigError
from vmm.firmware.boot_state import AREA_ALIGN, AREA_BYTES, BootState, Chunk, enter_kernel
from vmm.firmware.e820 import HIGH
from vmm.firmware.elf import MAGIC as ELF_MAGIC
from vmm.firmware.elf import Segment, parse_elf
from vmm.firmware.kernel import KernelRequest, command_line
from vmm.firmware.layout import Layout
from vmm.firmware.multiboot_header import Header
from vmm.firmware.multiboot_info import LoadedModule, information
from vmm.firmware.post_state import PostState

LOADED_BY_MULTIBOOT: Final = 0x2BADB002  # EAX
PAGE_BYTES: Final = 0x1000
INFO_ALIGN: Final = 16


class MultibootKernel:
    """A kernel with a Multiboot header."""

    after_post = True

    def __init__(self, request: KernelRequest, header: Header) -> None:
        self.name = request.name
        self.video = header.video
        self._request = request
        if request.entry not in ("auto", "32"):
            raise ConfigError(
                f"{self.name}: a Multiboot kernel starts in 32-bit mode, not by --entry {request.entry}"
            )
        if header.addresses is not None:
            self.entry, self._segments = self._by_addresses(header)
        elif request.data.startswith(ELF_MAGIC):
            self.entry, self._segments = self._by_elf()
        else:
            raise ConfigError(
                f"{self.name}: the Multiboot header at {header.offset:#x} has no addresses (flag 16), "
                "and the file is not ELF: nothing says where it goes"
            )

    def _by_elf(self) -> tuple[int, list[Segment]]:
        elf = parse_elf(self._request.data, self.name)
        return elf.entry, elf.segments

    def _by_addresses(self, header: Header) -> tuple[int, list[Segment]]:
        """Return the entry and the file's part by the header's address fields, [MB1] §3.1.3."""
        found, data = header.addresses, self._request.data
        assert found is not None
        first = header.offset - (found.header - found.load)
        where = f"{self.name}: the Multiboot header at {header.offset:#x}"
        if found.header < found.load or first < 0:
            raise ConfigError(
                f"{where}: load_addr {found.load:#x} and header_addr {found.header:#x} put the start "
                f"of the kernel at offset {first} of the file"
            )
        end = first + found.load_end - found.load if found.load_end else len(data)
        if not first < end <= len(data):
            raise ConfigError(
                f"{where}: load_end_addr {found.load_end:#x} asks for bytes {first:#x}-{end - 1:#x}, "
                f"the file has {len(data):#x}"
            )
        loaded = found.load + end - first
        if found.bss_end and found.bss_end < loaded:
            raise ConfigError(f"{where}: bss_end_addr {found.bss_end:#x} is below the end at {loaded:#x}")
        if not found.load <= found.entry < loaded:
            raise ConfigError(
                f"{where}: entry_addr {found.entry:#x} is not in {found.load:#x}-{loaded - 1:#x}, "
                "which is what is loaded"
            )
        memory_bytes = max(found.bss_end, loaded) - found.load
        return found.entry, [Segment(first, found.load, found.load, end - first, memory_bytes)]

    def boot(self, post: PostState) -> BootState:
        """Return memory and processor for its start."""
        layout = Layout(self.name, post)
        end = HIGH
        for number, segment in enumerate(self._segments):
            layout.claim(f"segment {number} of the kernel", segment.physical, segment.memory_bytes)
            end = max(end, segment.physical + segment.memory_bytes)
        chunks = [self._chunk(segment) for segment in self._segments]  # they fit: copies are no more than RAM
        modules = []
        for module in self._request.modules:
            what = f"module {module.name}"
            address = layout.place_above(what, len(module.data), PAGE_BYTES, end)
            chunks.append(Chunk(address, module.data))
            text = _text(module.name, module.arguments)
            modules.append(LoadedModule(address, address + len(module.data), text))
        area = layout.place_low("the loader", AREA_BYTES, AREA_ALIGN)
        text = _text(self.name, self._request.append)

        def place(length: int) -> int:
            return layout.place_low("the Multiboot information", length, INFO_ALIGN)

        info = information(post, text, modules, self.video, place)
        registers = {r.RAX: LOADED_BY_MULTIBOOT, r.RBX: info.address}
        return enter_kernel(self.entry, [*chunks, info], registers, long_mode=False, area=area)

    def _chunk(self, segment: Segment) -> Chunk:
        data = self._request.data[segment.offset : segment.offset + segment.file_bytes]
        return Chunk(segment.physical, data, segment.memory_bytes - segment.file_bytes)


def _text(name: str, arguments: str) -> bytes:
    return command_line(f"{Path(name).name} {arguments}".strip())
