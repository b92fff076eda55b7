"""The local APIC of a uniprocessor, in xAPIC form: interrupts in, INTR and NMI of one processor out.

Disabled by IA32_APIC_BASE it lets its pins through, LINT0 as INTR and LINT1 as NMI: the processor is
one without an APIC. The registers answer at one address; a guest may write another into IA32_APIC_BASE,
and then reaches none of them. Accesses that are not aligned dwords: a read gives the part of
the register that it covers, a write does nothing.

Not modelled: other processors (INIT and start-up messages to them go nowhere), SMM (an SMI is dropped),
x2APIC, TSC-deadline, CMCI. The thermal and performance counter entries of the LVT never fire. An INIT to
this processor resets the machine, as the INIT of the keyboard controller does.

Sources:
    [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, chapter 10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from devices.apic import messages as m
from devices.apic import registers as r
from devices.apic.timer import ApicTimer
from devices.backplane import Clock, DeviceState, IrqLine

FLOATING: Final = 0xFFFF_FFFF_FFFF_FFFF
_BITMAP_BYTES: Final = m.VECTORS // 8
_SAVED: Final = ("base", "id", "tpr", "ldr", "dfr", "svr", "esr", "errors", "icr_low", "icr_high")


class LocalApic:
    """One local APIC, its timer, and two pins. `on_eoi` hears the vector of a level-triggered interrupt.

    `intr` goes to the processor; `inta` is the interrupt acknowledge cycle of the controller behind LINT0.
    """

    def __init__(
        self,
        clock: Clock,
        intr: IrqLine,
        inta: Callable[[], int],
        on_nmi: Callable[[], None],
        on_init: Callable[[], None],
        name: str = "local apic",
    ) -> None:
        self.name = name
        self._intr, self._inta, self._on_nmi, self._on_init = intr, inta, on_nmi, on_init
        self.on_eoi: Callable[[int], None] = self._ignore
        self._timer = ApicTimer(clock, self._on_timer, f"{name} timer")
        self._pins = [False, False]
        self._extint = False
        self._external = False  # what `_is_external` said when anything it looks at last changed
        self.lint0 = IrqLine(partial(self._drive, 0))
        self.lint1 = IrqLine(partial(self._drive, 1))
        self.base = r.BASE_RESET
        self._reads, self._writes = self._registers()
        self.reset()

    def _registers(self) -> tuple[list[Callable[[], int]], list[Callable[[int], None]]]:
        count = r.REGISTER_BYTES // 16
        reads: list[Callable[[], int]] = [self._read_nothing] * count
        writes: list[Callable[[int], None]] = [self._write_nothing] * count
        ignore, timer = self._ignore, self._timer
        table: tuple[tuple[int, Callable[[], int], Callable[[int], None]], ...] = (
            (r.ID, lambda: self.id << 24, self._write_id), (r.VERSION, lambda: r.VERSION_VALUE, ignore),
            (r.TPR, lambda: self.tpr, self.write_tpr), (r.APR, self._read_apr, ignore),
            (r.PPR, self._priority, ignore), (r.EOI, lambda: 0, self._write_eoi),
            (r.RRD, lambda: 0, ignore), (r.LDR, lambda: self.ldr << 24, self._write_ldr),
            (r.DFR, lambda: self.dfr << 28 | 0x0FFF_FFFF, self._write_dfr),
            (r.SVR, lambda: self.svr, self._write_svr), (r.ESR, lambda: self.esr, self._write_esr),
            (r.ICR_LOW, lambda: self.icr_low, self._write_icr),
            (r.ICR_HIGH, lambda: self.icr_high, self._write_icr_high),
            (r.INITIAL_COUNT, lambda: timer.initial, timer.write_initial),
            (r.CURRENT_COUNT, timer.read_count, ignore), (r.DIVIDE, lambda: timer.divide, timer.write_divide),
            *((offset, partial(self._read_lvt, offset), partial(self._write_lvt, offset))
              for offset in r.LVT_WRITABLE),
        )  # fmt: skip
        for offset, read, write in table:
            reads[offset >> 4], writes[offset >> 4] = read, write
        for first, name in ((r.ISR, "isr"), (r.TMR, "tmr"), (r.IRR, "irr")):
            for word in range(m.VECTORS // 32):
                reads[(first >> 4) + word] = partial(self._read_word, name, word * 32)
                writes[(first >> 4) + word] = self._ignore
        return reads, writes

    # -- as a device

    def reset(self) -> None:
        """Become the local APIC of the processor that boots, after RESET; the pins are outside."""
        self.base = r.BASE_RESET
        self._reset_registers()

    def _reset_registers(self) -> None:
        """[SDM3] §10.4.7.1."""
        self.id = r.BSP_ID
        self.tpr = self.ldr = self.esr = self.errors = 0
        self.icr_low = self.icr_high = 0
        self.dfr = r.DFR_FLAT
        self.svr = r.SVR_RESET
        self.isr = self.tmr = self.irr = 0
        self._lvt = dict.fromkeys(r.LVT_WRITABLE, m.MASKED)
        self._timer.reset()
        self._update_pins()

    def save(self) -> r.LocalApicState:
        """Return the registers."""
        return r.LocalApicState(
            **{name: getattr(self, name) for name in _SAVED},
            **{name: getattr(self, name).to_bytes(_BITMAP_BYTES, "little") for name in ("isr", "tmr", "irr")},
            lvt=tuple(self._lvt.values()),
            pins=(self._pins[0], self._pins[1], self._extint),
            timer=self._timer.save(),
        )

    def load(self, state: DeviceState) -> None:
        """Become `state` and drive INTR to match."""
        saved = msgspec.convert(state, r.LocalApicState)
        for name in _SAVED:
            setattr(self, name, getattr(saved, name))
        self.isr, self.tmr, self.irr = (
            int.from_bytes(bits, "little") for bits in (saved.isr, saved.tmr, saved.irr)
        )
        self._lvt = dict(zip(r.LVT_WRITABLE, saved.lvt, strict=True))
        self._pins, self._extint = list(saved.pins[:2]), saved.pins[2]
        self._timer.load(saved.timer)
        self._update_pins()

    # -- what the processor asks

    @property
    def enabled(self) -> bool:
        """Whether the processor has an APIC at all: CPUID says what this bit says, [SDM3] §10.4.3."""
        return bool(self.base & r.BASE_ENABLE)

    def read_base(self) -> int:
        """RDMSR of IA32_APIC_BASE."""
        return self.base

    def write_base(self, value: int) -> bool:
        """WRMSR of IA32_APIC_BASE; False: #GP, as a reserved bit is set. BSP is read-only."""
        if value & ~(r.BASE_MASK | r.BASE_ENABLE | r.BASE_BSP):
            return False
        was = self.base
        self.base = value & ~r.BASE_BSP | r.BASE_BSP
        if was & r.BASE_ENABLE and not value & r.BASE_ENABLE:
            self._reset_registers()
        self._update_pins()
        return True

    def write_tpr(self, value: int) -> None:
        """Set the task priority; MOV CR8 does so, too."""
        self.tpr = value & 0xFF
        self._update()

    def acknowledge(self) -> int:
        """Return the vector of what INTR stands for and take it into service.

        What came as ExtINT is the other controller's, and passes by r.IRR, r.ISR and priorities. With
        nothing left to serve it is the spurious vector, which is not in service, [SDM3] §10.9.
        """
        if self._external:
            return self._inta()
        if not self._waits():
            return self.svr & m.VECTOR
        vector = self.irr.bit_length() - 1
        bit = 1 << vector
        self.irr ^= bit
        self.isr |= bit
        self._update()
        return vector

    # -- what comes by the bus

    def accepts(self, destination: int, logical: bool) -> bool:
        """Whether a message is for this APIC, [SDM3] §10.6.2."""
        if destination == m.EVERYBODY:
            return True
        if not logical:
            return destination == self.id
        if self.dfr == r.DFR_FLAT:
            return bool(destination & self.ldr)
        same = destination >> 4 in (self.ldr >> 4, 0xF)
        return same and bool(destination & self.ldr & 0xF)

    def deliver(self, mode: int, vector: int, level: bool) -> bool:
        """Take a message of the bus; False: nobody here does so."""
        if not self.enabled:
            return False
        if mode <= m.LOWEST:
            return bool(self.svr & r.SVR_ENABLE) and self._request(vector, level)
        if mode == m.NMI:
            self._on_nmi()
        elif mode == m.INIT:
            self._on_init()
        return True

    def set_extint(self, level: bool) -> None:
        """An I/O APIC passes on the INT output of an 8259A, as ExtINT."""
        self._extint = level
        self._update_pins()

    def _request(self, vector: int, level: bool) -> bool:
        if vector < m.ILLEGAL_VECTORS:
            self._error(r.ESR_RECEIVE_VECTOR)
            return True
        bit = 1 << vector
        self.irr |= bit
        self.tmr = self.tmr | bit if level else self.tmr & ~bit
        self._update()
        return True

    # -- pins and other local sources

    def _drive(self, pin: int, level: bool) -> None:
        self._pins[pin] = level
        if not self.enabled:
            if pin and level:
                self._on_nmi()
        else:
            self._sense(pin, edge=True)
        self._update_pins()

    def _sense(self, pin: int, *, edge: bool) -> None:
        """Look at a pin after it or its LVT entry has changed. ExtINT is `_is_external`'s."""
        offset = r.LVT_LINT1 if pin else r.LVT_LINT0
        entry = self._lvt[offset]
        if entry & m.MASKED or self._pins[pin] == bool(entry & m.ACTIVE_LOW):
            return
        mode = m.delivery_mode(entry)
        if mode == m.FIXED and entry & m.LEVEL:
            if not entry & m.REMOTE_IRR and self._request(entry & m.VECTOR, True):
                self._lvt[offset] = entry | m.REMOTE_IRR
        elif edge and mode in (m.FIXED, m.NMI, m.INIT):
            self.deliver(mode, entry & m.VECTOR, False)

    def _is_external(self) -> bool:
        """Whether an 8259A's INT reaches the processor; the task priority does not hold it up."""
        if not self.enabled:
            return self._pins[0]
        entry = self._lvt[r.LVT_LINT0]
        if entry & m.MASKED or m.delivery_mode(entry) != m.EXTINT:
            return self._extint
        return self._extint or self._pins[0] != bool(entry & m.ACTIVE_LOW)

    def _on_timer(self) -> None:
        entry = self._lvt[r.LVT_TIMER]
        if not entry & m.MASKED:
            self._request(entry & m.VECTOR, False)

    def _error(self, bit: int) -> None:
        """Note an error; the first since ESR was written interrupts, [SDM3] §10.5.3."""
        armed = not self.errors
        self.errors |= bit
        entry = self._lvt[r.LVT_ERROR]
        if armed and not entry & m.MASKED:
            self._request(entry & m.VECTOR, False)

    # -- priorities

    def _priority(self) -> int:
        """Return PPR, [SDM3] §10.8.3.1."""
        served = self.isr.bit_length() - 1
        return self.tpr if self.tpr >> 4 >= served >> 4 else served & 0xF0

    def _waits(self) -> bool:
        """Whether the highest request is of a higher class than PPR."""
        return self.irr.bit_length() - 1 >> 4 > max(self.isr.bit_length() - 1, self.tpr) >> 4

    def _update(self) -> None:
        """Drive INTR."""
        self._intr.set_level(self._external or self._waits())

    def _update_pins(self) -> None:
        """Drive INTR after something that ExtINT depends on has changed."""
        self._external = self._is_external()
        self._update()

    # -- registers

    @property
    def _mapped(self) -> bool:
        return self.base & (r.BASE_MASK | r.BASE_ENABLE) == r.BASE_ADDRESS | r.BASE_ENABLE

    def read(self, offset: int, size: int) -> int:
        """Guest read; of a part of a register, that part."""
        mask = (1 << 8 * size) - 1
        if not self._mapped:
            return FLOATING & mask
        if offset & 0xC:
            return 0
        return self._reads[offset >> 4 & 0xFF]() >> 8 * (offset & 3) & mask

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest write; only aligned dwords count, [SDM3] §10.4.1."""
        if size == 4 and not offset & 0xF and self._mapped:
            self._writes[offset >> 4 & 0xFF](value)

    def _ignore(self, value: int) -> None:
        """The register is read-only."""

    def _read_nothing(self) -> int:
        self._error(r.ESR_REGISTER)
        return 0

    def _write_nothing(self, value: int) -> None:
        self._error(r.ESR_REGISTER)

    def _read_word(self, name: str, shift: int) -> int:
        bits: int = getattr(self, name)
        return bits >> shift & 0xFFFF_FFFF

    def _read_apr(self) -> int:
        """[SDM3] §10.6.2.4, of the P6; later processors have no such register."""
        waiting, served = max(self.irr.bit_length() - 1, 0) >> 4, max(self.isr.bit_length() - 1, 0) >> 4
        task = self.tpr >> 4
        if task >= waiting and task > served:
            return self.tpr
        return max(task & served, waiting) << 4

    def _write_id(self, value: int) -> None:
        self.id = value >> 24

    def _write_ldr(self, value: int) -> None:
        self.ldr = value >> 24

    def _write_dfr(self, value: int) -> None:
        self.dfr = value >> 28

    def _write_svr(self, value: int) -> None:
        """Disabling by software masks the LVT; what is in IRR and ISR stays, [SDM3] §10.4.7.2."""
        self.svr = value & r.SVR_BITS
        if not value & r.SVR_ENABLE:
            for offset in r.LVT_WRITABLE:
                self._lvt[offset] |= m.MASKED
        self._update_pins()

    def _write_esr(self, value: int) -> None:
        """Any write shows the errors since the last one, and arms the error interrupt again."""
        self.esr, self.errors = self.errors, 0

    def _write_eoi(self, value: int) -> None:
        """End the interrupt of the highest priority, [SDM3] §10.8.5."""
        isr = self.isr
        if isr:
            vector = isr.bit_length() - 1
            bit = 1 << vector
            self.isr = isr ^ bit
            if self.tmr & bit:
                self._end_level(vector)
            self._update()

    def _end_level(self, vector: int) -> None:
        self.on_eoi(vector)
        for pin, offset in enumerate((r.LVT_LINT0, r.LVT_LINT1)):
            entry = self._lvt[offset]
            if entry & m.REMOTE_IRR and entry & m.VECTOR == vector:
                self._lvt[offset] = entry & ~m.REMOTE_IRR
                self._sense(pin, edge=False)

    def _read_lvt(self, offset: int) -> int:
        return self._lvt[offset]

    def _write_lvt(self, offset: int, value: int) -> None:
        entry = value & r.LVT_WRITABLE[offset]
        if not self.svr & r.SVR_ENABLE:
            entry |= m.MASKED
        if entry & m.LEVEL:  # in edge mode the bit means nothing
            entry |= self._lvt[offset] & m.REMOTE_IRR
        self._lvt[offset] = entry
        if offset == r.LVT_TIMER:
            self._timer.set_periodic(bool(entry & r.LVT_PERIODIC))
        elif offset in (r.LVT_LINT0, r.LVT_LINT1):
            self._sense(int(offset == r.LVT_LINT1), edge=False)
            self._update_pins()

    # -- interprocessor interrupts

    def _write_icr_high(self, value: int) -> None:
        self.icr_high = value & 0xFF00_0000

    def _write_icr(self, value: int) -> None:
        """Send, [SDM3] §10.6.1. The delivery status never shows: a message arrives at once."""
        self.icr_low = value & r.ICR_BITS
        mode, vector = m.delivery_mode(value), value & m.VECTOR
        if mode <= m.LOWEST and vector < m.ILLEGAL_VECTORS:
            self._error(r.ESR_SEND_VECTOR)
            return
        shorthand = r.SHORTHANDS[value >> r.ICR_SHORTHAND_SHIFT & 3]
        if shorthand == "others" or (shorthand != "none" and mode != m.FIXED):  # [SDM3] table 10-3
            return
        if shorthand == "none" and not self.accepts(self.icr_high >> 24, bool(value & m.LOGICAL)):
            return
        if mode == m.INIT and value & m.LEVEL and not value & r.ICR_ASSERT:
            return  # INIT level de-assert, which processors since the Pentium 4 do not know
        if mode in (m.FIXED, m.LOWEST, m.NMI, m.INIT):
            self.deliver(mode, vector, False)
