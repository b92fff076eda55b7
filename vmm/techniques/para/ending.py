"""How `shutdown` ends a run: by the board's own ports."""

from __future__ import annotations

from typing import Final

from vmm.techniques.para import abi
from vmm.techniques.para.events import Ports

_EXIT_PORT: Final = 0xF4
_RESET_PORT: Final = 0xCF9
_HARD_RESET: Final = 6


def end_by_ports(bus: Ports, reason: int, code: int) -> bool:
    """Power off with a code, or reset; False: the guest has crashed, and no port is for that."""
    if reason == abi.SHUTDOWN_POWER_OFF:
        bus.write(_EXIT_PORT, 4, code)
    elif reason == abi.SHUTDOWN_REBOOT:
        bus.write(_RESET_PORT, 1, 0)
        bus.write(_RESET_PORT, 1, _HARD_RESET)
    else:
        return False
    return True
