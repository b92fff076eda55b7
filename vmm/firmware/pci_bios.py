"""INT 1Ah AH=B1h, and the same functions by far call in 32-bit protected mode: the PCI BIOS.

Sources: [PCIBIOS] PCI BIOS Specification 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from vmm.cpu import registers as r
from vmm.firmware.caller import Caller
from vmm.firmware.host import FirmwareHost
from vmm.firmware.rom import ROM_ADDRESS, ROM_BYTES
from vmm.firmware.tables import routing_slots

PCI_FUNCTION: Final = 0xB1
# Return codes, [PCIBIOS] §4
SUCCESSFUL: Final = 0x00
NOT_SUPPORTED: Final = 0x81
BAD_VENDOR: Final = 0x83
NOT_FOUND: Final = 0x86
BAD_REGISTER: Final = 0x87
BUFFER_TOO_SMALL: Final = 0x89

SIGNATURE: Final = 0x2049_4350  # "PCI "
VERSION: Final = 0x0210
MECHANISM_1: Final = 0x01
NO_VENDOR: Final = 0xFFFF
CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
CONFIG_ENABLE: Final = 0x8000_0000
FUNCTIONS: Final = 256  # of bus 0, the only one
HEADER_TYPE: Final = 0x0E
MULTIFUNCTION: Final = 0x80
CLASS_REVISION: Final = 0x08
CONFIG_BYTES: Final = 256

# The service directory, [PCIBIOS] §3.3
PCI_SERVICE: Final = 0x4943_5024  # "$PCI"
UNKNOWN_SERVICE: Final = 0x80
UNKNOWN_DIRECTORY_FUNCTION: Final = 0x81


class PciBios:
    """The functions. `entry` is the offset in the ROM of their 32-bit form."""

    def __init__(self, host: FirmwareHost, entry: int) -> None:
        self._bus = host.bus
        self._entry = entry
        self._functions: dict[int, Callable[[Caller], int]] = {
            0x01: self._present,
            0x02: self._find_device,
            0x03: self._find_class,
            0x0E: self._routing_options,
        }
        for index, size in enumerate((1, 2, 4)):
            self._functions[0x08 + index] = self._reader(size)
            self._functions[0x0B + index] = self._writer(size)

    def call(self, caller: Caller) -> None:
        """Serve one call; AL is the function."""
        function = self._functions.get(caller.al & 0x7F)  # the 32-bit form may have bit 7 set
        status = NOT_SUPPORTED if function is None else function(caller)
        caller.ah = status
        caller.set_carry(status != SUCCESSFUL)

    def directory(self, caller: Caller) -> None:
        """Say where the service is whose name is in EAX: base EBX, length ECX, entry EDX."""
        if caller.bl:
            caller.al = UNKNOWN_DIRECTORY_FUNCTION
        elif caller.eax != PCI_SERVICE:
            caller.al = UNKNOWN_SERVICE
        else:
            caller.al = 0
            caller.ebx, caller.ecx, caller.edx = ROM_ADDRESS, ROM_BYTES, self._entry

    # -- configuration space, by mechanism 1

    def _select(self, bus: int, function: int, register: int) -> int:
        """Address a register; return the port of its first byte."""
        address = CONFIG_ENABLE | (bus & 0xFF) << 16 | (function & 0xFF) << 8 | register & 0xFC
        self._bus.write(CONFIG_ADDRESS, 4, address)
        return CONFIG_DATA + (register & 3)

    def _read(self, function: int, register: int, size: int, bus: int = 0) -> int:
        return self._bus.read(self._select(bus, function, register), size)

    def _present_functions(self) -> Iterator[int]:
        function = 0
        while function < FUNCTIONS:
            first = not function & 7
            if self._read(function, 0, 2) != NO_VENDOR:
                yield function
                alone = first and not self._read(function, HEADER_TYPE, 1) & MULTIFUNCTION
                function += 8 if alone else 1
            else:
                function += 8 if first else 1

    # -- functions

    def _present(self, caller: Caller) -> int:
        caller.edx = SIGNATURE
        caller.al, caller.bx, caller.cl = MECHANISM_1, VERSION, 0
        return SUCCESSFUL

    def _find(self, caller: Caller, matches: Callable[[int], bool]) -> int:
        """Find the SI-th match."""
        left = caller.si
        for function in self._present_functions():
            if matches(function):
                if not left:
                    caller.bx = function
                    return SUCCESSFUL
                left -= 1
        return NOT_FOUND

    def _find_device(self, caller: Caller) -> int:
        if caller.dx == NO_VENDOR:
            return BAD_VENDOR
        wanted = caller.cx << 16 | caller.dx
        return self._find(caller, lambda function: self._read(function, 0, 4) == wanted)

    def _find_class(self, caller: Caller) -> int:
        wanted = caller.ecx & 0xFF_FFFF
        return self._find(caller, lambda function: self._read(function, CLASS_REVISION, 4) >> 8 == wanted)

    def _reader(self, size: int) -> Callable[[Caller], int]:
        def read(caller: Caller) -> int:
            if caller.di >= CONFIG_BYTES or caller.di % size:
                return BAD_REGISTER
            value = self._read(caller.bl, caller.di, size, caller.bh)
            if size == 4:
                caller.ecx = value
            elif size == 2:
                caller.cx = value
            else:
                caller.cl = value
            return SUCCESSFUL

        return read

    def _writer(self, size: int) -> Callable[[Caller], int]:
        def write(caller: Caller) -> int:
            if caller.di >= CONFIG_BYTES or caller.di % size:
                return BAD_REGISTER
            port = self._select(caller.bh, caller.bl, caller.di)
            self._bus.write(port, size, caller.ecx & (1 << 8 * size) - 1)
            return SUCCESSFUL

        return write

    def _routing_options(self, caller: Caller) -> int:
        """0Eh: fill the caller's buffer with the entries of the $PIR table, [PCIBIOS] §4.8.

        At ES:DI are the size of the buffer and a pointer to it: far from 16-bit callers, flat from others.
        """
        slots = routing_slots()
        address = caller.address(r.ES, caller.edi)
        room = int.from_bytes(caller.read(address, 2), "little")
        caller.write(address, len(slots).to_bytes(2, "little"))
        if room < len(slots):
            return BUFFER_TOO_SMALL
        pointer = caller.read(address + 2, 6)
        offset = int.from_bytes(pointer[: caller.pointer_bytes - 2], "little")
        selector = int.from_bytes(pointer[caller.pointer_bytes - 2 : caller.pointer_bytes], "little")
        caller.write(caller.far_address(selector, offset), slots)
        caller.bx = 0
        return SUCCESSFUL
