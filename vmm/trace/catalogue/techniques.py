"""Reasons that only a monitor below the guest's kernel has: shadows, translated code, reflected faults.

Sources: as `vmm.trace.reasons`, and for names of hypercalls
  [XEN] Xen's public headers, xen/include/public/xen.h.
"""

from __future__ import annotations

from typing import Final

from vmm.trace.catalogue.board import EXCEPTIONS
from vmm.trace.catalogue.reason import Reason

_SOFTWARE: Final = (
    Reason("cache.translate", "block translated", None, None, None,
           "The guest came to code that the translation cache does not hold: it is decoded, and written anew "
           "with calls of the monitor in place of what would go wrong."),
    Reason("cache.chain", "translated blocks joined", None, None, None,
           "A translated block ended in a jump whose target is translated too: from now on it goes there "
           "without the monitor."),
    Reason("cache.indirect", "indirect jump", None, None, None,
           "A jump or call through a register or memory: the target's translation is looked up."),
    Reason("cache.ret-miss", "return not foreseen", None, None, None,
           "A return went where the last call did not come from: the target's translation is looked up."),
    Reason("cache.flush", "translations dropped", None, None, None,
           "The guest wrote to code that was translated, or the cache was full."),
    Reason("cache.callout", "callout of translated code", None, None, None,
           "Translated code called the monitor for something that its own few instructions cannot do."),
    Reason("scan.block", "block scanned", None, None, None,
           "Code ran for the first time: the monitor looked through it for instructions that do not trap "
           "though they should."),
    Reason("shadow.fill", "shadow page filled", 0, 0x4E, "update_va_mapping",
           "The guest's page tables allow the access, the monitor's shadow of them had no entry yet: a page "
           "fault the guest never hears of."),
    Reason("shadow.drop", "shadow pages dropped", 28, 0x13, "mmuext_op",
           "The guest changed its address space: shadow entries that may no longer hold are dropped."),
    Reason("shadow.write", "write to a protected page", 0, 0x4E, "mmu_update",
           "The guest wrote to a page that the monitor keeps a shadow of, such as its descriptor table: the "
           "write is carried out and the shadow follows."),
    Reason("shadow.code-write", "write to translated code", 0, 0x4E, None,
           "The guest wrote to a page with code that was patched or translated."),
    Reason("reflect.int", "INT n of the guest", None, 0x75, "set_trap_table",
           "The guest asked for a service of its own kernel: the monitor finds the handler in the guest's "
           "table and goes there as the processor would."),
    Reason("inject.interrupt", "interrupt injected", 1, 0x60, "event_channel_op",
           "A device raised its line and the guest's virtual interrupt flag is set: the monitor pushes a "
           "frame and goes to the guest's handler."),
    Reason("inject.nmi", "NMI injected", 0, 0x61, "nmi_op",
           "The NMI line rose: the monitor goes to the guest's handler of vector 2."),
    Reason("inject.exception", "exception injected", 0, None, "set_trap_table",
           "The monitor found a fault while it did the guest's work, and gives it to the guest's handler."),
    Reason("switch.real", "back to bare real mode", None, None, None,
           "The guest cleared CR0.PE: real mode has no rings to take from it, so it runs on the bare "
           "processor again."),
    Reason("switch.protected", "taken over from real mode", None, None, None,
           "The guest set CR0.PE: from here on the technique runs it."),
    Reason("switch.long", "long mode refused", None, None, None,
           "The guest turned long mode on, which this technique cannot run: the run ends saying so."),
)  # fmt: skip

_HYPERCALLS: Final = (
    # Xen's name too, but for the last; what the guest asks for
    ("set_trap_table", "names its handlers in place of LIDT"),
    ("mmu_update", "changes any number of page-table entries at once"),
    ("set_gdt", "names its descriptor table in place of LGDT"),
    ("stack_switch", "names the kernel's stack in place of the TSS"),
    ("set_callbacks", "names where events and failed returns are to go"),
    ("fpu_taskswitch", "sets or clears CR0.TS"),
    ("set_debugreg", "writes a debug register"),
    ("get_debugreg", "reads a debug register"),
    ("update_descriptor", "changes a descriptor"),
    ("set_timer", "asks to be woken at a time"),
    ("version", "asks which monitor this is"),
    ("console_io", "writes to the console in one call, in place of a port a character"),
    ("vm_assist", "asks the monitor to do more, or less, for it"),
    ("iret", "returns from a handler, interrupts on again in the same step"),
    ("vcpu_op", "asks about its virtual processor"),
    ("mmuext_op", "loads CR3, drops translations, or loads its LDT"),
    ("sched_op", "sleeps until an event, gives its turn away, or ends the machine"),
    ("event_channel_op", "binds, masks or acknowledges events"),
    ("physdev_op", "asks for I/O privilege or about interrupts"),
    ("block_op", "has put requests into the disk's shared ring"),
    ("unknown", "asks for something that this monitor does not know"),
)
_XEN_NAMES: Final[dict[str, str | None]] = {
    "set_timer": "set_timer_op",
    "version": "xen_version",
    "block_op": "event_channel_op",
    "unknown": None,
}


def technique_reasons() -> tuple[Reason, ...]:
    """Return them all."""
    return (
        *_SOFTWARE,
        *(_reflected(*entry) for entry in EXCEPTIONS),
        *(_hypercall(*entry) for entry in _HYPERCALLS),
    )


def _reflected(key: str, vector: int, what: str, cause: str) -> Reason:
    why = f"A fault of the guest's own, {cause}: the monitor goes to the guest's handler of vector {vector}."
    return Reason(
        f"reflect.{key}", f"#{key.upper()} {what}, reflected", 0, 0x40 + vector, "set_trap_table", why
    )


def _hypercall(key: str, asks: str) -> Reason:
    why = f"The guest knows its monitor and {asks}."
    title = f"hypercall: {key.replace('_', ' ')}"
    return Reason(f"hypercall.{key}", title, 18, 0x81, _XEN_NAMES.get(key, key), why)
