"""`--load-address`: where a flat binary goes, as users write addresses."""

from __future__ import annotations

import re
from typing import Final

from vmm.errors import UsageError
from vmm.firmware.kernel import LoadAddress

_FAR: Final = re.compile(r"([0-9a-f]{1,4}):([0-9a-f]{1,4})", re.IGNORECASE)
_HEX: Final = re.compile(r"(?:0x([0-9a-f]{1,16})|([0-9][0-9a-f]{,15})h)", re.IGNORECASE)
_PLAIN: Final = re.compile(r"(\d{1,16})([km]?)", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20}
END: Final = 1 << 32


def parse_load_address(text: str) -> LoadAddress:
    """Read `0x7c00`, `7C00h`, `31744`, `1M`, or a real-mode address such as `1000:0100`."""
    if far := _FAR.fullmatch(text.strip()):
        segment, offset = int(far[1], 16), int(far[2], 16)
        return LoadAddress((segment << 4) + offset, segment)
    if number := _HEX.fullmatch(text.strip()):
        address = int(number[1] or number[2], 16)
    elif plain := _PLAIN.fullmatch(text.strip()):
        address = int(plain[1]) * _UNITS[plain[2].lower()]
    else:
        address = END
    if address >= END:
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        raise UsageError(
            f"load address {shown!r}: expected an address below 4 GiB such as 0x7c00, 1M or 1000:0100"
        )
    return LoadAddress(address)
