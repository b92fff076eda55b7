"""Ports, MMIO and CPUID on the portable engine: the callbacks of Unicorn's public API."""

from __future__ import annotations

from typing import Any

from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu.delivery import Event
from vmm.cpu.engine import Engine, Kind, Wiring
from vmm.cpu.io_permission import io_allowed
from vmm.cpu.ledger import ExitLedger
from vmm.cpu.paging import GuestFault
from vmm.cpu.string_io import StringIo


class PortableIo:
    """Serves accesses. `fault` and `error` are for the engine to deliver or raise behind the slice."""

    def __init__(self, engine: Engine, wiring: Wiring, ledger: ExitLedger) -> None:
        self._engine = engine
        self._wiring = wiring
        self._ledger = ledger
        self._string_io = StringIo(engine, wiring)
        self.fault: Event | None = None
        self.error: Exception | None = None
        self.within_out = False

    def on_in(self, uc: Any, port: int, size: int, data: Any) -> int:  # noqa: ANN401
        """Serve an IN."""
        began = host_ns()
        self._engine.fetch()  # for the ring and the trace, which say where the guest is
        if not self._may_use(port, size):
            return 0
        bus = self._wiring.bus
        try:
            value = self._string_io.bulk_in(port, size) if port in bus.block_readers else bus.read(port, size)
        except Exception as error:  # re-raised by the engine
            value = self._keep_error(error)
        self._engine.remember(Kind.IN, port, value)
        self._ledger.account(Kind.IN, port, size, value, began)
        return value

    def _may_use(self, port: int, size: int) -> bool:
        """Check IOPL and the bitmap; a fault is delivered behind the slice, from the state fetched now."""
        try:
            if self._engine.monitored:
                allowed = self._engine.view.cpl == 1 and not self._engine.ports_closed
            else:
                allowed = io_allowed(self._engine.view, self._engine.view.state.eflags, port, size)
            if allowed:
                return True
            self.fault = Event(r.GP, 0)
        except GuestFault as fault:
            self.fault = Event(fault.vector, fault.error_code, cr2=fault.cr2)
        self._engine.uc.emu_stop()
        return False

    def _keep_error(self, error: Exception) -> int:
        """Keep an error for `run`: the binding keeps errors too, but then lacks a value to return."""
        self.error = self.error or error
        self._engine.uc.emu_stop()
        return 0

    def on_out(self, uc: Any, port: int, size: int, value: int, data: Any) -> None:  # noqa: ANN401
        """Serve an OUT."""
        began = host_ns()
        self._engine.fetch()
        if not self._may_use(port, size):
            return
        bus = self._wiring.bus
        value &= (1 << 8 * size) - 1
        self._engine.remember(Kind.OUT, port, value)
        self.within_out = True
        try:
            if port in bus.block_writers:
                self._string_io.bulk_out(port, size, value)
            else:
                bus.write(port, size, value)
        finally:
            self.within_out = False
        self._ledger.account(Kind.OUT, port, size, value, began)

    def map_window(self, address: int, length: int, read: Any, write: Any) -> None:  # noqa: ANN401
        """Have accesses to a range answered; `read` and `write` None: a hole."""

        def on_read(uc: Any, offset: int, size: int, data: Any) -> int:  # noqa: ANN401
            began, mask = host_ns(), (1 << 8 * size) - 1
            try:
                value = mask if read is None else read(offset, size) & mask
            except Exception as error:  # re-raised by the engine
                value = self._keep_error(error)
            self._engine.fetch()
            self._engine.remember(Kind.MMIO_READ, address + offset, value)
            self._ledger.account(Kind.MMIO_READ, address + offset, size, value, began)
            return int(value)

        def on_write(uc: Any, offset: int, size: int, value: int, data: Any) -> None:  # noqa: ANN401
            began = host_ns()
            value &= (1 << 8 * size) - 1
            self._engine.fetch()
            self._engine.remember(Kind.MMIO_WRITE, address + offset, value)
            if write is not None:
                write(offset, size, value)
            self._ledger.account(Kind.MMIO_WRITE, address + offset, size, value, began)

        self._engine.uc.mmio_map(address, length, on_read, None, on_write, None)

    def on_cpuid(self, uc: Any, data: Any) -> int:  # noqa: ANN401
        """Serve a CPUID."""
        began = host_ns()
        regs = self._engine.fetch().regs
        leaf, subleaf = regs[r.RAX] & 0xFFFF_FFFF, regs[r.RCX] & 0xFFFF_FFFF
        regs[r.RAX], regs[r.RBX], regs[r.RCX], regs[r.RDX] = self._wiring.cpuid(leaf, subleaf)
        self._engine.commit()
        self._ledger.account(Kind.CPUID, leaf, subleaf, 0, began)
        return 1
