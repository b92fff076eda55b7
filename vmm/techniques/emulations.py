"""The instructions of a deprivileged guest that were emulated before, ready to be emulated again.

An instruction is known by its bytes and the code size, so code that changes is met as other code. What
is ready is one function an instruction, which has at hand what it needs: on the way of a trap, looking
that up in an object of as many attributes as a technique has costs more than the emulation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu.decode import InstructionClass, classify, instruction_name
from vmm.cpu.emulate import Outcome, bind, prepare
from vmm.cpu.encoding import MAX_LENGTH
from vmm.cpu.operands import RIP_MASKS
from vmm.cpu.segmentation import code_bits
from vmm.cpu.software_int import read_code
from vmm.cpu.state import HF_CS32, HF_INHIBIT_IRQ
from vmm.techniques.exits import ExitRow

if TYPE_CHECKING:
    from vmm.techniques.deprivileged import Deprivileged

_SHADOW = Outcome.INTERRUPT_SHADOW
_TF, _INHIBIT_IRQ = r.TF, HF_INHIBIT_IRQ
_MOST: Final = 8192
_CHANGES_IF: Final = {b"\xfa": False, b"\xfb": True}  # most of what traps
Emulation = Callable[[int], None]
"""Emulates the instruction at RIP; takes the host time at which its exit began. GuestFault as `bind`'s."""
FollowUp = Callable[[], None]


class Emulations:
    """By code size (HF_CS32 or 0) and bytes.

    `privileged` has those of `known` that are privileged: they raise #GP for no other reason, with no
    selector in the error code, so that one of them needs no closer look.
    """

    def __init__(self, technique: Deprivileged) -> None:
        self._technique = technique
        self.known: dict[int, dict[bytes, Emulation]] = {0: {}, HF_CS32: {}}
        self.privileged: dict[int, dict[bytes, Emulation]] = {0: {}, HF_CS32: {}}

    def read(self, code: bytes) -> Emulation | None:
        """Read the instruction at RIP, whose bytes are `code` where known; None: nobody emulates it.

        Raises:
            GuestFault: it cannot be fetched.
        """
        technique = self._technique
        vcpu = technique.vcpu
        bits = code_bits(vcpu)
        handler, instruction = prepare(vcpu, code or None)
        if handler is None:
            return None
        whole = code
        if len(code) < instruction.length:  # it goes on in the next page
            whole = read_code(vcpu, vcpu.code_address(), MAX_LENGTH)
        name = instruction_name(whole, bits)
        on = _CHANGES_IF.get(whole[:1])
        changer = None if on is None else vcpu.if_changer(on, RIP_MASKS[bits])
        carry_out = changer or bind(vcpu, technique.services, handler, instruction)
        row = technique.emulation_row(name, whole)
        emulation = self._complete(carry_out, technique.follow_up(name), row)
        if whole is code:
            self._keep(code, bits, emulation)
        return emulation

    def _keep(self, code: bytes, bits: int, emulation: Emulation) -> None:
        mode = HF_CS32 if bits == 32 else 0
        if len(self.known[mode]) >= _MOST:
            self.known[mode].clear()
            self.privileged[mode].clear()
        self.known[mode][code] = emulation
        if classify(code, bits) is InstructionClass.PRIVILEGED:
            self.privileged[mode][code] = emulation

    def _complete(
        self, carry_out: Callable[[], Outcome], follow_up: FollowUp | None, row: ExitRow
    ) -> Emulation:
        """Return the emulation with all that belongs to it: the shadow of STI, the single step, the book."""
        technique = self._technique
        state, step = technique.vcpu.state, technique.step

        def emulate(began: int) -> None:
            stepping = state.eflags & _TF
            if carry_out() is _SHADOW:
                state.hflags |= _INHIBIT_IRQ
            elif state.hflags & _INHIBIT_IRQ:
                state.hflags &= ~_INHIBIT_IRQ
            if follow_up is not None:
                follow_up()
            if stepping:
                step()
            technique.last = row  # as `book` does, without a call
            row.count += 1
            row.host_ns += host_ns() - began

        return emulate
