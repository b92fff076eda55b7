"""What the accelerated engine offers a technique: mostly words in the memory that the accelerator shares."""

from __future__ import annotations

import ctypes
from abc import abstractmethod
from typing import Any

import unicorn

from vmm.cpu.accel import Shared
from vmm.cpu.engine import Engine, Handler
from vmm.cpu.monitoring import Touch
from vmm.cpu.paging import PAGE_SIZE


class AcceleratedMonitoring(Engine):
    """A part of `AcceleratedEngine`."""

    shared: Shared
    _lib: Any
    _accel: Any
    _cpu: int
    _tlb_flush_page: Any
    _edge_hook: int
    _routed: list[int] | None
    _virtual_flags: ctypes.c_uint32 | None

    @abstractmethod
    def _hook(self, kind: int, entry: str, *extra: int) -> int:
        """Hook a function of the accelerator in."""

    def shut_down(self) -> None:
        """Tell the accelerator."""
        self.shared.triple_fault = 1
        self._lib.accel_stop(self._accel)

    def route_all(self, monitor: Handler | None) -> None:
        """Set the whole bitmap, and keep what it was."""
        self._monitor = monitor or self.wiring.on_event  # the accelerator borrows it
        self._lib.accel_on_event(self._accel, id(self._monitor))
        word = self.shared.route
        if monitor is not None:
            self._routed = self._routed or list(word)
            word[:] = [0xFFFF_FFFF_FFFF_FFFF] * 4
        elif self._routed is not None:
            word[:], self._routed = self._routed, None

    def flush_page(self, linear: int) -> None:
        """Drop one page of QEMU's TLB."""
        self._tlb_flush_page(self._cpu, linear)

    def set_monitored(self, flags: ctypes.c_uint32 | None) -> None:
        """Tell the accelerator."""
        self._virtual_flags = flags
        self.shared.virtual_flags = None if flags is None else ctypes.addressof(flags)
        self.shared.monitored = self.monitored = flags is not None

    def open_ports(self, on: bool) -> None:
        """Tell the accelerator."""
        self.shared.ports_closed = not on

    def set_assisted(self, on: bool) -> None:
        """Tell the accelerator."""
        self.shared.vmcb = self.memory_map.hidden_host
        self.shared.assisted, self.shared.interrupt_told = on, 0

    def want_window(self) -> None:
        """Tell the accelerator."""
        self.shared.window_wanted = 1

    def guard_root(self, root: int) -> None:
        """Tell the accelerator."""
        self.shared.root = root

    def take_touch(self) -> Touch:
        """Ask the accelerator."""
        shared = self.shared
        cr3, shared.stray_cr3 = shared.stray_cr3, 0
        return Touch(shared.touch_address, shared.touch_access == 1, cr3)

    def watch_blocks(self, on: bool) -> None:
        """Tell the accelerator."""
        if on and not self._edge_hook:
            self._edge_hook = self._hook(unicorn.UC_HOOK_EDGE_GENERATED, "edge")
        self.shared.watch_blocks = on
        self.shared.block_waits = 0

    def never_code(self, address: int, length: int) -> None:
        """Keep stores there off the slow path."""
        self.shared.data_first, self.shared.data_pages = address >> 12, length >> 12

    def fetch_from(self, page: int, host: int | None) -> None:
        """Have instructions of page number `page` fetched from host memory, data from where they are."""
        self._lib.accel_fetch_from(self._accel, page, host)
        address = page << 12
        Engine.invalidate_code(self, address, PAGE_SIZE)
        self.flush_tlb()
