"""Addresses and bits of the sequencer's own registers, 60h-6Fh.

Sources:
    [AIC] Adaptec AIC-7870 data book; the names are those of the BSD and Linux drivers.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 0x60
LAST: Final = 0x6F

SEQCTL: Final = 0x60
SEQRAM: Final = 0x61
SEQADDR0: Final = 0x62
SEQADDR1: Final = 0x63
ACCUM: Final = 0x64
SINDEX: Final = 0x65
DINDEX: Final = 0x66
BRKADDR0: Final = 0x67
BRKADDR1: Final = 0x68
ALLONES: Final = 0x69
ALLZEROS: Final = 0x6A  # read
NONE: Final = 0x6A  # written
FLAGS: Final = 0x6B
SINDIR: Final = 0x6C
DINDIR: Final = 0x6D
FUNCTION1: Final = 0x6E
STACK: Final = 0x6F

# SEQCTL
PERRORDIS: Final = 0x80
PAUSEDIS: Final = 0x40
FAILDIS: Final = 0x20
FASTMODE: Final = 0x10
BRKADRINTEN: Final = 0x08
STEP: Final = 0x04
SEQRESET: Final = 0x02
LOADRAM: Final = 0x01
SEQCTL_AT_RESET: Final = PERRORDIS | FASTMODE

# BRKADDR1
BRKDIS: Final = 0x80

# FLAGS
ZERO: Final = 0x02
CARRY: Final = 0x01
