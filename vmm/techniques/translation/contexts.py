"""What translations depend on beside the code, made from what the guest's processor is like."""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.techniques.translation.emit import Emitter
from vmm.techniques.translation.translate import Context
from vmm.techniques.virtual_cpu import VirtualCpu

_UNPLAIN: Final = r.IOPL | r.VIF | r.VIP
_MOST: Final = 256  # a hostile guest can make any number


class Contexts:
    """The contexts of one guest; each is made once. The guest's CS and SS are in place."""

    def __init__(self, vcpu: VirtualCpu) -> None:
        self._vcpu = vcpu
        self._cs, self._ss = vcpu.real.segs[r.CS], vcpu.real.segs[r.SS]
        self._made: dict[tuple[int, ...], Context] = {}
        self._next = 0

    @property
    def are_many(self) -> bool:
        """Whether it is time to flush the cache and `clear`."""
        return len(self._made) > _MOST

    def clear(self) -> None:
        """Forget them: the data pages are elsewhere. No number comes again."""
        self._made.clear()

    def current(self, data: int) -> Context:
        """The one that holds now, with the data pages at `data`."""
        cs, ss, vcpu = self._cs, self._ss, self._vcpu
        key = (
            cs.base, cs.flags & r.DESC_B, ss.flags & r.DESC_B, vcpu.inner or vcpu.flags.value & _UNPLAIN,
            cs.selector, ss.selector,
        )  # fmt: skip
        context = self._made.get(key)
        if context is None:
            context = self._made[key] = Context(
                self._next, cs.base, 32 if key[1] else 16, bool(key[2]), not key[3],
                vcpu.segs[r.CS].selector, vcpu.segs[r.SS].selector, Emitter(data, cs.base),
            )  # fmt: skip
            self._next += 1
        return context
