"""What surrounds a virtual processor: CPUID, MSRs, ports and HLT of a deprivileged guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmm.cpu import registers as r

if TYPE_CHECKING:
    from vmm.techniques.deprivileged import Deprivileged

EFER: Final = 0xC000_0080
_EFER_KEPT: Final = r.EFER_SCE | r.EFER_NXE


class GuestServices:
    """`operands.Services` on the processor's own, but for EFER and the shadow page tables."""

    def __init__(self, technique: Deprivileged) -> None:
        self._technique = technique
        self._processor = technique.processor
        processor = technique.processor
        self.cpuid = processor.cpuid
        self.read_tsc = processor.read_tsc
        self.read_cr8 = processor.read_cr8
        self.write_cr8 = processor.write_cr8
        self.halt = processor.halt
        self.read_dr = processor.read_dr
        self.write_dr = processor.write_dr
        self.port_in = processor.port_in
        self.port_out = processor.port_out
        self.end_nmi = processor.end_nmi
        self.invlpg = technique.invlpg

    def read_msr(self, index: int) -> int | None:
        """EFER is the guest's."""
        if index == EFER:
            return self._technique.vcpu.efer
        return self._processor.read_msr(index)

    def write_msr(self, index: int, value: int) -> bool:
        """EFER is the guest's; long mode is beyond this technique, and said so."""
        if index != EFER:
            return self._processor.write_msr(index, value)
        if value & r.EFER_LME:
            self._technique.on_unsupported(
                f"{self._technique.name} cannot run long mode, which the guest asked for by EFER.LME"
            )
        vcpu = self._technique.vcpu
        changed = vcpu.efer ^ value
        vcpu.efer = value & _EFER_KEPT
        vcpu.state.efer = vcpu.state.efer & ~r.EFER_SCE | value & r.EFER_SCE  # else SYSRET is #UD
        if changed & r.EFER_NXE:
            self._technique.mappings_changed()
        return True
