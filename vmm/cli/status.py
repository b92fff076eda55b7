"""Exit statuses of the command, and which end of a run gives which."""

from __future__ import annotations

from typing import Final

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
TRIPLE_FAULT: Final = 3
TIMEOUT: Final = 4
ENGINE_DIED: Final = 5
HALTED_FOREVER: Final = 6
NOT_EXPECTED: Final = 7
UNSUPPORTED: Final = 8
GUEST_BASE: Final = 64
SIGNAL_BASE: Final = 128
INTERRUPTED: Final = SIGNAL_BASE + 2  # SIGINT
MAX_STATUS: Final = 255

MEANINGS: Final = {
    "0": "the guest ended well, or the last --expect was seen",
    "1": "an error, told in one line on stderr",
    "2": "wrong usage",
    "3": "triple fault",
    "4": "--timeout reached",
    "5": "the engine died; the last exits are shown, disk images are checked",
    "6": "halted for ever: HLT with interrupts off and nothing to wake it",
    "7": "the run ended before all of --expect was seen",
    "8": "the technique cannot run what the guest came to, such as long mode",
    "64+v": "the guest wrote v, not 0, to the exit port F4h",
    "128+n": "ended by signal n, such as Ctrl-C",
}


def guest_status(value: int) -> int:
    """Return the status for what the guest wrote to the exit port; values that do not fit are cut."""
    return OK if value == 0 else min(GUEST_BASE + value, MAX_STATUS)
