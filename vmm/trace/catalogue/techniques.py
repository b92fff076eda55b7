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
    # key, title, Xen's name, what the guest asks for
    ("set-trap-table", "set trap table", "set_trap_table", "names its handlers in place of LIDT"),
    ("update-descriptor", "update descriptor", "update_descriptor", "changes a descriptor"),
    ("set-gdt", "set GDT", "set_gdt", "names its descriptor table in place of LGDT"),
    ("mmu-update", "update page tables", "mmu_update", "changes any number of page-table entries at once"),
    ("stack-switch", "stack switch", "stack_switch", "names the kernel's stack in place of the TSS"),
    ("set-cr3", "new address space", "mmuext_op", "loads CR3"),
    ("invlpg", "forget a page", "mmuext_op", "drops one page's translation"),
    ("event-channel", "event channel", "event_channel_op", "binds, masks or acknowledges events"),
    ("event", "event channel", "event_channel_op", "binds, masks or acknowledges events"),
    ("iret", "return", "iret", "returns from a handler, interrupts on again in the same step"),
    ("block", "block", "sched_op", "sleeps until an event, in place of HLT"),
    ("yield", "yield", "sched_op", "gives the rest of its turn away"),
    ("shutdown", "shutdown", "sched_op", "ends the machine"),
    ("console", "console", "console_io", "writes to the console in one call, in place of a port a character"),
    ("block-io", "block I/O ring", "event_channel_op", "has put requests into the disk's shared ring"),
    ("fpu-taskswitch", "FPU switch", "fpu_taskswitch", "sets or clears CR0.TS"),
    ("version", "version", "xen_version", "asks which monitor this is"),
)  # fmt: skip


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


def _hypercall(key: str, title: str, xen: str, asks: str) -> Reason:
    why = f"The guest knows its monitor and {asks}."
    return Reason(f"hypercall.{key}", f"hypercall: {title}", 18, 0x81, xen, why)
