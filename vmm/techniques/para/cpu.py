"""The virtual processor of a guest that knows of its monitor, and its descriptor tables."""

from __future__ import annotations

from vmm.cpu import registers as r
from vmm.techniques.para.events import SharedPage
from vmm.techniques.shadow_descriptors import ShadowDescriptors
from vmm.techniques.virtual_cpu import VIRTUAL_FLAGS, VirtualCpu


class ParaCpu(VirtualCpu):
    """`by_events`: the interrupt flag is the inverted `upcall_mask` of the shared page."""

    page: SharedPage
    by_events = False

    def interrupt_flags(self) -> int:
        """The flags, IF out of the shared page."""
        flags = super().interrupt_flags()
        if self.by_events:
            flags = flags & ~r.IF if self.page.masked else flags | r.IF
        return flags

    def set_if(self, on: bool) -> None:
        """Set or clear the guest's IF."""
        super().set_if(on)
        if self.by_events:
            self.page.masked = not on

    def change_if(self, on: bool) -> int | None:
        """CLI and STI."""
        was = self.interrupt_flags() & r.IF
        if super().change_if(on) is None:
            return None
        if self.by_events:
            self.page.masked = not on
        return was

    def if_changer(self, on: bool, mask: int) -> None:
        """None: with events, CLI and STI change the shared page too."""

    @property
    def rflags(self) -> int:
        """RFLAGS as the guest should see them."""
        return self._engine.read_rflags() & ~VIRTUAL_FLAGS | self.interrupt_flags() & VIRTUAL_FLAGS

    @rflags.setter
    def rflags(self, value: int) -> None:
        self.flags.value = value & VIRTUAL_FLAGS
        self.real.rflags = value & ~VIRTUAL_FLAGS | r.IF
        if self.by_events:
            self.page.masked = not value & r.IF

    def write_cr(self, index: int, value: int) -> None:
        """Write a control register; CR2 is in the shared page too."""
        super().write_cr(index, value)
        if index == 2 and self.by_events:
            self.page.set_cr2(value)


class GivenDescriptors(ShadowDescriptors):
    """Descriptor tables of which hypercalls tell; until the first one does, those of `ShadowDescriptors`."""

    given = False

    def moved(self) -> None:
        """Mappings changed: the copy stays what was given."""
        if not self.given:
            super().moved()

    def _watch(self, pages: frozenset[int]) -> None:
        super()._watch(frozenset() if self.given else pages)
