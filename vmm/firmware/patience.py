"""Waiting inside a service: the stub calls again until what is waited for is there, or it is too late.

The deadline is in the EBDA, for one waiting service at a time.
"""

from __future__ import annotations

from typing import Final

from vmm.firmware import ebda
from vmm.firmware.caller import RETRY, Caller
from vmm.firmware.ebda import Ebda
from vmm.firmware.host import FirmwareHost

MASK: Final = 0xFFFF_FFFF
HALF: Final = 1 << 31
US_PER_S: Final = 1_000_000


class Patience:
    """A deadline in microseconds of virtual time, counted in 32 bits."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._ebda = Ebda(host.memory)

    def wait(self, caller: Caller, seconds: float) -> bool:
        """Let the stub call again, at most `seconds` after the first call; False: it is too late."""
        now = self._host.clock.now_ns() // 1000 & MASK
        if not caller.called_again:
            self._ebda.set_dword(ebda.DEADLINE, now + int(seconds * US_PER_S))
        left = (self._ebda.dword(ebda.DEADLINE) - now) & MASK
        if not 0 < left < HALF:
            return False
        caller.conclude(RETRY)
        return True
