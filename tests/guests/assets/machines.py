"""A machine with a guest on it, looked at through its screen."""

from __future__ import annotations

from typing import Final

from vmm.machine import Machine
from vmm.run_result import RunResult

BOOT_S: Final = 120
Firmware = dict[str, str]
"""Fields of MachineConfig that choose the firmware; none of them for ours."""


def shown(machine: Machine) -> str:
    """Return the text screen, a line a row."""
    return "\n".join(machine.screen_text())


def run_until_shown(machine: Machine, text: str, timeout_s: float = BOOT_S) -> RunResult:
    """Run until the screen has `text`.

    Raises:
        AssertionError: it did not come in time.
    """
    result = machine.run(lambda: text in shown(machine), timeout_s)
    assert result.reason == "until", (text, result, shown(machine))
    return result
