"""ATA command codes and their names.

Sources:
    [ATA-6] T13/1410D revision 3b, annex B table B.2.
    [ATA-3] X3T10/2008D revision 7b, for RECALIBRATE, SEEK and INITIALIZE DEVICE PARAMETERS.
"""

from __future__ import annotations

from typing import Final

NOP: Final = 0x00
DEVICE_RESET: Final = 0x08
RECALIBRATE: Final = 0x10  # to 1Fh, [ATA-3]
READ_SECTORS: Final = 0x20
READ_SECTORS_NO_RETRY: Final = 0x21
READ_SECTORS_EXT: Final = 0x24
READ_DMA_EXT: Final = 0x25
READ_NATIVE_MAX_ADDRESS_EXT: Final = 0x27
READ_MULTIPLE_EXT: Final = 0x29
WRITE_SECTORS: Final = 0x30
WRITE_SECTORS_NO_RETRY: Final = 0x31
WRITE_SECTORS_EXT: Final = 0x34
WRITE_DMA_EXT: Final = 0x35
WRITE_MULTIPLE_EXT: Final = 0x39
READ_VERIFY_SECTORS: Final = 0x40
READ_VERIFY_SECTORS_NO_RETRY: Final = 0x41
READ_VERIFY_SECTORS_EXT: Final = 0x42
SEEK: Final = 0x70  # to 7Fh, [ATA-3]
EXECUTE_DEVICE_DIAGNOSTIC: Final = 0x90
INITIALIZE_DEVICE_PARAMETERS: Final = 0x91
PACKET: Final = 0xA0
IDENTIFY_PACKET_DEVICE: Final = 0xA1
SMART: Final = 0xB0
READ_MULTIPLE: Final = 0xC4
WRITE_MULTIPLE: Final = 0xC5
SET_MULTIPLE_MODE: Final = 0xC6
READ_DMA: Final = 0xC8
READ_DMA_NO_RETRY: Final = 0xC9
WRITE_DMA: Final = 0xCA
WRITE_DMA_NO_RETRY: Final = 0xCB
STANDBY_IMMEDIATE: Final = 0xE0
IDLE_IMMEDIATE: Final = 0xE1
STANDBY: Final = 0xE2
IDLE: Final = 0xE3
READ_BUFFER: Final = 0xE4
CHECK_POWER_MODE: Final = 0xE5
SLEEP: Final = 0xE6
FLUSH_CACHE: Final = 0xE7
WRITE_BUFFER: Final = 0xE8
FLUSH_CACHE_EXT: Final = 0xEA
IDENTIFY_DEVICE: Final = 0xEC
SET_FEATURES: Final = 0xEF
READ_NATIVE_MAX_ADDRESS: Final = 0xF8

# Commands of the 48-bit address feature set that carry an address and a count
EXT_TRANSFERS: Final = frozenset(
    {
        READ_SECTORS_EXT,
        READ_DMA_EXT,
        READ_MULTIPLE_EXT,
        WRITE_SECTORS_EXT,
        WRITE_DMA_EXT,
        WRITE_MULTIPLE_EXT,
        READ_VERIFY_SECTORS_EXT,
    }
)
VERIFIES: Final = frozenset({READ_VERIFY_SECTORS, READ_VERIFY_SECTORS_NO_RETRY, READ_VERIFY_SECTORS_EXT})
TRANSFERS: Final = (
    EXT_TRANSFERS
    | VERIFIES
    | {
        READ_SECTORS,
        READ_SECTORS_NO_RETRY,
        WRITE_SECTORS,
        WRITE_SECTORS_NO_RETRY,
        READ_MULTIPLE,
        WRITE_MULTIPLE,
        READ_DMA,
        READ_DMA_NO_RETRY,
        WRITE_DMA,
        WRITE_DMA_NO_RETRY,
    }
)

# SET FEATURES subcommands, [ATA-6] table 43
FEATURE_WRITE_CACHE_ON: Final = 0x02
FEATURE_TRANSFER_MODE: Final = 0x03
FEATURE_LOOK_AHEAD_OFF: Final = 0x55
FEATURE_KEEP_SETTINGS: Final = 0x66  # do not revert to power-on defaults at a software reset
FEATURE_WRITE_CACHE_OFF: Final = 0x82
FEATURE_LOOK_AHEAD_ON: Final = 0xAA
FEATURE_REVERT_SETTINGS: Final = 0xCC

_PLAIN_NAMES: Final = {
    value: name.replace("_", " ")
    for name, value in list(globals().items())
    if isinstance(value, int) and name.isupper() and not name.startswith("FEATURE_")
}
NAMES: Final = tuple(
    "RECALIBRATE"
    if opcode & 0xF0 == RECALIBRATE
    else "SEEK"
    if opcode & 0xF0 == SEEK
    else _PLAIN_NAMES.get(opcode, f"command {opcode:02X}h")
    for opcode in range(256)
)
