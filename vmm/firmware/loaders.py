"""Which loader takes a kernel, by what its file looks like and how it is to be entered."""

from __future__ import annotations

from typing import Final

from vmm.errors import ConfigError
from vmm.firmware.flat import FlatKernel
from vmm.firmware.kernel import Kernel, KernelRequest
from vmm.firmware.linux_boot import LinuxKernel, has_protected_entry, is_linux
from vmm.firmware.linux_setup import LinuxSetup
from vmm.firmware.multiboot import MultibootKernel
from vmm.firmware.multiboot_header import find_header, refuse

# What surely is no flat binary; the offset is that of the magic number
STRANGERS: Final = (
    (0, b"\x28\xb5\x2f\xfd", "packed by zstd"),
    (0, b"\xfd7zXZ\x00", "packed by xz"),
    (0, b"BZh", "packed by bzip2"),
    (0, b"MZ", "a DOS or EFI program"),
    (0, b"#!", "a script"),
    (0x8001, b"CD001", "a CD image: give it as the machine's image or by --cd"),
    (0, b"conectix", "a VHD image: give it as the machine's image or by --hd"),
)


def kernel_for(request: KernelRequest) -> Kernel:
    """Return the checked kernel.

    Raises:
        ConfigError: the file is damaged, of an unknown kind, or cannot be entered as wanted.
    """
    data, name = request.data, request.name
    if request.load_address is not None:
        return FlatKernel(request)
    if is_linux(data):
        by_setup = request.entry == "16" or (request.entry == "auto" and not has_protected_entry(data))
        return LinuxSetup(request) if by_setup else LinuxKernel(request)
    header = find_header(data, name)
    if header is not None:
        return MultibootKernel(request, header)
    refuse(data, name)
    for offset, magic, what in STRANGERS:
        if data.startswith(magic, offset):
            raise ConfigError(f"{name}: {what}; expected a bzImage, a Multiboot kernel or a flat binary")
    return FlatKernel(request)
