"""INT n, INT3, INTO and INT1, on a `CpuView`: delivery through the IDT, told to return behind them.

A fault of the delivery is raised here, for the caller to deliver at the instruction.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, INT n/INTO/INT3/
INT1.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.delivery import deliver
from vmm.cpu.encoding import Encoded
from vmm.cpu.operands import Handler, Outcome, Services, next_rip
from vmm.cpu.paging import GuestFault
from vmm.cpu.state import CpuView

_TRANSFERRED = Outcome.TRANSFERRED


def _int(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    """INT n; virtual-8086 code needs IOPL 3."""
    flags = view.interrupt_flags()
    if flags & r.VM and flags & r.IOPL != r.IOPL:
        raise GuestFault(r.GP, 0)
    deliver(view, instruction.immediate, software=True, next_rip=next_rip(view, instruction))
    return _TRANSFERRED


def _int3(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    deliver(view, r.BP, software=True, next_rip=next_rip(view, instruction))
    return _TRANSFERRED


def _into(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    if not view.rflags & r.OF:
        return Outcome.DONE
    deliver(view, r.OF_TRAP, software=True, next_rip=next_rip(view, instruction))
    return _TRANSFERRED


def _int1(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    """INT1 is a debug exception: no gate's DPL keeps it away."""
    deliver(view, r.DB, next_rip=next_rip(view, instruction))
    return _TRANSFERRED


HANDLERS: Final[dict[int, Handler]] = {0xCC: _int3, 0xCD: _int, 0xCE: _into, 0xF1: _int1}
