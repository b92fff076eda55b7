"""What an engine offers a technique that stands between the guest and the processor."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vmm.cpu.engine import Handler


class Touch(NamedTuple):
    """An access within a task switch; `cr3` is what that loaded instead of the guarded root, or 0."""

    linear: int
    write: bool
    cr3: int


class Monitoring(ABC):
    """Events told of instead of being carried out, and what belongs to that. A part of `Engine`."""

    _mirror: ctypes.c_uint8 | None

    block_bytes = 0
    """How long the block of an EVENT_BLOCK is that comes without its code."""

    @abstractmethod
    def set_monitored(self, flags: ctypes.c_uint32 | None) -> None:
        """Have interrupts, NMIs, SYSENTER and SYSCALL told of as events; None: have them carried out.

        An interrupt is told of while IF is set in `flags`, which lives until the next call. Ring 3 and
        VM86 get #GP for each port, and the monitor decides; for ring 1 see `open_ports`.
        """

    @abstractmethod
    def open_ports(self, on: bool) -> None:
        """Whether a monitored ring 1 has all ports, as a guest's ring 0 has, or gets #GP too."""

    def mirror_interrupt(self, level: ctypes.c_uint8 | None) -> None:
        """Keep the level of INTR in a byte, for translated code to look at; None: no more."""
        self._mirror = level
        if level is not None:
            level.value = self.interrupt_line

    def never_code(self, address: int, length: int) -> None:  # noqa: B027 - of use to a fast engine only
        """Nobody fetches instructions from these pages of the monitor's: stores need not look for any."""

    @property
    @abstractmethod
    def interrupt_line(self) -> bool:
        """The level of INTR."""

    @abstractmethod
    def set_assisted(self, on: bool) -> None:
        """Have interrupts and NMIs told of as exits, and what is in the VMCB's EVENTINJ delivered."""

    @abstractmethod
    def want_window(self) -> None:
        """Tell, once, when the assisted guest can take the interrupt that waits (EVENT_WINDOW)."""

    def guard_root(self, root: int) -> None:  # noqa: B027 - an engine that cannot, does not
        """Have CR3 be `root` whatever a task switch loads; 0: let it be. See EVENT_TOUCH."""

    def take_touch(self) -> Touch:
        """Tell what EVENT_TOUCH is about; once."""
        raise NotImplementedError

    @abstractmethod
    def watch_blocks(self, on: bool) -> None:
        """Tell of each block translated outside ring 3 before it first runs (EVENT_BLOCK)."""

    @abstractmethod
    def shut_down(self) -> None:
        """A triple fault: `run` returns TRIPLE_FAULT."""

    @abstractmethod
    def route_all(self, monitor: Handler | None) -> None:
        """Send every event to `monitor` in the event router's place; None: to the router, as before."""

    @abstractmethod
    def flush_page(self, linear: int) -> None:
        """Forget the cached translation of one page."""
