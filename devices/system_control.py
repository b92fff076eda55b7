"""The PC's system control ports: 61h (timer 2 and speaker), 92h (A20, fast reset) and CF9h (reset).

The A20 gate lives here. Port 92h and the keyboard controller both drive it through `set_a20`, the
last one wins, and bit 1 of port 92h shows what it is.

Not modelled: NMI from parity and IOCHK#, the security lock of port 92h, a difference between the soft
and hard resets of CF9h.

Sources:
  [PIIX] Intel 82371FB/82371SB PIIX/PIIX3 data sheet, 290550-002, April 1997.
  [AT]   IBM PS/2 Hardware Interface Technical Reference, System Control Ports A and B, 1991.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.backplane import Clock, DeviceState
from devices.isa import byte_bank

# Port 61h, [PIIX] "NSC"
TIMER2_GATE: Final = 0x01
SPEAKER: Final = 0x02
NMI_DISABLES: Final = 0x0C
REFRESH: Final = 0x10
TIMER2_OUT: Final = 0x20
PORT61_WRITABLE: Final = TIMER2_GATE | SPEAKER | NMI_DISABLES
REFRESH_NS: Final = 15_085  # counter 1 divides the input clock by 18

# Port 92h, [AT] "System Control Port A"
FAST_RESET: Final = 0x01
A20: Final = 0x02

# Port CF9h, [PIIX] "RC"
HARD_RESET: Final = 0x02
RESET_CPU: Final = 0x04


class SystemControlState(DeviceState, frozen=True, kw_only=True):
    """The latches of the three ports."""

    port61: int
    fast_reset: bool
    a20: bool
    reset_control: int


class SystemControl:
    """Banks of one port each: `port61`, `port92`, `reset_port`.

    `gate2` drives and `out2` returns the pins of timer counter 2; `set_a20` opens the gate in the
    processor; `request_reset` gets the reason and may act later, once the access is over.
    """

    def __init__(
        self,
        clock: Clock,
        gate2: Callable[[bool], None],
        out2: Callable[[], bool],
        set_a20: Callable[[bool], None],
        request_reset: Callable[[str], None],
        name: str = "system_control",
    ) -> None:
        self.name = name
        self._clock = clock
        self._gate2 = gate2
        self._out2 = out2
        self._drive_a20 = set_a20
        self._request_reset = request_reset
        self.port61 = byte_bank("port 61h", (self._read_port61,), (self._write_port61,))
        self.port92 = byte_bank("port 92h", (self._read_port92,), (self._write_port92,))
        self.reset_port = byte_bank("port CF9h", (self._read_reset,), (self._write_reset,))
        self.reset()

    def reset(self) -> None:
        """Silence the speaker and let all addresses through, as the processor needs for its first fetch."""
        self.load(SystemControlState(port61=0, fast_reset=False, a20=True, reset_control=0))

    def save(self) -> SystemControlState:
        """Return the latches."""
        return SystemControlState(
            port61=self._latch61,
            fast_reset=self._fast_reset,
            a20=self._a20,
            reset_control=self._reset_control,
        )

    def load(self, state: DeviceState) -> None:
        """Become `state`; drive the gate of counter 2 and A20 to match."""
        latches = msgspec.convert(state, SystemControlState)
        self._latch61 = latches.port61
        self._fast_reset = latches.fast_reset
        self._reset_control = latches.reset_control
        self._gate2(bool(self._latch61 & TIMER2_GATE))
        self.set_a20(latches.a20)

    @property
    def speaker(self) -> bool:
        """Whether counter 2 is let through to the speaker."""
        return bool(self._latch61 & SPEAKER)

    def set_a20(self, enabled: bool) -> None:
        """Let address line 20 through or hold it low; the keyboard controller calls this too."""
        self._a20 = enabled
        self._drive_a20(enabled)

    def _read_port61(self) -> int:
        refresh = REFRESH if self._clock.now_ns() // REFRESH_NS & 1 else 0
        return self._latch61 | refresh | (TIMER2_OUT if self._out2() else 0)

    def _write_port61(self, value: int) -> None:
        self._latch61 = value & PORT61_WRITABLE
        self._gate2(bool(value & TIMER2_GATE))

    def _read_port92(self) -> int:
        return (A20 if self._a20 else 0) | (FAST_RESET if self._fast_reset else 0)

    def _write_port92(self, value: int) -> None:
        """Drive A20; bit 0 resets the processor when it rises."""
        rises = bool(value & FAST_RESET) and not self._fast_reset
        self._fast_reset = bool(value & FAST_RESET)
        self.set_a20(bool(value & A20))
        if rises:
            self._request_reset("port 92h")

    def _read_reset(self) -> int:
        return self._reset_control

    def _write_reset(self, value: int) -> None:
        """Reset when RESET_CPU goes from 0 to 1; HARD_RESET chooses the kind beforehand."""
        rises = bool(value & RESET_CPU & ~self._reset_control)
        self._reset_control = value & (HARD_RESET | RESET_CPU)
        if rises:
            self._request_reset("port CF9h")
